/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The interfaces that umemd and its workers speak, as they are installed and
 * told to clients.
 */
#ifndef UMEM_PROTO_INTERFACES_H
#define UMEM_PROTO_INTERFACES_H

#include "lib/proto/idl.h"

/** UMEM_N_INTERFACES - how many there are. */
#define UMEM_N_INTERFACES 9

/**
 * struct umem_interfaces - all of them, parsed; all zero is none.
 * @v: in the order of their files' names.
 */
struct umem_interfaces {
	struct umem_idl *v[UMEM_N_INTERFACES];
};

/** umem_interface_texts - the descriptions as in the files; static. */
extern const char *const umem_interface_texts[UMEM_N_INTERFACES];

/** umem_interfaces_load - parse them. Return: 0, -ENOMEM, -EBADMSG for a bad one. */
int umem_interfaces_load(struct umem_interfaces *ret_interfaces, struct umem_note *note);

/** umem_interfaces_deinit - free them. */
void umem_interfaces_deinit(struct umem_interfaces *interfaces);

/** umem_interfaces_find - the one called @name, or NULL. */
const struct umem_idl *umem_interfaces_find(const struct umem_interfaces *interfaces,
	const char *name);

#endif
