/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON values: built up and written as one object a line, and read from bytes
 * that nobody vouches for. The only user of the JSON library.
 *
 * Building never fails visibly: a value that could not be made is NULL, every
 * call takes NULL, and umem_json_write_consume() then answers -ENOMEM. Integers
 * stay integers, addresses are "0x..." strings.
 *
 * Looking never fails either: what is not there, or is of another type, is
 * NULL, 0, false or what the caller gives in its place.
 */
#ifndef UMEM_BASE_JSON_H
#define UMEM_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <umemd/types.h>

#include "lib/base/attr.h"

struct umem_json;

/** umem_json_object, umem_json_array - a new empty value, owned by the caller. */
struct umem_json *umem_json_object(void);
struct umem_json *umem_json_array(void);

/** umem_json_int - a new integer, owned by the caller. */
struct umem_json *umem_json_int(int64_t value);

/** umem_json_text - a new string, owned by the caller; text that is not UTF-8 is escaped. */
struct umem_json *umem_json_text(const char *value);

/** umem_json_free - NULL is fine. Return: NULL. */
struct umem_json *umem_json_free(struct umem_json *value);

UMEM_DEFINE_CLEANUP(struct umem_json, umem_json_free)

/** umem_json_share - one more owner of @value, for a _consume of it. */
struct umem_json *umem_json_share(const struct umem_json *value);

/** umem_json_set_* - set @key of an object. Text that is not UTF-8 is escaped byte by byte. */
void umem_json_set_u64(struct umem_json *object, const char *key, uint64_t value);
void umem_json_set_int(struct umem_json *object, const char *key, int64_t value);
void umem_json_set_bool(struct umem_json *object, const char *key, bool value);
void umem_json_set_text(struct umem_json *object, const char *key, const char *value);
void umem_json_set_addr(struct umem_json *object, const char *key, uint64_t addr);
void umem_json_set_null(struct umem_json *object, const char *key);

/** umem_json_set_consume, umem_json_append_consume - put @value into another; it is owned there. */
void umem_json_set_consume(struct umem_json *object, const char *key,
	struct umem_json *value);
void umem_json_append_consume(struct umem_json *array, struct umem_json *value);

/**
 * umem_json_write_consume - write one line and free @object.
 * Return: 0, -ENOMEM, -EIO.
 */
int umem_json_write_consume(FILE *out, struct umem_json *object);

/**
 * umem_json_open_consume - write @object up to the opening of an array @key that is
 * then written item by item, so that a million items need no memory; free @object.
 */
int umem_json_open_consume(FILE *out, struct umem_json *object, const char *key);

/** umem_json_next - open the next array in the same object. */
int umem_json_next(FILE *out, const char *key);

/** umem_json_item_consume - write and free one item; @first says that none came before it. */
int umem_json_item_consume(FILE *out, struct umem_json *item, bool first);

/**
 * umem_json_item_open_consume - write an item that is an object (not an empty one) up to
 * the opening of an array @key of its own, and free it; its items follow.
 */
int umem_json_item_open_consume(FILE *out, struct umem_json *item, bool first,
	const char *key);

/** umem_json_item_close - end that array and the item. Return: 0 or -EIO. */
int umem_json_item_close(FILE *out);

/** umem_json_close - end the array, the object and the line. Return: 0 or -EIO. */
int umem_json_close(FILE *out);

/** umem_json_close_consume - the same, with a last member @key of the object. */
int umem_json_close_consume(FILE *out, const char *key, struct umem_json *value);

/**
 * struct umem_json_limits - what text may be, at most.
 * @max_bytes: its length.
 * @max_depth: arrays and objects in one another.
 * @max_values: values, members and items altogether: each costs memory.
 */
struct umem_json_limits {
	size_t max_bytes;
	unsigned max_depth;
	size_t max_values;
};

/**
 * umem_json_parse - the object that @text holds, and nothing else.
 * @text: UTF-8, need not end in a NUL; no byte is trusted.
 * @limits: checked before any memory is taken.
 * @ret_object: owned by the caller.
 * @note: what is wrong with it.
 *
 * Return: 0; -EBADMSG: not one JSON object, a key twice in one object, a number past 64
 * bits, a NUL in a string; -E2BIG: past @limits; -ENOMEM.
 */
int umem_json_parse(const char *text, size_t len_bytes, const struct umem_json_limits *limits,
	struct umem_json **ret_object, struct umem_note *note);

/**
 * umem_json_dump - the text of @value, without blanks, and a NUL behind it.
 * @ret_text: the caller frees. @ret_len_bytes: without the NUL.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_json_dump(const struct umem_json *value, char **ret_text, size_t *ret_len_bytes);

/** umem_json_same - are both the same value? NULL is only the same as NULL. */
bool umem_json_same(const struct umem_json *a, const struct umem_json *b);

/** enum umem_json_type - what a value is; NONE is NULL. */
enum umem_json_type {
	UMEM_JSON_NONE,
	UMEM_JSON_NULL,
	UMEM_JSON_BOOL,
	UMEM_JSON_INT,
	UMEM_JSON_FLOAT,
	UMEM_JSON_TEXT,
	UMEM_JSON_ARRAY,
	UMEM_JSON_OBJECT,
};

enum umem_json_type umem_json_type(const struct umem_json *value);

/** umem_json_get - member @key of an object; owned there. NULL when there is none. */
const struct umem_json *umem_json_get(const struct umem_json *object, const char *key);

/** umem_json_count - items of an array, members of an object. */
size_t umem_json_count(const struct umem_json *value);

/** umem_json_item - item @index of an array; owned there. NULL past the end. */
const struct umem_json *umem_json_item(const struct umem_json *array, size_t index);

/**
 * umem_json_each - the members of an object, in order.
 * @each: what it returns other than 0 ends the walk. Return: 0, or that.
 */
int umem_json_each(const struct umem_json *object,
	int (*each)(void *user, const char *key, const struct umem_json *value), void *user);

/** umem_json_as_* - the value, or @other when it is of another type. */
int64_t umem_json_as_int(const struct umem_json *value, int64_t other);
const char *umem_json_as_text(const struct umem_json *value, const char *other);
bool umem_json_as_bool(const struct umem_json *value, bool other);

/** umem_json_get_int, umem_json_get_text, umem_json_get_bool - the same of member @key. */
int64_t umem_json_get_int(const struct umem_json *object, const char *key, int64_t other);
const char *umem_json_get_text(const struct umem_json *object, const char *key,
	const char *other);
bool umem_json_get_bool(const struct umem_json *object, const char *key, bool other);

#endif
