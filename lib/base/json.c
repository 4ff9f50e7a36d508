// SPDX-License-Identifier: LGPL-2.1-or-later
/* JSON values, built up and written as one object a line. */
#include "lib/base/json.h"

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "lib/base/attr.h"

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
