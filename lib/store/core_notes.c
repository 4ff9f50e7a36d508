// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The notes of an ELF core: threads with their registers, the process, its mapped
 * files.
 *
 * A debugger attaches notes of registers to the NT_PRSTATUS before them, and shows
 * the thread of the first one. Layouts are those of 64-bit Linux, little-endian; they
 * are spelt out here, since a core may be of another machine than this.
 */
#include "lib/store/core_notes.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/utsname.h>

#include "lib/base/note.h"

/* struct elf_prstatus: what comes before the registers, and pr_fpvalid behind. */
#define PRSTATUS_HEAD     112
#define PRSTATUS_TAIL     8
#define PRSTATUS_CURSIG   12
#define PRSTATUS_SIGPEND  16
#define PRSTATUS_PID      32

#define PSARGS_BYTES 80

_Static_assert(sizeof(struct elf_prpsinfo) == 136, "layout of NT_PRPSINFO");
_Static_assert(offsetof(struct elf_prstatus, pr_cursig) == PRSTATUS_CURSIG &&
	offsetof(struct elf_prstatus, pr_sigpend) == PRSTATUS_SIGPEND &&
	offsetof(struct elf_prstatus, pr_pid) == PRSTATUS_PID &&
	offsetof(struct elf_prstatus, pr_reg) == PRSTATUS_HEAD &&
	sizeof(struct elf_prstatus) == PRSTATUS_HEAD + sizeof(elf_gregset_t) + PRSTATUS_TAIL,
	"layout of NT_PRSTATUS");

static const struct umem_core_machine machines[] = {
	{ "x86_64", EM_X86_64, 27 * 8 },
	{ "aarch64", EM_AARCH64, 34 * 8 },
};

const struct umem_core_machine *umem_core_machine(const char *name)
{
	struct utsname here;

	if (!name || !name[0]) {
		if (uname(&here) < 0)
			return NULL;
		name = here.machine;
	}
	for (size_t i = 0; i < UMEM_ARRAY_LEN(machines); i++) {
		if (strcmp(machines[i].name, name) == 0)
			return &machines[i];
	}
	return NULL;
}

/* Notes of the first System V ABI are of owner CORE, those that Linux added of LINUX. */
static const char *owner_of(uint32_t type)
{
	switch (type) {
	case NT_PRSTATUS:
	case NT_PRFPREG:
	case NT_PRPSINFO:
	case NT_AUXV:
	case NT_SIGINFO:
	case NT_FILE:
		return "CORE";
	default:
		return "LINUX";
	}
}

/* A note with room for @len bytes, zeroed. */
static int add_note(struct umem_bytes *notes, uint32_t type, size_t len, uint8_t **ret_at)
{
	const char *owner = owner_of(type);
	size_t name_len = strlen(owner) + 1, name_room = umem_align_up(name_len, 4);
	Elf64_Nhdr head = { .n_namesz = (Elf64_Word)name_len, .n_descsz = (Elf64_Word)len,
		.n_type = type };
	uint8_t *at;
	int r;

	if (len > INT32_MAX)
		return -EFBIG;
	r = umem_bytes_add(notes, sizeof(head) + name_room + umem_align_up(len, 4), &at);
	if (r < 0)
		return r;
	memcpy(at, &head, sizeof(head));
	memcpy(at + sizeof(head), owner, name_len);
	*ret_at = at + sizeof(head) + name_room;
	return 0;
}

static int put_note(struct umem_bytes *notes, uint32_t type, const void *bytes, size_t len)
{
	uint8_t *at;
	int r = add_note(notes, type, len, &at);

	if (r == 0 && len > 0)
		memcpy(at, bytes, len);
	return r;
}

static const struct umem_image_blob *blob_of(const struct umem_image_thread *thread,
	uint32_t type)
{
	for (size_t i = 0; i < thread->n_blobs; i++) {
		if (thread->blobs[i].type == type)
			return &thread->blobs[i];
	}
	return NULL;
}

static bool is_whole(const struct umem_image_blob *blob,
	const struct umem_core_machine *machine)
{
	return blob->len_bytes == PRSTATUS_HEAD + machine->gregs_bytes + PRSTATUS_TAIL;
}

static int signal_of(const struct umem_image_thread *thread,
	const struct umem_core_machine *machine)
{
	const struct umem_image_blob *blob = blob_of(thread, NT_PRSTATUS);
	uint16_t sig = 0;

	if (blob && is_whole(blob, machine))
		memcpy(&sig, (const char *)blob->bytes + PRSTATUS_CURSIG, sizeof(sig));
	return sig;
}

/* NT_PRSTATUS, from the whole structure, or from the registers alone (PTRACE_GETREGSET). */
static int put_prstatus(const struct umem_image_process *process,
	const struct umem_image_thread *thread, const struct umem_core_machine *machine,
	struct umem_bytes *notes, struct umem_note *note)
{
	const struct umem_image_blob *blob = blob_of(thread, NT_PRSTATUS);
	const int32_t ids[4] = { thread->tid, process->ppid, process->pgid, process->sid };
	uint8_t *at;
	int r;

	if (!is_whole(blob, machine) && blob->len_bytes != machine->gregs_bytes)
		return umem_note_set(note, -EBADMSG, 0, "the registers of thread %d are %u bytes, "
			"which they cannot be on %s", thread->tid, blob->len_bytes, machine->name);
	r = add_note(notes, NT_PRSTATUS, PRSTATUS_HEAD + machine->gregs_bytes + PRSTATUS_TAIL,
		&at);
	if (r < 0)
		return r;
	memcpy(at + (is_whole(blob, machine) ? 0 : PRSTATUS_HEAD), blob->bytes,
		blob->len_bytes);
	memcpy(at + PRSTATUS_PID, ids, sizeof(ids));
	if (blob_of(thread, NT_PRFPREG))
		at[PRSTATUS_HEAD + machine->gregs_bytes] = 1;
	return 0;
}

static int put_prpsinfo(const struct umem_image_process *process, struct umem_bytes *notes)
{
	struct elf_prpsinfo info = { .pr_sname = 'R' };
	size_t len = umem_min_u64(process->cmdline_len_bytes, PSARGS_BYTES - 1);

	info.pr_uid = process->uid;
	info.pr_gid = process->gid;
	info.pr_pid = process->pid;
	info.pr_ppid = process->ppid;
	info.pr_pgrp = process->pgid;
	info.pr_sid = process->sid;
	memcpy(info.pr_fname, process->comm, sizeof(info.pr_fname) - 1);
	/* The last NUL is the end, those between the arguments become blanks. */
	while (len > 0 && process->cmdline[len - 1] == '\0')
		len--;
	for (size_t i = 0; i < len; i++)
		info.pr_psargs[i] = process->cmdline[i] ? process->cmdline[i] : ' ';
	return put_note(notes, NT_PRPSINFO, &info, sizeof(info));
}

static bool is_file(const struct umem_image_region *region)
{
	return region->path && region->path[0] == '/' && region->inode != 0;
}

/* NT_FILE: a count, the page size, start, end and page of the file for each; then names. */
static int put_files(const struct umem_image_process *process, struct umem_bytes *notes)
{
	uint64_t n = 0, names = 0, *words;
	uint8_t *at;
	char *name;
	int r;

	for (size_t i = 0; i < process->n_regions; i++) {
		if (!is_file(&process->regions[i]))
			continue;
		n++;
		names += strlen(process->regions[i].path) + 1;
	}
	r = n > 0 ? add_note(notes, NT_FILE, (2 + 3 * n) * sizeof(*words) + names, &at) : 0;
	if (r < 0 || n == 0)
		return r;
	/* Notes are aligned to 4 bytes only: words go in by copies. */
	words = malloc((2 + 3 * n) * sizeof(*words));
	if (!words)
		return -ENOMEM;
	name = (char *)at + (2 + 3 * n) * sizeof(*words);
	words[0] = n;
	words[1] = UMEM_IMAGE_PAGE_BYTES;
	n = 2;
	for (size_t i = 0; i < process->n_regions; i++) {
		const struct umem_image_region *region = &process->regions[i];

		if (!is_file(region))
			continue;
		words[n++] = region->start;
		words[n++] = region->end;
		words[n++] = region->offset / UMEM_IMAGE_PAGE_BYTES;
		name = stpcpy(name, region->path) + 1;
	}
	memcpy(at, words, n * sizeof(*words));
	free(words);
	return 0;
}

static int put_process(const struct umem_image_process *process,
	const struct umem_image_thread *first, struct umem_bytes *notes)
{
	const struct umem_image_blob *siginfo = first ? blob_of(first, NT_SIGINFO) : NULL;
	int r = put_prpsinfo(process, notes);

	if (r == 0 && siginfo)
		r = put_note(notes, NT_SIGINFO, siginfo->bytes, siginfo->len_bytes);
	if (r == 0 && process->auxv_len_bytes > 0)
		r = put_note(notes, NT_AUXV, process->auxv, process->auxv_len_bytes);
	return r == 0 ? put_files(process, notes) : r;
}

/* What a thread has besides its NT_PRSTATUS. */
static int put_blobs(const struct umem_image_thread *thread, bool siginfo,
	struct umem_bytes *notes)
{
	int r = 0;

	for (size_t i = 0; i < thread->n_blobs && r == 0; i++) {
		const struct umem_image_blob *blob = &thread->blobs[i];

		if (blob->type == NT_PRSTATUS || (blob->type == NT_SIGINFO && !siginfo))
			continue;
		r = put_note(notes, blob->type, blob->bytes, blob->len_bytes);
	}
	return r;
}

/* The thread that a debugger is to show, or NULL when none has registers. */
static const struct umem_image_thread *first_of(const struct umem_image_process *process,
	const struct umem_core_machine *machine, int32_t tid)
{
	const struct umem_image_thread *any = NULL, *leader = NULL;

	for (size_t i = 0; i < process->n_threads; i++) {
		const struct umem_image_thread *thread = &process->threads[i];

		if (!blob_of(thread, NT_PRSTATUS) || (tid && thread->tid != tid))
			continue;
		if (tid || signal_of(thread, machine) != 0)
			return thread;
		if (!any)
			any = thread;
		if (thread->tid == process->pid)
			leader = thread;
	}
	return leader ? leader : any;
}

int umem_core_notes(const struct umem_image_process *process,
	const struct umem_core_machine *machine, int32_t tid, struct umem_bytes *notes,
	struct umem_note *note)
{
	const struct umem_image_thread *first = first_of(process, machine, tid);
	int r = 0;

	if (tid && !first)
		return umem_note_set(note, -ESRCH, 0, "process %d has no thread %d with registers "
			"in the image", process->pid, tid);
	if (first)
		r = put_prstatus(process, first, machine, notes, note);
	if (r == 0)
		r = put_process(process, first, notes);
	if (r == 0 && first)
		r = put_blobs(first, false, notes);
	for (size_t i = 0; i < process->n_threads && r == 0; i++) {
		const struct umem_image_thread *thread = &process->threads[i];

		if (thread == first || !blob_of(thread, NT_PRSTATUS))
			continue;
		r = put_prstatus(process, thread, machine, notes, note);
		if (r == 0)
			r = put_blobs(thread, true, notes);
	}
	if (r == -EFBIG)
		return umem_note_set(note, r, 0, "a note of process %d is longer than one can be",
			process->pid);
	return r;
}
