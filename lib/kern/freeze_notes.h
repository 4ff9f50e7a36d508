/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is known of a thread in a ptrace stop of ours, as notes of a core file:
 * private to freeze*.c and inject_fork*.c. No allocation, no locks.
 */
#ifndef UMEM_KERN_FREEZE_NOTES_H
#define UMEM_KERN_FREEZE_NOTES_H

#include "lib/kern/freeze.h"

/**
 * umem_freeze_notes - read it.
 * @deliver: signal that it is about to take, or 0.
 * @buf, @room_bytes: gets the payloads; aligned to 16.
 * @notes: room for the notes, UMEM_FREEZE_MAX_NOTES of them.
 * @ret_used_bytes: how much of @buf was used, a multiple of 16.
 *
 * Return: 0, -ENOBUFS it does not fit, -ESRCH the thread was killed.
 */
int umem_freeze_notes(int pid, int tid, int deliver, unsigned char *buf, size_t room_bytes,
	struct umem_frozen_note *notes, struct umem_frozen_thread *ret_thread,
	size_t *ret_used_bytes);

#endif
