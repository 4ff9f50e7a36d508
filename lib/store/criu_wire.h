/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records of CRIU's images: packed into bytes, unpacked from bytes.
 *
 * An image file is one or two magic numbers, then records: a 32-bit length and so
 * many bytes of protobuf (criu.proto). This is the only file that sees the protobuf
 * library; others see the plain structures below. Pure: no file, no clock.
 */
#ifndef UMEM_STORE_CRIU_WIRE_H
#define UMEM_STORE_CRIU_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/store/bytes.h"

/* The first number of a file, and what follows it. The inventory has its own only. */
#define UMEM_CRIU_COMMON    0x54564319u
#define UMEM_CRIU_SERVICE   0x55105940u
#define UMEM_CRIU_INVENTORY 0x58313116u
#define UMEM_CRIU_PAGEMAP   0x56084025u
#define UMEM_CRIU_MM        0x57492820u
#define UMEM_CRIU_PSTREE    0x50273030u
#define UMEM_CRIU_STATS     0x57093306u
#define UMEM_CRIU_CORE      0x55053847u
#define UMEM_CRIU_FILES     0x56303138u

/* What an entry of a pagemap says of its pages. */
#define UMEM_CRIU_PE_PARENT  (1u << 0)
#define UMEM_CRIU_PE_LAZY    (1u << 1)
#define UMEM_CRIU_PE_PRESENT (1u << 2)

/* Bits of a mapping's status. */
#define UMEM_CRIU_VMA_REGULAR      (1u << 0)
#define UMEM_CRIU_VMA_STACK        (1u << 1)
#define UMEM_CRIU_VMA_VSYSCALL     (1u << 2)
#define UMEM_CRIU_VMA_VDSO         (1u << 3)
#define UMEM_CRIU_VMA_HEAP         (1u << 5)
#define UMEM_CRIU_VMA_FILE_PRIVATE (1u << 6)
#define UMEM_CRIU_VMA_FILE_SHARED  (1u << 7)
#define UMEM_CRIU_VMA_ANON_SHARED  (1u << 8)
#define UMEM_CRIU_VMA_ANON_PRIVATE (1u << 9)
#define UMEM_CRIU_VMA_SYSV         (1u << 10)
#define UMEM_CRIU_VMA_VVAR         (1u << 12)
#define UMEM_CRIU_VMA_MEMFD        (1u << 14)

/**
 * struct umem_criu_run - an entry of a pagemap.
 * @vaddr: an address; in the pagemap of a shared segment the offset in it.
 * @n_pages: of 4096 bytes.
 * @flags: UMEM_CRIU_PE_*.
 */
struct umem_criu_run {
	uint64_t vaddr;
	uint64_t n_pages;
	uint32_t flags;
};

/**
 * struct umem_criu_vma - one mapping.
 * @start, @end: addresses.
 * @offset: in the file or segment, bytes.
 * @shmid: of the segment, or of the file (struct umem_criu_file).
 * @prot, @flags: as for mmap(2).
 * @status: UMEM_CRIU_VMA_*.
 */
struct umem_criu_vma {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	uint64_t shmid;
	uint32_t prot;
	uint32_t flags;
	uint32_t status;
};

/**
 * struct umem_criu_mm - an address space.
 * @exe_id: the program's file.
 * @auxv, @n_auxv: words.
 * @vmas, @n_vmas: ascending in what we write.
 */
struct umem_criu_mm {
	uint32_t exe_id;
	uint64_t *auxv;
	size_t n_auxv;
	struct umem_criu_vma *vmas;
	size_t n_vmas;
};

/** struct umem_criu_task - a process of the tree. */
struct umem_criu_task {
	uint32_t pid;
	uint32_t ppid;
	uint32_t pgid;
	uint32_t sid;
	uint32_t *threads;
	size_t n_threads;
};

/** struct umem_criu_file - a regular file that is mapped. */
struct umem_criu_file {
	uint32_t id;
	uint64_t size_bytes;
	char *path;
};

/**
 * struct umem_criu_thread - what core-TID.img holds.
 * @comm: its name.
 * @leader: it stands for the process too.
 * @x86: else another machine: no registers.
 * @gregs: 27 words in the order of struct user_regs_struct, or NULL.
 * @fpregs: 512 bytes in the layout of FXSAVE, or NULL.
 * @sigmask: its blocked signals.
 */
struct umem_criu_thread {
	const char *comm;
	bool leader;
	bool x86;
	const uint64_t *gregs;
	const uint8_t *fpregs;
	uint64_t sigmask;
};

/** struct umem_criu_stats - of a dump. Times in microseconds. */
struct umem_criu_stats {
	uint32_t frozen_us;
	uint64_t pages_scanned;
	uint64_t pages_skipped_parent;
	uint64_t pages_written;
	uint64_t shpages_scanned;
	uint64_t shpages_skipped_parent;
	uint64_t shpages_written;
};

/**
 * umem_criu_put_* - append a record (a magic number: four bytes as they are).
 * Return: 0 or -ENOMEM; then nothing was appended.
 */
int umem_criu_put_magic(struct umem_bytes *to, uint32_t magic);
int umem_criu_put_head(struct umem_bytes *to, uint32_t pages_id);
int umem_criu_put_run(struct umem_bytes *to, const struct umem_criu_run *run);
int umem_criu_put_mm(struct umem_bytes *to, const struct umem_criu_mm *mm);
int umem_criu_put_task(struct umem_bytes *to, const struct umem_criu_task *task);
int umem_criu_put_file(struct umem_bytes *to, const struct umem_criu_file *file);
int umem_criu_put_thread(struct umem_bytes *to, const struct umem_criu_thread *thread);
int umem_criu_put_stats(struct umem_bytes *to, const struct umem_criu_stats *stats);
int umem_criu_put_inventory(struct umem_bytes *to, uint64_t uptime_us);

/**
 * umem_criu_get_* - one record that a length of a file announced; no byte is trusted.
 *
 * A run's count is the 64-bit one where there is one, else the older. Without flags
 * it is in the parent where the oldest field says so, else present.
 *
 * Return: 0; -EBADMSG: not such a record; -ENOTSUP (run): it has a field that we do
 * not know, which may change what its bytes are; -ENOMEM. *@ret is owned by the
 * caller (_deinit), untouched on failure.
 */
int umem_criu_get_head(const void *bytes, size_t len_bytes, uint32_t *ret_pages_id);
int umem_criu_get_run(const void *bytes, size_t len_bytes, struct umem_criu_run *ret_run);
int umem_criu_get_mm(const void *bytes, size_t len_bytes, struct umem_criu_mm *ret_mm);
int umem_criu_get_task(const void *bytes, size_t len_bytes, struct umem_criu_task *ret_task);

/** umem_criu_get_file - as these; also -ENOENT: it is of another kind than regular. */
int umem_criu_get_file(const void *bytes, size_t len_bytes, struct umem_criu_file *ret_file);

/** umem_criu_get_comm - the process name of a core of its leader; "" where it has none. */
int umem_criu_get_comm(const void *bytes, size_t len_bytes, char ret_comm[16]);

void umem_criu_mm_deinit(struct umem_criu_mm *mm);
void umem_criu_task_deinit(struct umem_criu_task *task);
void umem_criu_file_deinit(struct umem_criu_file *file);

#endif
