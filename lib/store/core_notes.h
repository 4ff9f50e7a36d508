/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The notes of an ELF core: threads with their registers, the process, its mapped
 * files. Pure: from a description to bytes.
 */
#ifndef UMEM_STORE_CORE_NOTES_H
#define UMEM_STORE_CORE_NOTES_H

#include <umemd/store.h>

#include "lib/store/bytes.h"

/**
 * struct umem_core_machine - what differs between machines in a core.
 * @name: as of uname(2).
 * @elf_machine: EM_*.
 * @gregs_bytes: of the general registers in NT_PRSTATUS.
 */
struct umem_core_machine {
	const char *name;
	uint16_t elf_machine;
	uint32_t gregs_bytes;
};

/** umem_core_machine - by name; "" or NULL is this machine. Return: NULL if not known. */
const struct umem_core_machine *umem_core_machine(const char *name);

/**
 * umem_core_notes - the content of PT_NOTE, in the kernel's order: of the first
 * thread NT_PRSTATUS, then NT_PRPSINFO, NT_SIGINFO, NT_AUXV, NT_FILE, its other
 * registers, and the other threads behind. A thread without NT_PRSTATUS is left out.
 * @tid: the thread to be first; 0: one that has a signal, else the process's first.
 * @notes: what is there stays before them.
 *
 * Return: 0; -ESRCH: no thread @tid with registers; -EBADMSG: registers of a wrong
 * size; -EFBIG: more than a note can be; -ENOMEM. Noted.
 */
int umem_core_notes(const struct umem_image_process *process,
	const struct umem_core_machine *machine, int32_t tid, struct umem_bytes *notes,
	struct umem_note *note);

#endif
