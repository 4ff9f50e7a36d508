/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Varlink interface descriptions: parsed, and messages checked against them.
 *
 * The description is what a client reads, so it is what the program goes by: the
 * parameters of every call and reply are compared with it, and no second list
 * of fields exists. A check names the field that is wrong, unknown or missing.
 * An interface is immutable once parsed.
 */
#ifndef UMEM_PROTO_IDL_H
#define UMEM_PROTO_IDL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/attr.h"
#include "lib/base/json.h"

/** UMEM_IDL_TEXT_MAX - bytes of a description that is accepted. */
#define UMEM_IDL_TEXT_MAX (64u << 10)

struct umem_idl_type;

/** enum umem_idl_kind - what an entry of an interface is. */
enum umem_idl_kind {
	UMEM_IDL_TYPE,
	UMEM_IDL_METHOD,
	UMEM_IDL_ERROR,
};

/**
 * struct umem_idl_entry - a type, method or error.
 * @kind: which of these.
 * @name: without the interface's.
 * @in: the type, or the parameters of a call or an error.
 * @out: the parameters of a reply; NULL but for a method.
 * @depth, @measuring: private to idl.c.
 */
struct umem_idl_entry {
	enum umem_idl_kind kind;
	char *name;
	struct umem_idl_type *in;
	struct umem_idl_type *out;
	unsigned depth;
	bool measuring;
};

/**
 * struct umem_idl - one interface.
 * @name: like "io.umemd.Targets".
 * @text: the description, as it was given.
 * @v, @n, @room: its entries, in order.
 */
struct umem_idl {
	char *name;
	char *text;
	struct umem_idl_entry *v;
	size_t n;
	size_t room;
};

/**
 * umem_idl_parse - parse a description.
 * @text: a string; not trusted.
 *
 * Return: 0; -EBADMSG with the line in @note: no description, a name twice, a
 * type that is not there, or one that contains itself; -E2BIG; -ENOMEM.
 */
int umem_idl_parse(const char *text, struct umem_idl **ret_idl, struct umem_note *note);

/** umem_idl_free - NULL is fine. Return: NULL. */
struct umem_idl *umem_idl_free(struct umem_idl *idl);

UMEM_DEFINE_CLEANUP(struct umem_idl, umem_idl_free)

/** umem_idl_find - the entry called @name, or NULL. */
struct umem_idl_entry *umem_idl_find(const struct umem_idl *idl, enum umem_idl_kind kind,
	const char *name);

/** umem_idl_find_error - the error called @name in full, as replies have it, or NULL. */
struct umem_idl_entry *umem_idl_find_error(const struct umem_idl *idl, const char *name);

/** UMEM_IDL_WHERE - room for the path of a field, like "regions[3].start". */
#define UMEM_IDL_WHERE 128

/**
 * umem_idl_check - is @value what @type says?
 * @value: NULL is an empty object.
 * @ret_where: on failure the field that is wrong.
 *
 * Return: 0; -EINVAL: @ret_where is of another type, missing, or unknown, which @note says.
 */
int umem_idl_check(const struct umem_idl_type *type, const struct umem_json *value,
	char ret_where[UMEM_IDL_WHERE], struct umem_note *note);

#endif
