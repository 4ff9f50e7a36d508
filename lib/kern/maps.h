/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mappings of a process: PROCMAP_QUERY (Linux 6.11), else the text of
 * /proc/PID/maps.
 *
 * A list is read whole into a reusable buffer. The kernel does not give one
 * consistent moment: mappings may come and go while the list is read, so a
 * caller treats it as a hint that later calls confirm. It is always ascending
 * and disjoint; where the kernel's answers overlap, the later one holds. The
 * descriptor stays with the memory it was opened on; when that is gone (exit,
 * exec) the list is empty. Nothing here blocks, beyond waiting for the lock of
 * the target's address space.
 */
#ifndef UMEM_KERN_MAPS_H
#define UMEM_KERN_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

#define UMEM_VMA_READ   (1u << 0)
#define UMEM_VMA_WRITE  (1u << 1)
#define UMEM_VMA_EXEC   (1u << 2)
#define UMEM_VMA_SHARED (1u << 3)

/**
 * struct umem_vma - one mapping.
 * @start, @end: its addresses.
 * @offset: byte offset in the file; 0 or meaningless for anonymous memory.
 * @inode: of the backing file; 0 for private anonymous memory.
 * @page_size_bytes: 4096, or the huge page size of hugetlb; 0 when the text
 *                   was read, which does not tell.
 * @dev_major, @dev_minor: of the backing file.
 * @flags: UMEM_VMA_*.
 * @name: path or "[heap]" and the like, "" where there is none, "//too-long"
 *        where the kernel will not tell it; a path of a deleted file ends in
 *        " (deleted)". The one escape of the text (\012, a newline) is undone.
 *        Lives until the list is read again.
 */
struct umem_vma {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	uint64_t inode;
	uint64_t page_size_bytes;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t flags;
	const char *name;
};

/**
 * struct umem_maps - a list of mappings, ascending; all zero is empty.
 * @v, @n: the mappings.
 * @room, @names, @names_len, @names_room, @text, @text_room: private to maps.c.
 */
struct umem_maps {
	struct umem_vma *v;
	size_t n;
	size_t room;
	char *names;
	size_t names_len;
	size_t names_room;
	char *text;
	size_t text_room;
};

/** enum umem_maps_method - which interface to use; AUTO takes the best that works. */
enum umem_maps_method {
	UMEM_MAPS_AUTO,
	UMEM_MAPS_QUERY,
	UMEM_MAPS_TEXT,
};

/** umem_maps_open - /proc/@pid/maps. Return: 0, -ENOENT, -ESRCH, -EACCES, -EPERM, -EMFILE. */
int umem_maps_open(int pid, int *ret_fd);

/**
 * umem_maps_read - read the whole list anew.
 * @fd: of umem_maps_open(), or any file with such text (then TEXT).
 * @maps: overwritten; what it held is reused. Empty on failure.
 *
 * The position of @fd is neither used nor moved. The kernel's gate page
 * ([vsyscall]) is not listed.
 *
 * Return: 0 (an empty list when the memory is gone), -ENOTTY when QUERY is
 * asked for and the kernel lacks it, -EBADMSG for text that is not one of
 * maps, -ENOMEM, or -errno of pread(2).
 */
int umem_maps_read(int fd, enum umem_maps_method method, struct umem_maps *maps);

/**
 * umem_maps_at - the mapping that covers @addr, else the next one; PROCMAP_QUERY only.
 * Return: 0 and its addresses, -ENOENT there is none, -ENOTTY the kernel lacks it, -errno.
 */
int umem_maps_at(int fd, uint64_t addr, struct umem_range *ret_range);

/** umem_maps_deinit - free what the list owns and make it empty. */
void umem_maps_deinit(struct umem_maps *maps);

/**
 * umem_maps_parse_line - one line of the text; the parser that is fuzzed.
 * @line: without its newline; no byte is trusted.
 * @name: buffer for the unescaped name, at least @len_bytes + 1 bytes.
 *
 * Return: true and *@ret_vma with @name as its name; or false, *@ret_vma
 * untouched.
 */
bool umem_maps_parse_line(const char *line, size_t len_bytes, char *name,
	struct umem_vma *ret_vma);

#endif
