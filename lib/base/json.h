/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON values, built up and written as one object a line. The only user of
 * the JSON library.
 *
 * Building never fails visibly: a value that could not be made is NULL, every
 * call takes NULL, and umem_json_write() then answers -ENOMEM. Integers stay
 * integers, addresses are "0x..." strings.
 */
#ifndef UMEM_BASE_JSON_H
#define UMEM_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct umem_json;

/** umem_json_object, umem_json_array - a new empty value, owned by the caller. */
struct umem_json *umem_json_object(void);
struct umem_json *umem_json_array(void);

/** umem_json_text - a new string, owned by the caller; text that is not UTF-8 is escaped. */
struct umem_json *umem_json_text(const char *value);

/** umem_json_free - NULL is fine. Return: NULL. */
struct umem_json *umem_json_free(struct umem_json *value);

/** umem_json_set_* - set @key of an object. Text that is not UTF-8 is escaped byte by byte. */
void umem_json_set_u64(struct umem_json *object, const char *key, uint64_t value);
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

#endif
