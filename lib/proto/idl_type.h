/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Types of an interface description, as trees; shared by idl.c and idl_check.c. */
#ifndef UMEM_PROTO_IDL_TYPE_H
#define UMEM_PROTO_IDL_TYPE_H

#include <stdbool.h>
#include <stddef.h>

struct umem_idl_entry;

/** enum umem_idl_type_kind - what a node is. */
enum umem_idl_type_kind {
	UMEM_IDL_BOOL,
	UMEM_IDL_INT,
	UMEM_IDL_FLOAT,
	UMEM_IDL_STRING,
	UMEM_IDL_OBJECT, /* any object */
	UMEM_IDL_STRUCT,
	UMEM_IDL_ENUM,
	UMEM_IDL_ARRAY,
	UMEM_IDL_MAP, /* any keys, values of one type */
	UMEM_IDL_NAMED,
};

/** struct umem_idl_field - a field, or a word of an enum (without @type); owned. */
struct umem_idl_field {
	char *name;
	struct umem_idl_type *type;
};

/**
 * struct umem_idl_type - a node.
 * @kind: what it is.
 * @nullable: null, or left out, will do.
 * @fields, @n_fields: of an object or enum.
 * @item: of an array or map.
 * @name, @named: a name, and the entry that it means, borrowed.
 */
struct umem_idl_type {
	enum umem_idl_type_kind kind;
	bool nullable;
	struct umem_idl_field *fields;
	size_t n_fields;
	struct umem_idl_type *item;
	char *name;
	struct umem_idl_entry *named;
};

#endif
