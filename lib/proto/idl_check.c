// SPDX-License-Identifier: LGPL-2.1-or-later
/* Messages against the description of their interface. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/note.h"
#include "lib/proto/idl.h"
#include "lib/proto/idl_type.h"

/*
 * A step from the message to the value that is looked at; the outermost has no
 * parent. The path is written only when something is wrong.
 */
struct step {
	const struct step *parent;
	const char *key;
	size_t index;
};

/* What all steps share. */
struct check {
	char *where;
	struct umem_note *note;
};

static void write_path(const struct step *step, char *where, size_t size)
{
	size_t len;

	if (!step->parent) {
		where[0] = '\0';
		return;
	}
	write_path(step->parent, where, size);
	len = strlen(where);
	if (step->key)
		snprintf(where + len, size - len, "%s%s", len ? "." : "", step->key);
	else
		snprintf(where + len, size - len, "[%zu]", step->index);
}

static int wrong(const struct check *check, const struct step *step, const char *what)
{
	write_path(step, check->where, UMEM_IDL_WHERE);
	return umem_note_set(check->note, -EINVAL, 0, "%s: %s", check->where, what);
}

static int check_value(const struct check *check, const struct umem_idl_type *type,
	const struct umem_json *value, const struct step *step);

static const struct umem_idl_field *find_field(const struct umem_idl_type *type,
	const char *name)
{
	for (size_t i = 0; i < type->n_fields; i++)
		if (strcmp(type->fields[i].name, name) == 0)
			return &type->fields[i];
	return NULL;
}

/* A walk over the members of an object. */
struct walk {
	const struct check *check;
	const struct umem_idl_type *type;
	const struct step *step;
};

static int check_known(void *user, const char *key, const struct umem_json *value)
{
	const struct walk *walk = user;
	struct step step = { .parent = walk->step, .key = key };

	return find_field(walk->type, key) ? 0 : wrong(walk->check, &step, "unknown field");
}

static int check_struct(const struct check *check, const struct umem_idl_type *type,
	const struct umem_json *value, const struct step *step)
{
	struct walk walk = { check, type, step };
	int r = umem_json_each(value, check_known, &walk);

	for (size_t i = 0; i < type->n_fields && r == 0; i++) {
		const struct umem_idl_field *field = &type->fields[i];
		struct step inner = { .parent = step, .key = field->name };

		r = check_value(check, field->type, umem_json_get(value, field->name), &inner);
	}
	return r;
}

static int check_member(void *user, const char *key, const struct umem_json *value)
{
	const struct walk *walk = user;
	struct step step = { .parent = walk->step, .key = key };

	return check_value(walk->check, walk->type->item, value, &step);
}

static int check_array(const struct check *check, const struct umem_idl_type *type,
	const struct umem_json *value, const struct step *step)
{
	size_t n = umem_json_count(value);
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct step inner = { .parent = step, .index = i };

		r = check_value(check, type->item, umem_json_item(value, i), &inner);
	}
	return r;
}

static int check_value(const struct check *check, const struct umem_idl_type *type,
	const struct umem_json *value, const struct step *step)
{
	static const struct {
		enum umem_json_type json;
		const char *what;
	} wanted[] = {
		[UMEM_IDL_BOOL] = { UMEM_JSON_BOOL, "not true or false" },
		[UMEM_IDL_INT] = { UMEM_JSON_INT, "not an integer" },
		[UMEM_IDL_FLOAT] = { UMEM_JSON_FLOAT, "not a number" },
		[UMEM_IDL_STRING] = { UMEM_JSON_TEXT, "not a string" },
		[UMEM_IDL_OBJECT] = { UMEM_JSON_OBJECT, "not an object" },
		[UMEM_IDL_STRUCT] = { UMEM_JSON_OBJECT, "not an object" },
		[UMEM_IDL_ENUM] = { UMEM_JSON_TEXT, "not a string" },
		[UMEM_IDL_ARRAY] = { UMEM_JSON_ARRAY, "not an array" },
		[UMEM_IDL_MAP] = { UMEM_JSON_OBJECT, "not an object" },
	};
	enum umem_json_type json = umem_json_type(value);
	struct walk walk = { check, type, step };

	if (type->nullable && (json == UMEM_JSON_NONE || json == UMEM_JSON_NULL))
		return 0;
	if (type->kind == UMEM_IDL_NAMED)
		return check_value(check, type->named->in, value, step);
	if (json == UMEM_JSON_NONE)
		return wrong(check, step, "missing");
	/* JSON writes a whole number without a point, whatever it is meant to be. */
	if (json == UMEM_JSON_INT && type->kind == UMEM_IDL_FLOAT)
		return 0;
	if (json != wanted[type->kind].json)
		return wrong(check, step, wanted[type->kind].what);
	switch (type->kind) {
	case UMEM_IDL_STRUCT:
		return check_struct(check, type, value, step);
	case UMEM_IDL_ARRAY:
		return check_array(check, type, value, step);
	case UMEM_IDL_MAP:
		return umem_json_each(value, check_member, &walk);
	case UMEM_IDL_ENUM:
		return find_field(type, umem_json_as_text(value, "")) ?
			0 : wrong(check, step, "not a word that is known there");
	default:
		return 0;
	}
}

int umem_idl_check(const struct umem_idl_type *type, const struct umem_json *value,
	char ret_where[UMEM_IDL_WHERE], struct umem_note *note)
{
	const struct check check = { ret_where, note };
	const struct step step = { 0 };

	return value ? check_value(&check, type, value, &step) :
		       check_struct(&check, type, NULL, &step);
}
