// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Records of CRIU's images: packed into bytes, unpacked from bytes.
 *
 * The translation between our plain structures and the generated ones. The library
 * checks lengths, required fields and nesting of what comes in; which numbers make
 * sense is for whoever reads the record.
 */
#include "lib/store/criu_wire.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "lib/store/criu.pb-c.h"

#define N_GREGS 27

/* Where the parts of an FXSAVE area are. */
#define FX_MXCSR 24
#define FX_ST    32
#define FX_XMM   160

int umem_criu_put_magic(struct umem_bytes *to, uint32_t magic)
{
	uint32_t le = htole32(magic);

	return umem_bytes_put(to, &le, sizeof(le));
}

static int put(struct umem_bytes *to, const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	uint32_t le = htole32((uint32_t)len);
	uint8_t *at;
	int r;

	if (len > UINT32_MAX)
		return -ENOMEM;
	r = umem_bytes_add(to, sizeof(le) + len, &at);
	if (r < 0)
		return r;
	memcpy(at, &le, sizeof(le));
	protobuf_c_message_pack(message, at + sizeof(le));
	return 0;
}

int umem_criu_put_head(struct umem_bytes *to, uint32_t pages_id)
{
	Umem__CriuPagemapHead head = UMEM__CRIU_PAGEMAP_HEAD__INIT;

	head.pages_id = pages_id;
	return put(to, &head.base);
}

int umem_criu_put_run(struct umem_bytes *to, const struct umem_criu_run *run)
{
	Umem__CriuPagemapEntry entry = UMEM__CRIU_PAGEMAP_ENTRY__INIT;

	entry.vaddr = run->vaddr;
	/* Both counts: before 4.2 only the first one is read, since then the second. */
	entry.compat_nr_pages = run->n_pages <= UINT32_MAX ? (uint32_t)run->n_pages : 0;
	entry.has_nr_pages = 1;
	entry.nr_pages = run->n_pages;
	entry.has_flags = 1;
	entry.flags = run->flags;
	if (run->flags & UMEM_CRIU_PE_PARENT) {
		entry.has_in_parent = 1;
		entry.in_parent = 1;
	}
	return put(to, &entry.base);
}

int umem_criu_put_mm(struct umem_bytes *to, const struct umem_criu_mm *mm)
{
	Umem__CriuMm message = UMEM__CRIU_MM__INIT;
	UMEM_FREE Umem__CriuVma *v = calloc(mm->n_vmas + 1, sizeof(*v));
	UMEM_FREE Umem__CriuVma **p = calloc(mm->n_vmas + 1, sizeof(void *));

	if (!v || !p)
		return -ENOMEM;
	for (size_t i = 0; i < mm->n_vmas; i++) {
		const struct umem_criu_vma *vma = &mm->vmas[i];

		umem__criu_vma__init(&v[i]);
		v[i].start = vma->start;
		v[i].end = vma->end;
		v[i].pgoff = vma->offset;
		v[i].shmid = vma->shmid;
		v[i].prot = vma->prot;
		v[i].flags = vma->flags;
		v[i].status = vma->status;
		v[i].fd = -1;
		p[i] = &v[i];
	}
	message.exe_file_id = mm->exe_id;
	message.mm_saved_auxv = mm->auxv;
	message.n_mm_saved_auxv = mm->n_auxv;
	message.vmas = p;
	message.n_vmas = mm->n_vmas;
	return put(to, &message.base);
}

int umem_criu_put_task(struct umem_bytes *to, const struct umem_criu_task *task)
{
	Umem__CriuPstree message = UMEM__CRIU_PSTREE__INIT;

	message.pid = task->pid;
	message.ppid = task->ppid;
	message.pgid = task->pgid;
	message.sid = task->sid;
	message.threads = task->threads;
	message.n_threads = task->n_threads;
	return put(to, &message.base);
}

int umem_criu_put_file(struct umem_bytes *to, const struct umem_criu_file *file)
{
	Umem__CriuFile message = UMEM__CRIU_FILE__INIT;
	Umem__CriuRegularFile regular = UMEM__CRIU_REGULAR_FILE__INIT;
	Umem__CriuOwner owner = UMEM__CRIU_OWNER__INIT;

	regular.id = file->id;
	regular.fown = &owner;
	regular.name = file->path;
	regular.has_size = file->size_bytes > 0;
	regular.size = file->size_bytes;
	message.type = 1;
	message.id = file->id;
	message.reg = &regular;
	return put(to, &message.base);
}

static void fill_gregs(Umem__CriuX86Regs *to, const uint64_t *from)
{
	uint64_t *const v[N_GREGS] = {
		&to->r15, &to->r14, &to->r13, &to->r12, &to->bp, &to->bx, &to->r11, &to->r10,
		&to->r9, &to->r8, &to->ax, &to->cx, &to->dx, &to->si, &to->di, &to->orig_ax,
		&to->ip, &to->cs, &to->flags, &to->sp, &to->ss, &to->fs_base, &to->gs_base,
		&to->ds, &to->es, &to->fs, &to->gs,
	};

	for (size_t i = 0; i < N_GREGS; i++)
		*v[i] = from[i];
}

/**
 * struct fpregs - the message, and its arrays.
 * @st: eight registers of 16 bytes.
 * @xmm: sixteen of them.
 */
struct fpregs {
	Umem__CriuX86Fpregs message;
	uint32_t st[32];
	uint32_t xmm[64];
};

static void fill_fpregs(struct fpregs *to, const uint8_t *from)
{
	uint16_t head[4];
	uint64_t pointers[2];
	uint32_t mxcsr[2];

	umem__criu_x86_fpregs__init(&to->message);
	memcpy(head, from, sizeof(head));
	memcpy(pointers, from + sizeof(head), sizeof(pointers));
	memcpy(mxcsr, from + FX_MXCSR, sizeof(mxcsr));
	memcpy(to->st, from + FX_ST, sizeof(to->st));
	memcpy(to->xmm, from + FX_XMM, sizeof(to->xmm));
	to->message.cwd = head[0];
	to->message.swd = head[1];
	to->message.twd = head[2];
	to->message.fop = head[3];
	to->message.rip = pointers[0];
	to->message.rdp = pointers[1];
	to->message.mxcsr = mxcsr[0];
	to->message.mxcsr_mask = mxcsr[1];
	to->message.st_space = to->st;
	to->message.n_st_space = UMEM_ARRAY_LEN(to->st);
	to->message.xmm_space = to->xmm;
	to->message.n_xmm_space = UMEM_ARRAY_LEN(to->xmm);
}

int umem_criu_put_thread(struct umem_bytes *to, const struct umem_criu_thread *thread)
{
	static const uint8_t no_fpregs[512];
	Umem__CriuCore core = UMEM__CRIU_CORE__INIT;
	Umem__CriuX86Thread info = UMEM__CRIU_X86_THREAD__INIT;
	Umem__CriuX86Regs gregs = UMEM__CRIU_X86_REGS__INIT;
	Umem__CriuTask task = UMEM__CRIU_TASK__INIT;
	Umem__CriuThread its = UMEM__CRIU_THREAD__INIT;
	struct fpregs fpregs;

	core.mtype = thread->x86 ? 1 : 3;
	if (thread->x86 && thread->gregs) {
		fill_gregs(&gregs, thread->gregs);
		fill_fpregs(&fpregs, thread->fpregs ? thread->fpregs : no_fpregs);
		info.gpregs = &gregs;
		info.fpregs = &fpregs.message;
		core.thread_info = &info;
	}
	task.task_state = 1;
	task.blk_sigset = thread->sigmask;
	task.comm = (char *)thread->comm;
	core.tc = thread->leader ? &task : NULL;
	its.comm = (char *)thread->comm;
	core.thread_core = &its;
	return put(to, &core.base);
}

int umem_criu_put_stats(struct umem_bytes *to, const struct umem_criu_stats *stats)
{
	Umem__CriuStats message = UMEM__CRIU_STATS__INIT;
	Umem__CriuDumpStats dump = UMEM__CRIU_DUMP_STATS__INIT;

	dump.frozen_time = stats->frozen_us;
	dump.pages_scanned = stats->pages_scanned;
	dump.pages_skipped_parent = stats->pages_skipped_parent;
	dump.pages_written = stats->pages_written;
	dump.has_shpages_scanned = 1;
	dump.shpages_scanned = stats->shpages_scanned;
	dump.has_shpages_skipped_parent = 1;
	dump.shpages_skipped_parent = stats->shpages_skipped_parent;
	dump.has_shpages_written = 1;
	dump.shpages_written = stats->shpages_written;
	message.dump = &dump;
	return put(to, &message.base);
}

int umem_criu_put_inventory(struct umem_bytes *to, uint64_t uptime_us)
{
	Umem__CriuInventory message = UMEM__CRIU_INVENTORY__INIT;

	message.img_version = 2;
	message.has_dump_uptime = uptime_us > 0;
	message.dump_uptime = uptime_us;
	return put(to, &message.base);
}

int umem_criu_get_head(const void *bytes, size_t len_bytes, uint32_t *ret_pages_id)
{
	Umem__CriuPagemapHead *head =
		umem__criu_pagemap_head__unpack(NULL, len_bytes, bytes);

	if (!head)
		return -EBADMSG;
	*ret_pages_id = head->pages_id;
	umem__criu_pagemap_head__free_unpacked(head, NULL);
	return 0;
}

static uint32_t flags_of(const Umem__CriuPagemapEntry *entry)
{
	if (entry->has_flags)
		return entry->flags;
	return entry->has_in_parent && entry->in_parent ? UMEM_CRIU_PE_PARENT :
							   UMEM_CRIU_PE_PRESENT;
}

int umem_criu_get_run(const void *bytes, size_t len_bytes, struct umem_criu_run *ret_run)
{
	Umem__CriuPagemapEntry *entry =
		umem__criu_pagemap_entry__unpack(NULL, len_bytes, bytes);
	int r = 0;

	if (!entry)
		return -EBADMSG;
	if (entry->base.n_unknown_fields > 0) {
		r = -ENOTSUP;
	} else {
		ret_run->vaddr = entry->vaddr;
		ret_run->n_pages = entry->has_nr_pages ? entry->nr_pages : entry->compat_nr_pages;
		ret_run->flags = flags_of(entry);
	}
	umem__criu_pagemap_entry__free_unpacked(entry, NULL);
	return r;
}

static int take_mm(const Umem__CriuMm *from, struct umem_criu_mm *ret_mm)
{
	struct umem_criu_mm mm = { .exe_id = from->exe_file_id };

	mm.vmas = calloc(from->n_vmas + 1, sizeof(*mm.vmas));
	mm.auxv = calloc(from->n_mm_saved_auxv + 1, sizeof(*mm.auxv));
	if (!mm.vmas || !mm.auxv) {
		umem_criu_mm_deinit(&mm);
		return -ENOMEM;
	}
	for (size_t i = 0; i < from->n_vmas; i++) {
		const Umem__CriuVma *vma = from->vmas[i];

		mm.vmas[i] = (struct umem_criu_vma){
			.start = vma->start, .end = vma->end, .offset = vma->pgoff,
			.shmid = vma->shmid, .prot = vma->prot, .flags = vma->flags,
			.status = vma->status,
		};
	}
	mm.n_vmas = from->n_vmas;
	mm.n_auxv = from->n_mm_saved_auxv;
	if (mm.n_auxv)
		memcpy(mm.auxv, from->mm_saved_auxv, mm.n_auxv * sizeof(*mm.auxv));
	*ret_mm = mm;
	return 0;
}

int umem_criu_get_mm(const void *bytes, size_t len_bytes, struct umem_criu_mm *ret_mm)
{
	Umem__CriuMm *message = umem__criu_mm__unpack(NULL, len_bytes, bytes);
	int r;

	if (!message)
		return -EBADMSG;
	r = take_mm(message, ret_mm);
	umem__criu_mm__free_unpacked(message, NULL);
	return r;
}

int umem_criu_get_task(const void *bytes, size_t len_bytes, struct umem_criu_task *ret_task)
{
	Umem__CriuPstree *message = umem__criu_pstree__unpack(NULL, len_bytes, bytes);
	uint32_t *threads;

	if (!message)
		return -EBADMSG;
	threads = calloc(message->n_threads + 1, sizeof(*threads));
	if (threads) {
		if (message->n_threads)
			memcpy(threads, message->threads, message->n_threads * sizeof(*threads));
		*ret_task = (struct umem_criu_task){ .pid = message->pid, .ppid = message->ppid,
			.pgid = message->pgid, .sid = message->sid, .threads = threads,
			.n_threads = message->n_threads };
	}
	umem__criu_pstree__free_unpacked(message, NULL);
	return threads ? 0 : -ENOMEM;
}

int umem_criu_get_file(const void *bytes, size_t len_bytes, struct umem_criu_file *ret_file)
{
	Umem__CriuFile *message = umem__criu_file__unpack(NULL, len_bytes, bytes);
	int r = 0;

	if (!message)
		return -EBADMSG;
	if (message->type != 1 || !message->reg) {
		r = -ENOENT;
	} else {
		char *path = strdup(message->reg->name);

		if (path)
			*ret_file = (struct umem_criu_file){ .id = message->id, .path = path,
				.size_bytes = message->reg->has_size ? message->reg->size : 0 };
		else
			r = -ENOMEM;
	}
	umem__criu_file__free_unpacked(message, NULL);
	return r;
}

int umem_criu_get_comm(const void *bytes, size_t len_bytes, char ret_comm[16])
{
	Umem__CriuCore *message = umem__criu_core__unpack(NULL, len_bytes, bytes);
	const char *comm;

	if (!message)
		return -EBADMSG;
	comm = message->tc ? message->tc->comm : "";
	memset(ret_comm, 0, 16);
	memcpy(ret_comm, comm, strnlen(comm, 15));
	umem__criu_core__free_unpacked(message, NULL);
	return 0;
}

void umem_criu_mm_deinit(struct umem_criu_mm *mm)
{
	free(mm->auxv);
	free(mm->vmas);
	*mm = (struct umem_criu_mm){ 0 };
}

void umem_criu_task_deinit(struct umem_criu_task *task)
{
	free(task->threads);
	*task = (struct umem_criu_task){ 0 };
}

void umem_criu_file_deinit(struct umem_criu_file *file)
{
	free(file->path);
	*file = (struct umem_criu_file){ 0 };
}
