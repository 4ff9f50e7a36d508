// SPDX-License-Identifier: LGPL-2.1-or-later
/* Filling the error note of an operation. */
#include "lib/base/note.h"

#include <stdarg.h>
#include <stdio.h>

int umem_note_set(struct umem_note *note, int err, uint64_t addr, const char *fmt, ...)
{
	va_list args;

	if (!note || note->text[0] != '\0')
		return err;
	note->err = err;
	note->addr = addr;
	va_start(args, fmt);
	vsnprintf(note->text, sizeof(note->text), fmt, args);
	va_end(args);
	return err;
}

void umem_note_clear(struct umem_note *note)
{
	if (note)
		*note = (struct umem_note){ 0 };
}
