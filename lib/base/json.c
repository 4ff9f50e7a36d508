// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * JSON values: built, written, and read from bytes that nobody vouches for.
 *
 * The JSON library reads recursively and makes a value, of a hundred bytes and
 * more, of each two bytes of text that say "[]": so depth and values are counted in
 * the text first. The count goes by brackets and commas outside of strings,
 * which is never too small in text that is JSON.
 */
#include "lib/base/json.h"

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "lib/base/attr.h"
#include "lib/base/note.h"

static json_t *json_of(struct umem_json *value)
{
	return (json_t *)value;
}

struct umem_json *umem_json_object(void)
{
	return (struct umem_json *)json_object();
}

struct umem_json *umem_json_array(void)
{
	return (struct umem_json *)json_array();
}

struct umem_json *umem_json_free(struct umem_json *value)
{
	json_decref(json_of(value));
	return NULL;
}

struct umem_json *umem_json_share(const struct umem_json *value)
{
	return (struct umem_json *)json_incref((json_t *)value);
}

/* A member that could not be set poisons the object: it is emptied to null. */
static void set(struct umem_json *object, const char *key, json_t *value)
{
	if (json_object_set_new(json_of(object), key, value) < 0)
		json_object_set_new(json_of(object), "out_of_memory", json_true());
}

void umem_json_set_u64(struct umem_json *object, const char *key, uint64_t value)
{
	set(object, key, json_integer((json_int_t)(value > INT64_MAX ? INT64_MAX : value)));
}

void umem_json_set_int(struct umem_json *object, const char *key, int64_t value)
{
	set(object, key, json_integer(value));
}

void umem_json_set_bool(struct umem_json *object, const char *key, bool value)
{
	set(object, key, json_boolean(value));
}

void umem_json_set_null(struct umem_json *object, const char *key)
{
	set(object, key, json_null());
}

/* Paths may hold any byte: those that are not UTF-8 become \xNN. */
static json_t *any_text(const char *text)
{
	static const char hex[] = "0123456789abcdef";
	json_t *value = json_string(text);
	UMEM_FREE char *escaped = NULL;
	size_t n = 0;

	if (value)
		return value;
	escaped = malloc(strlen(text) * 4 + 1);
	if (!escaped)
		return NULL;
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte < 0x80) {
			escaped[n++] = *text;
			continue;
		}
		escaped[n++] = '\\';
		escaped[n++] = 'x';
		escaped[n++] = hex[byte >> 4];
		escaped[n++] = hex[byte & 15];
	}
	escaped[n] = '\0';
	return json_string(escaped);
}

struct umem_json *umem_json_int(int64_t value)
{
	return (struct umem_json *)json_integer(value);
}

struct umem_json *umem_json_text(const char *value)
{
	return (struct umem_json *)any_text(value);
}

void umem_json_set_text(struct umem_json *object, const char *key, const char *value)
{
	set(object, key, any_text(value));
}

void umem_json_set_addr(struct umem_json *object, const char *key, uint64_t addr)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)addr);
	set(object, key, json_string(text));
}

void umem_json_set_consume(struct umem_json *object, const char *key,
	struct umem_json *value)
{
	set(object, key, json_of(value));
}

void umem_json_append_consume(struct umem_json *array, struct umem_json *value)
{
	json_array_append_new(json_of(array), json_of(value));
}

static int done(FILE *out, int failed)
{
	return failed || ferror(out) ? -EIO : 0;
}

static int dump(FILE *out, struct umem_json *value, size_t flags)
{
	int r;

	if (!value || json_object_get(json_of(value), "out_of_memory")) {
		umem_json_free(value);
		return -ENOMEM;
	}
	r = json_dumpf(json_of(value), out, JSON_COMPACT | JSON_PRESERVE_ORDER | flags);
	umem_json_free(value);
	return done(out, r < 0);
}

int umem_json_write_consume(FILE *out, struct umem_json *object)
{
	int r = dump(out, object, 0);

	return r < 0 ? r : done(out, putc('\n', out) == EOF);
}

static int open_array(FILE *out, const char *before, struct umem_json *object,
	const char *key)
{
	int r;

	if (fputs(before, out) == EOF) {
		umem_json_free(object);
		return -EIO;
	}
	/* JSON_EMBED leaves the braces out. */
	r = dump(out, object, JSON_EMBED);
	return r < 0 ? r : done(out, fprintf(out, ",\"%s\":[", key) < 0);
}

int umem_json_open_consume(FILE *out, struct umem_json *object, const char *key)
{
	return open_array(out, "{", object, key);
}

int umem_json_item_open_consume(FILE *out, struct umem_json *item, bool first,
	const char *key)
{
	return open_array(out, first ? "{" : ",{", item, key);
}

int umem_json_item_close(FILE *out)
{
	return done(out, fputs("]}", out) == EOF);
}

int umem_json_next(FILE *out, const char *key)
{
	return done(out, fprintf(out, "],\"%s\":[", key) < 0);
}

int umem_json_item_consume(FILE *out, struct umem_json *item, bool first)
{
	if (!first && putc(',', out) == EOF) {
		umem_json_free(item);
		return -EIO;
	}
	return dump(out, item, 0);
}

int umem_json_close(FILE *out)
{
	return done(out, fputs("]}\n", out) == EOF);
}

int umem_json_close_consume(FILE *out, const char *key, struct umem_json *value)
{
	int r;

	if (fprintf(out, "],\"%s\":", key) < 0) {
		umem_json_free(value);
		return -EIO;
	}
	r = dump(out, value, JSON_ENCODE_ANY);
	return r < 0 ? r : done(out, fputs("}\n", out) == EOF);
}

/* How deep and how many: what the text would make, if it is JSON. */
static int check_limits(const char *text, size_t len_bytes,
	const struct umem_json_limits *limits, struct umem_note *note)
{
	size_t depth = 0, values = 1;
	bool inside = false;

	if (len_bytes > limits->max_bytes)
		return umem_note_set(note, -E2BIG, 0, "longer than %zu bytes", limits->max_bytes);
	for (size_t i = 0; i < len_bytes; i++) {
		char c = text[i];

		if (inside) {
			if (c == '\\')
				i++;
			else if (c == '"')
				inside = false;
			continue;
		}
		inside = c == '"';
		if (c == '[' || c == '{')
			depth++;
		if ((c == ']' || c == '}') && depth > 0)
			depth--;
		values += c == '[' || c == '{' || c == ',';
		if (depth > limits->max_depth)
			return umem_note_set(note, -E2BIG, 0, "deeper than %u levels",
				limits->max_depth);
		if (values > limits->max_values)
			return umem_note_set(note, -E2BIG, 0, "more than %zu values",
				limits->max_values);
	}
	return 0;
}

int umem_json_parse(const char *text, size_t len_bytes, const struct umem_json_limits *limits,
	struct umem_json **ret_object, struct umem_note *note)
{
	int r = check_limits(text, len_bytes, limits, note);
	json_error_t error;
	json_t *value;

	if (r < 0)
		return r;
	value = json_loadb(text, len_bytes, JSON_REJECT_DUPLICATES, &error);
	if (!value && json_error_code(&error) == json_error_out_of_memory)
		return -ENOMEM;
	if (!value)
		return umem_note_set(note, -EBADMSG, 0, "not JSON at byte %d: %s",
			error.position, error.text);
	if (!json_is_object(value)) {
		json_decref(value);
		return umem_note_set(note, -EBADMSG, 0, "not an object");
	}
	*ret_object = (struct umem_json *)value;
	return 0;
}

int umem_json_dump(const struct umem_json *value, char **ret_text, size_t *ret_len_bytes)
{
	const json_t *json = (const json_t *)value;
	char *text;

	if (!json || json_object_get(json, "out_of_memory"))
		return -ENOMEM;
	text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY);
	if (!text)
		return -ENOMEM;
	*ret_len_bytes = strlen(text);
	*ret_text = text;
	return 0;
}

bool umem_json_same(const struct umem_json *a, const struct umem_json *b)
{
	return a == b || (a && b && json_equal((const json_t *)a, (const json_t *)b));
}

enum umem_json_type umem_json_type(const struct umem_json *value)
{
	static const enum umem_json_type types[] = {
		[JSON_OBJECT] = UMEM_JSON_OBJECT,
		[JSON_ARRAY] = UMEM_JSON_ARRAY,
		[JSON_STRING] = UMEM_JSON_TEXT,
		[JSON_INTEGER] = UMEM_JSON_INT,
		[JSON_REAL] = UMEM_JSON_FLOAT,
		[JSON_TRUE] = UMEM_JSON_BOOL,
		[JSON_FALSE] = UMEM_JSON_BOOL,
		[JSON_NULL] = UMEM_JSON_NULL,
	};

	return value ? types[json_typeof((const json_t *)value)] : UMEM_JSON_NONE;
}

const struct umem_json *umem_json_get(const struct umem_json *object, const char *key)
{
	return (const struct umem_json *)json_object_get((const json_t *)object, key);
}

size_t umem_json_count(const struct umem_json *value)
{
	const json_t *json = (const json_t *)value;

	return json_is_object(json) ? json_object_size(json) : json_array_size(json);
}

const struct umem_json *umem_json_item(const struct umem_json *array, size_t index)
{
	return (const struct umem_json *)json_array_get((const json_t *)array, index);
}

int umem_json_each(const struct umem_json *object,
	int (*each)(void *user, const char *key, const struct umem_json *value), void *user)
{
	json_t *json = (json_t *)object, *value;
	const char *key;
	int r;

	json_object_foreach(json, key, value) {
		r = each(user, key, (const struct umem_json *)value);
		if (r != 0)
			return r;
	}
	return 0;
}

int64_t umem_json_as_int(const struct umem_json *value, int64_t other)
{
	const json_t *json = (const json_t *)value;

	return json_is_integer(json) ? json_integer_value(json) : other;
}

const char *umem_json_as_text(const struct umem_json *value, const char *other)
{
	const char *text = json_string_value((const json_t *)value);

	return text ? text : other;
}

bool umem_json_as_bool(const struct umem_json *value, bool other)
{
	const json_t *json = (const json_t *)value;

	return json_is_boolean(json) ? json_is_true(json) : other;
}

int64_t umem_json_get_int(const struct umem_json *object, const char *key, int64_t other)
{
	return umem_json_as_int(umem_json_get(object, key), other);
}

const char *umem_json_get_text(const struct umem_json *object, const char *key,
	const char *other)
{
	return umem_json_as_text(umem_json_get(object, key), other);
}

bool umem_json_get_bool(const struct umem_json *object, const char *key, bool other)
{
	return umem_json_as_bool(umem_json_get(object, key), other);
}
