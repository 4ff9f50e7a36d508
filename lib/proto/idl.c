// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Parsing of Varlink interface descriptions.
 *
 * Theory of operation
 *
 * The grammar, as this accepts it (https://varlink.org/Interface-Definition):
 *
 *     interface NAME
 *     type NAME object-or-enum
 *     method NAME object -> object
 *     error NAME object
 *
 *     object = ( name: type, ... )      enum = ( name, ... )
 *     type   = [?] [ "[]" | "[string]" ] (bool int float string object NAME object enum)
 *
 * A type is a tree of nodes; a name becomes a pointer to the tree of its type
 * when all is read. No type may contain itself, so a check of a value ends, and
 * needs no more stack than the description is deep (MAX_DEPTH).
 */
#include "lib/proto/idl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cursor.h"
#include "lib/base/note.h"
#include "lib/proto/idl_type.h"

#define MAX_DEPTH  16
#define MAX_FIELDS 64

/* The parser: what is left, the line it is at, where complaints go. */
struct parser {
	struct umem_cursor c;
	unsigned line;
	unsigned depth;
	struct umem_note *note;
};

static int bad(struct parser *p, const char *what)
{
	return umem_note_set(p->note, -EBADMSG, 0, "line %u: %s", p->line, what);
}

/* Step over blanks, newlines and comments. */
static void skip(struct parser *p)
{
	while (p->c.at < p->c.end) {
		if (*p->c.at == '#') {
			while (p->c.at < p->c.end && *p->c.at != '\n')
				p->c.at++;
			continue;
		}
		if (!strchr(" \t\r\n", *p->c.at))
			return;
		p->line += *p->c.at == '\n';
		p->c.at++;
	}
}

static bool next_is(struct parser *p, const char *want)
{
	skip(p);
	return umem_cursor_str(&p->c, want);
}

static bool in_word(char c, bool dots)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '_' || (dots && (c == '.' || c == '-'));
}

/* A name, or "" where none is next. */
static int parse_word(struct parser *p, bool dots, char **ret_word)
{
	const char *start;

	skip(p);
	start = p->c.at;
	while (p->c.at < p->c.end && in_word(*p->c.at, dots))
		p->c.at++;
	*ret_word = strndup(start, (size_t)(p->c.at - start));
	return *ret_word ? 0 : -ENOMEM;
}

static struct umem_idl_type *type_free(struct umem_idl_type *type)
{
	if (!type)
		return NULL;
	for (size_t i = 0; i < type->n_fields; i++) {
		free(type->fields[i].name);
		type_free(type->fields[i].type);
	}
	free(type->fields);
	free(type->name);
	type_free(type->item);
	free(type);
	return NULL;
}

static int parse_type(struct parser *p, struct umem_idl_type **ret_type);

static int add_field(struct parser *p, struct umem_idl_type *type, char *name)
{
	struct umem_idl_field *more;

	for (size_t i = 0; i < type->n_fields; i++)
		if (strcmp(type->fields[i].name, name) == 0)
			return bad(p, "a field twice");
	if (type->n_fields == MAX_FIELDS)
		return bad(p, "too many fields");
	more = reallocarray(type->fields, type->n_fields + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	type->fields = more;
	type->fields[type->n_fields++] = (struct umem_idl_field){ .name = name };
	return 0;
}

/* What follows an opening parenthesis: fields with types, or the words of an enum. */
static int parse_fields(struct parser *p, struct umem_idl_type *type)
{
	type->kind = UMEM_IDL_STRUCT;
	if (next_is(p, ")"))
		return 0;
	for (bool first = true;; first = false) {
		UMEM_FREE char *word = NULL;
		bool typed;
		int r = parse_word(p, false, &word);

		if (r == 0 && !word[0])
			r = bad(p, "a name is missing");
		if (r == 0)
			r = add_field(p, type, word);
		if (r < 0)
			return r;
		word = NULL;
		typed = next_is(p, ":");
		if (first)
			type->kind = typed ? UMEM_IDL_STRUCT : UMEM_IDL_ENUM;
		else if (typed != (type->kind == UMEM_IDL_STRUCT))
			return bad(p, "a field without a type");
		if (typed)
			r = parse_type(p, &type->fields[type->n_fields - 1].type);
		if (r < 0)
			return r;
		if (next_is(p, ")"))
			return 0;
		if (!next_is(p, ","))
			return bad(p, "neither , nor )");
	}
}

static int parse_named(struct parser *p, struct umem_idl_type *type)
{
	static const struct {
		const char *word;
		enum umem_idl_type_kind kind;
	} simple[] = {
		{ "bool", UMEM_IDL_BOOL },     { "int", UMEM_IDL_INT },
		{ "float", UMEM_IDL_FLOAT },   { "string", UMEM_IDL_STRING },
		{ "object", UMEM_IDL_OBJECT },
	};
	UMEM_FREE char *word = NULL;
	int r = parse_word(p, false, &word);

	if (r < 0)
		return r;
	for (size_t i = 0; i < UMEM_ARRAY_LEN(simple); i++) {
		if (strcmp(word, simple[i].word) == 0) {
			type->kind = simple[i].kind;
			return 0;
		}
	}
	if (!(word[0] >= 'A' && word[0] <= 'Z'))
		return bad(p, "a type is missing");
	type->kind = UMEM_IDL_NAMED;
	type->name = UMEM_TAKE_PTR(word);
	return 0;
}

static int parse_into(struct parser *p, struct umem_idl_type *type)
{
	type->nullable = next_is(p, "?");
	if (next_is(p, "[]") || next_is(p, "[string]")) {
		type->kind = p->c.at[-2] == '[' ? UMEM_IDL_ARRAY : UMEM_IDL_MAP;
		return parse_type(p, &type->item);
	}
	return next_is(p, "(") ? parse_fields(p, type) : parse_named(p, type);
}

static int parse_type(struct parser *p, struct umem_idl_type **ret_type)
{
	struct umem_idl_type *type;
	int r;

	if (p->depth == MAX_DEPTH)
		return bad(p, "too deep");
	type = calloc(1, sizeof(*type));
	if (!type)
		return -ENOMEM;
	*ret_type = type; /* freed with what it belongs to */
	p->depth++;
	r = parse_into(p, type);
	p->depth--;
	return r;
}

static int parse_struct(struct parser *p, struct umem_idl_type **ret_type)
{
	int r = parse_type(p, ret_type);

	return r == 0 && (*ret_type)->kind != UMEM_IDL_STRUCT ? bad(p, "not an object") : r;
}

static int add_entry(struct umem_idl *idl, struct parser *p, enum umem_idl_kind kind)
{
	UMEM_FREE char *name = NULL;
	struct umem_idl_entry *entry;
	int r = parse_word(p, false, &name);

	if (r < 0)
		return r;
	if (!(name[0] >= 'A' && name[0] <= 'Z'))
		return bad(p, "a name with a capital is missing");
	for (size_t i = 0; i < idl->n; i++)
		if (strcmp(idl->v[i].name, name) == 0)
			return bad(p, "a name twice");
	if (idl->n == idl->room) {
		size_t room = idl->room ? idl->room * 2 : 16;
		struct umem_idl_entry *v = reallocarray(idl->v, room, sizeof(*v));

		if (!v)
			return -ENOMEM;
		idl->v = v;
		idl->room = room;
	}
	entry = &idl->v[idl->n++];
	*entry = (struct umem_idl_entry){ .kind = kind, .name = UMEM_TAKE_PTR(name) };
	if (kind == UMEM_IDL_TYPE)
		return parse_type(p, &entry->in);
	r = parse_struct(p, &entry->in);
	if (r < 0 || kind == UMEM_IDL_ERROR)
		return r;
	return next_is(p, "->") ? parse_struct(p, &entry->out) : bad(p, "-> is missing");
}

/* Let the names in @type point to what they name. */
static int link_names(const struct umem_idl *idl, struct parser *p, struct umem_idl_type *type)
{
	int r = 0;

	if (type->kind == UMEM_IDL_NAMED) {
		type->named = umem_idl_find(idl, UMEM_IDL_TYPE, type->name);
		return type->named ? 0 : bad(p, "a type of that name is not there");
	}
	for (size_t i = 0; i < type->n_fields && r == 0; i++)
		if (type->fields[i].type)
			r = link_names(idl, p, type->fields[i].type);
	return r == 0 && type->item ? link_names(idl, p, type->item) : r;
}

/* How deep a value of @type goes; each named type is measured once. */
static int measure(struct parser *p, const struct umem_idl_type *type, unsigned *ret_depth)
{
	unsigned deepest = 0, depth = 0;
	int r = 0;

	if (type->kind == UMEM_IDL_NAMED) {
		struct umem_idl_entry *entry = type->named;

		if (entry->measuring)
			return bad(p, "a type contains itself");
		if (entry->depth == 0) {
			entry->measuring = true;
			r = measure(p, entry->in, &entry->depth);
			entry->measuring = false;
		}
		*ret_depth = entry->depth;
		return r;
	}
	for (size_t i = 0; i < type->n_fields && r == 0; i++) {
		if (type->fields[i].type)
			r = measure(p, type->fields[i].type, &depth);
		deepest = depth > deepest ? depth : deepest;
	}
	if (r == 0 && type->item)
		r = measure(p, type->item, &deepest);
	*ret_depth = deepest + 1;
	return r == 0 && deepest >= MAX_DEPTH ? bad(p, "too deep") : r;
}

/* All entries are there: what they name, and that no value is endless. */
static int resolve(const struct umem_idl *idl, struct parser *p)
{
	unsigned depth;
	int r = 0;

	for (size_t i = 0; i < idl->n && r == 0; i++) {
		r = link_names(idl, p, idl->v[i].in);
		if (r == 0 && idl->v[i].out)
			r = link_names(idl, p, idl->v[i].out);
	}
	for (size_t i = 0; i < idl->n && r == 0; i++) {
		r = measure(p, idl->v[i].in, &depth);
		if (r == 0 && idl->v[i].out)
			r = measure(p, idl->v[i].out, &depth);
	}
	return r;
}

static int parse(struct umem_idl *idl, struct parser *p)
{
	static const struct {
		const char *word;
		enum umem_idl_kind kind;
	} entries[] = {
		{ "type ", UMEM_IDL_TYPE },
		{ "method ", UMEM_IDL_METHOD },
		{ "error ", UMEM_IDL_ERROR },
	};
	int r;

	if (!next_is(p, "interface "))
		return bad(p, "no interface");
	r = parse_word(p, true, &idl->name);
	if (r == 0 && !strchr(idl->name, '.'))
		r = bad(p, "no name of an interface");
	for (skip(p); p->c.at < p->c.end && r == 0; skip(p)) {
		size_t i = 0;

		while (i < UMEM_ARRAY_LEN(entries) && !next_is(p, entries[i].word))
			i++;
		r = i < UMEM_ARRAY_LEN(entries) ? add_entry(idl, p, entries[i].kind) :
						  bad(p, "neither type, method nor error");
	}
	return r < 0 ? r : resolve(idl, p);
}

int umem_idl_parse(const char *text, struct umem_idl **ret_idl, struct umem_note *note)
{
	UMEM_CLEANUP(umem_idl_freep) struct umem_idl *idl = NULL;
	size_t len = strnlen(text, UMEM_IDL_TEXT_MAX + 1);
	struct parser p = { .c = umem_cursor_init(text, len), .line = 1, .note = note };
	int r;

	if (len > UMEM_IDL_TEXT_MAX)
		return umem_note_set(note, -E2BIG, 0, "a description past %u bytes",
			UMEM_IDL_TEXT_MAX);
	idl = calloc(1, sizeof(*idl));
	if (!idl)
		return -ENOMEM;
	idl->text = strdup(text);
	if (!idl->text)
		return -ENOMEM;
	r = parse(idl, &p);
	if (r < 0)
		return r;
	*ret_idl = UMEM_TAKE_PTR(idl);
	return 0;
}

struct umem_idl *umem_idl_free(struct umem_idl *idl)
{
	if (!idl)
		return NULL;
	for (size_t i = 0; i < idl->n; i++) {
		free(idl->v[i].name);
		type_free(idl->v[i].in);
		type_free(idl->v[i].out);
	}
	free(idl->v);
	free(idl->name);
	free(idl->text);
	free(idl);
	return NULL;
}

struct umem_idl_entry *umem_idl_find(const struct umem_idl *idl, enum umem_idl_kind kind,
	const char *name)
{
	for (size_t i = 0; i < idl->n; i++)
		if (idl->v[i].kind == kind && strcmp(idl->v[i].name, name) == 0)
			return &idl->v[i];
	return NULL;
}

struct umem_idl_entry *umem_idl_find_error(const struct umem_idl *idl, const char *name)
{
	const size_t len = strlen(idl->name);

	if (strncmp(name, idl->name, len) != 0 || name[len] != '.')
		return NULL;
	return umem_idl_find(idl, UMEM_IDL_ERROR, name + len + 1);
}
