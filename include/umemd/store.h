/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Images: memory of processes at one moment, kept in a file; umemd-image(5).
 *
 * An image holds spaces (address spaces, one for each process that has its own),
 * numbered from 0, and for each of them pages of 4096 bytes, named by their address.
 * What it knows of a page is its content, or that it is as in the parent image, or
 * nothing. A description tells which processes had these spaces.
 *
 * A writer or an image belongs to one thread at a time. A writer may use threads of
 * its own. Whoever needs an image in several threads opens it several times.
 */
#ifndef UMEMD_STORE_H
#define UMEMD_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umemd/types.h>

struct umem_image;
struct umem_image_writer;

/** UMEM_IMAGE_PAGE_BYTES - size of a page of an image, on every machine. */
#define UMEM_IMAGE_PAGE_BYTES 4096u

/** UMEM_IMAGE_MAX_DEPTH - images in a chain, from a child to its first ancestor. */
#define UMEM_IMAGE_MAX_DEPTH 64

/** UMEM_IMAGE_NO_SPACE - where a space could be named: none. */
#define UMEM_IMAGE_NO_SPACE UINT32_MAX

/** struct umem_image_id - what tells one content from another: a hash of the index. */
struct umem_image_id {
	uint8_t bytes[16];
};

/**
 * struct umem_image_blob - something binary about a thread.
 * @type: as of the note of an ELF core: NT_PRSTATUS (struct elf_prstatus, whole),
 *	NT_PRFPREG, NT_X86_XSTATE, NT_SIGINFO, NT_ARM_*, ...
 * @len_bytes, @bytes: what it is.
 */
struct umem_image_blob {
	uint32_t type;
	uint32_t len_bytes;
	const void *bytes;
};

/**
 * struct umem_image_thread - a thread.
 * @tid: its id, as the snapshotter saw it.
 * @name: with a NUL, cut at 15 bytes.
 * @blobs, @n_blobs: registers and the like; may be none.
 */
struct umem_image_thread {
	int32_t tid;
	char name[16];
	const struct umem_image_blob *blobs;
	size_t n_blobs;
};

/**
 * struct umem_image_region - a mapping.
 * @start, @end: its addresses, multiples of 4096.
 * @offset, @inode, @dev_major, @dev_minor: of what backs it, as /proc/PID/maps tells.
 * @page_size_bytes: granule in which it was mapped.
 * @vma_flags: 1 readable, 2 writable, 4 executable, 8 shared.
 * @kind: number of what backs it; the name counts where an image is read.
 * @kind_name: "anonymous", "shmem", "file-private", ...; NULL is "".
 * @path: "" or NULL for none.
 * @file_backed: pages that are not in the image are those of the file @path.
 * @file_size_bytes, @file_mtime_ns: which file it was; 0 where not known.
 */
struct umem_image_region {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	uint64_t inode;
	uint64_t page_size_bytes;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t vma_flags;
	uint32_t kind;
	const char *kind_name;
	const char *path;
	bool file_backed;
	uint64_t file_size_bytes;
	uint64_t file_mtime_ns;
};

/**
 * struct umem_image_process - a process.
 * @space: whose memory it has; several may have the same one.
 * @pid, @ppid, @pgid, @sid: its ids, as the snapshotter saw them.
 * @uid, @gid: effective ids.
 * @start_ticks: when it was started, as in /proc/PID/stat.
 * @comm: name of its first thread, with a NUL.
 * @exe: path of the program; NULL is "".
 * @cmdline, @cmdline_len_bytes: arguments, a NUL behind each.
 * @auxv, @auxv_len_bytes: /proc/PID/auxv as it is.
 * @threads, @n_threads: its threads.
 * @regions, @n_regions: its mappings, ascending and disjoint.
 */
struct umem_image_process {
	uint32_t space;
	int32_t pid;
	int32_t ppid;
	int32_t pgid;
	int32_t sid;
	uint32_t uid;
	uint32_t gid;
	uint64_t start_ticks;
	char comm[16];
	const char *exe;
	const char *cmdline;
	size_t cmdline_len_bytes;
	const void *auxv;
	size_t auxv_len_bytes;
	const struct umem_image_thread *threads;
	size_t n_threads;
	const struct umem_image_region *regions;
	size_t n_regions;
};

/**
 * struct umem_image_incomplete - a range whose pages may not be those of the moment.
 * @space: where.
 * @start, @end: addresses; 0 and UINT64_MAX: all of it.
 * @reason: why, a sentence without a full stop.
 */
struct umem_image_incomplete {
	uint32_t space;
	uint64_t start;
	uint64_t end;
	const char *reason;
};

/**
 * struct umem_image_info - how the image came about.
 * @method: "precopy", "cow", ...; NULL is "".
 * @creator: program and version; NULL is "".
 * @kernel: release of the kernel; NULL is "".
 * @machine: as of uname(2), "x86_64"; NULL is "".
 * @time_ns: the moment that it shows, nanoseconds since 1970.
 * @pause_ns: how long the target was stopped.
 * @total_ns: how long the snapshot took.
 * @rounds: of copying, where the method has such.
 * @complete: every page is of the moment; then @incomplete is empty.
 * @incomplete, @n_incomplete: where not, and why.
 */
struct umem_image_info {
	const char *method;
	const char *creator;
	const char *kernel;
	const char *machine;
	uint64_t time_ns;
	uint64_t pause_ns;
	uint64_t total_ns;
	uint64_t rounds;
	bool complete;
	const struct umem_image_incomplete *incomplete;
	size_t n_incomplete;
};

/**
 * struct umem_image_totals - what an image is made of.
 * @data_bytes: pages of addresses that have their content in this file.
 * @duplicate_bytes: of these, what is stored for another address as well.
 * @zero_bytes: pages that are known to be zeros.
 * @fill_bytes: pages of one repeated word, which are not stored.
 * @parent_bytes: pages that are as in the parent.
 * @stored_bytes: content that is stored, before compression.
 * @frame_bytes: the same in the file.
 * @n_frames: pieces that are compressed and checked on their own.
 * @n_runs: entries of the index of pages.
 * @index_bytes: all that is not frames.
 * @file_bytes: length of the file.
 * @disk_bytes: what it takes on the disk.
 * @written_bytes: (of a writer) went to the disk, superseded content included.
 * @superseded_bytes: (of a writer) pages that were put and replaced later.
 */
struct umem_image_totals {
	uint64_t data_bytes;
	uint64_t duplicate_bytes;
	uint64_t zero_bytes;
	uint64_t fill_bytes;
	uint64_t parent_bytes;
	uint64_t stored_bytes;
	uint64_t frame_bytes;
	uint64_t n_frames;
	uint64_t n_runs;
	uint64_t index_bytes;
	uint64_t file_bytes;
	uint64_t disk_bytes;
	uint64_t written_bytes;
	uint64_t superseded_bytes;
};

/** enum umem_image_codec - how content is stored. */
enum umem_image_codec {
	UMEM_IMAGE_CODEC_DEFAULT, /* zstd */
	UMEM_IMAGE_CODEC_NONE,
	UMEM_IMAGE_CODEC_ZSTD,
};

/**
 * struct umem_image_create_options - how to write; all zero but @size is fine.
 * @size: sizeof(struct umem_image_create_options), for later growth.
 * @codec: how content is stored.
 * @level: of zstd; 0 means the usual one, which is quick.
 * @frame_bytes: content in a frame, a power of two from 4096 to 262144; 0 means
 *	the usual size.
 * @n_threads: threads that compress; 0 means as many as processors, at most 4;
 *	negative: none, put() compresses itself.
 * @buffer_bytes: memory for what is on its way to the disk; 0 means 16 MiB.
 * @dedup_bytes: memory for finding duplicates, in this image and wherever they are in
 *	the parent; 0 means 128 MiB at most, UINT64_MAX does not look for any.
 * @parent: an image whose pages this one may refer to; it must stay open until
 *	the writer is freed. NULL for none. It must have been opened by a path, or
 *	@parent_name tells where it is.
 * @parent_name: how the file is to name its parent, relative to its own folder;
 *	NULL: made from the paths.
 * @mode: permissions of the file; 0 means 0600.
 * @anonymous: the file never gets a name; @path says on which file system it is.
 * @exclusive: refuse (-EEXIST) to replace a file; otherwise commit replaces it.
 * @fd: the file, which somebody else opened: empty, for reading and writing. It stays
 *	the caller's, who gives it its name behind the commit. NULL: @path is opened.
 */
struct umem_image_create_options {
	size_t size;
	enum umem_image_codec codec;
	int level;
	uint32_t frame_bytes;
	int n_threads;
	uint64_t buffer_bytes;
	uint64_t dedup_bytes;
	struct umem_image *parent;
	const char *parent_name;
	uint32_t mode;
	bool anonymous;
	bool exclusive;
	const int *fd;
};

/**
 * umem_image_create - begin to write an image.
 * @path: where it will be, at commit; until then the file has no name (where the
 *	file system lacks O_TMPFILE: a name that begins with a dot, beside @path).
 *	Of an anonymous image: a folder, or a file in it that need not exist. Of one
 *	with @fd: what notes call it.
 * @options: NULL for defaults; copied.
 *
 * Starts the threads of the writer. Return: 0; -EEXIST, -EINVAL; -ELOOP: the file is
 * the parent, or an ancestor of it; -ENOENT, -EACCES,
 * -EROFS, -ENOSPC, ... of the file system; -ENOMEM.
 */
UMEM_API int umem_image_create(const char *path,
	const struct umem_image_create_options *options, struct umem_image_writer **ret_writer,
	struct umem_note *note);

/**
 * umem_image_put - content of pages.
 * @space: of which space; a space that was not named before begins to be.
 * @addr: of the first page, a multiple of 4096.
 * @bytes: @n_pages times 4096 bytes; copied before it returns.
 *
 * A later put of a page replaces what was known of it. Pages of zeros, of one
 * repeated word, and duplicates are found here. Blocks while the disk is slower.
 *
 * An error is for good: every later call returns it, and the note of
 * umem_image_commit() tells of it. Return: 0; -EINVAL: an address that is odd or
 * past the end; -ENOSPC, -EFBIG, -EIO, ... of writing; -ENOMEM.
 */
UMEM_API int umem_image_put(struct umem_image_writer *writer, uint32_t space, uint64_t addr,
	const void *bytes, uint64_t n_pages);

/** umem_image_put_zero - pages that are known to read as zeros; costs one entry of the index. */
UMEM_API int umem_image_put_zero(struct umem_image_writer *writer, uint32_t space,
	uint64_t start, uint64_t end);

/**
 * umem_image_put_parent - pages are exactly as in the parent, at the same address
 * of the space that umem_image_link_space() says. What the parent does not know,
 * this image will not know either. Return: as umem_image_put(); -EINVAL: no parent.
 */
UMEM_API int umem_image_put_parent(struct umem_image_writer *writer, uint32_t space,
	uint64_t start, uint64_t end);

/**
 * umem_image_put_if_changed - as umem_image_put(), but pages that are in the parent
 * at the same address with the same content are referred to. Content is compared by
 * a keyed hash of 61 bits, so the parent's pages are not read.
 */
UMEM_API int umem_image_put_if_changed(struct umem_image_writer *writer, uint32_t space,
	uint64_t addr, const void *bytes, uint64_t n_pages);

/** umem_image_drop - nothing is known of these pages any more, whatever was put. */
UMEM_API int umem_image_drop(struct umem_image_writer *writer, uint32_t space,
	uint64_t start, uint64_t end);

/**
 * umem_image_link_space - which space of the parent @space is continued from.
 * @parent_space: UMEM_IMAGE_NO_SPACE for none. Until this is called, the one of the
 *	same number.
 *
 * Holds for later calls. Return: 0, -EINVAL: no parent, -ENOMEM.
 */
UMEM_API int umem_image_link_space(struct umem_image_writer *writer, uint32_t space,
	uint32_t parent_space);

/**
 * umem_image_describe - tell of the processes; the last call before commit counts.
 * @processes, @n: copied.
 * @info: copied; NULL for an image of unknown origin.
 *
 * Return: 0; -EINVAL: regions that are not ascending, a space that can not be;
 * -E2BIG: more than an image may hold; -ENOMEM.
 */
UMEM_API int umem_image_describe(struct umem_image_writer *writer,
	const struct umem_image_process *processes, size_t n,
	const struct umem_image_info *info);

/**
 * umem_image_commit - finish: all is on the disk, then the file gets its name.
 * @ret_totals: may be NULL.
 *
 * After it, the writer is only good for umem_image_reopen() and to be freed. When it
 * fails, a file of that name is as before. When only the last step fails, making the
 * new name durable, the note says so.
 *
 * Return: 0, or an earlier error, or -errno.
 */
UMEM_API int umem_image_commit(struct umem_image_writer *writer,
	struct umem_image_totals *ret_totals, struct umem_note *note);

/**
 * umem_image_reopen - open what was committed, also when it has no name; one that was
 * written into a descriptor (@fd) without its parents.
 * Return: as umem_image_open(); -EINVAL: not committed.
 */
UMEM_API int umem_image_reopen(struct umem_image_writer *writer,
	struct umem_image **ret_image, struct umem_note *note);

/** umem_image_writer_free - without a commit, nothing stays. NULL is fine. Return: NULL. */
UMEM_API struct umem_image_writer *umem_image_writer_free(struct umem_image_writer *writer);

/**
 * struct umem_image_open_options - how to read; all zero but @size is fine.
 * @size: sizeof(struct umem_image_open_options), for later growth.
 * @cache_bytes: memory for frames that were read; 0 means 4 MiB.
 * @without_parents: do not open the parent; its pages are then -ENOENT.
 * @parents, @n_parents: descriptors of all its ancestors, the parent first; duplicated.
 *	NULL: they are opened by their names.
 */
struct umem_image_open_options {
	size_t size;
	uint64_t cache_bytes;
	bool without_parents;
	const int *parents;
	size_t n_parents;
};

/**
 * umem_image_open - open an image, and the images that it refers to.
 * @options: NULL for defaults; copied.
 *
 * Reads and checks the header and the index; content is checked when it is read.
 * An image may be replaced (by rename) while it is open.
 *
 * Return: 0; -EILSEQ: not such an image; -ENOTSUP: of a newer version; -EBADMSG:
 * damaged; of a parent: -ENOENT: missing, -ESTALE: another image than it was,
 * -ELOOP: its own ancestor, or too many; -ENOMEM, -errno. The note says which.
 */
UMEM_API int umem_image_open(const char *path, const struct umem_image_open_options *options,
	struct umem_image **ret_image, struct umem_note *note);

/**
 * umem_image_open_fd - open an image by a descriptor, which is duplicated.
 * @path: for notes, and to find its parent; NULL: it must have none.
 */
UMEM_API int umem_image_open_fd(int fd, const char *path,
	const struct umem_image_open_options *options, struct umem_image **ret_image,
	struct umem_note *note);

/** umem_image_free - close it; NULL is fine. Return: NULL. */
UMEM_API struct umem_image *umem_image_free(struct umem_image *image);

/** umem_image_path - as it was opened; "" for none. */
UMEM_API const char *umem_image_path(const struct umem_image *image);

/** umem_image_id - what its content is known by. */
UMEM_API const struct umem_image_id *umem_image_id(const struct umem_image *image);

/** umem_image_parent - the parent, owned by @image; NULL: none, or not opened. */
UMEM_API struct umem_image *umem_image_parent(const struct umem_image *image);

/**
 * umem_image_parent_name - where the parent is, relative to the image's folder;
 * NULL: it has none. @ret_id: which image it is; may be NULL.
 */
UMEM_API const char *umem_image_parent_name(const struct umem_image *image,
	struct umem_image_id *ret_id);

/** umem_image_info - how it came about; lives as long as the image. */
UMEM_API const struct umem_image_info *umem_image_info(const struct umem_image *image);

/** umem_image_processes - the processes; live as long as the image. */
UMEM_API const struct umem_image_process *umem_image_processes(
	const struct umem_image *image, size_t *ret_n);

/** umem_image_n_spaces - how many spaces it has. */
UMEM_API uint32_t umem_image_n_spaces(const struct umem_image *image);

/** umem_image_totals - what this file is made of, its parents not counted. */
UMEM_API void umem_image_totals(struct umem_image *image,
	struct umem_image_totals *ret_totals);

/**
 * enum umem_image_page - what an image knows of a page.
 * @UMEM_IMAGE_ZERO: zeros.
 * @UMEM_IMAGE_FILL: one word of 8 bytes, repeated.
 * @UMEM_IMAGE_DATA: content that is stored.
 * @UMEM_IMAGE_FILE: not in the image: as in the file that backs the region.
 * @UMEM_IMAGE_NONE: in a region, and not known; the image is not complete there, or
 *	a file's content is not meant.
 * @UMEM_IMAGE_PARENT: as in the parent, which was not opened.
 */
enum umem_image_page {
	UMEM_IMAGE_ZERO,
	UMEM_IMAGE_FILL,
	UMEM_IMAGE_DATA,
	UMEM_IMAGE_FILE,
	UMEM_IMAGE_NONE,
	UMEM_IMAGE_PARENT,
	UMEM_N_IMAGE_PAGES,
};

/**
 * struct umem_image_run - pages of one sort, looked up through the parents.
 * @start, @end: addresses.
 * @what: of which sort.
 * @depth: which image knows of it: 0 the one asked, 1 its parent, ...
 * @fill: the word, of UMEM_IMAGE_FILL.
 */
struct umem_image_run {
	uint64_t start;
	uint64_t end;
	enum umem_image_page what;
	uint32_t depth;
	uint64_t fill;
};

/**
 * umem_image_each - the runs of [@start, @end), ascending; adjacent runs may be alike.
 * What is neither in the image nor in a region of the space is left out.
 * @each: called for each run; what it returns other than 0 ends the walk.
 *
 * Return: 0, what @each returned, -EINVAL: no such space.
 */
UMEM_API int umem_image_each(struct umem_image *image, uint32_t space, uint64_t start,
	uint64_t end, int (*each)(void *user, const struct umem_image_run *run), void *user);

/**
 * umem_image_get - content of pages, each byte checked.
 * @addr: a multiple of 4096.
 * @bytes: gets @n_pages times 4096 bytes; undefined on failure.
 *
 * Return: 0; -ENODATA: a page is not in the image (UMEM_IMAGE_FILE, _NONE); -ENXIO:
 * nor in a region; -ENOENT: in a parent that was not opened; -EBADMSG: damaged;
 * -EINVAL, -EIO, -ENOMEM. The note has the address.
 */
UMEM_API int umem_image_get(struct umem_image *image, uint32_t space, uint64_t addr,
	void *bytes, uint64_t n_pages, struct umem_note *note);

/**
 * struct umem_image_verify_options - how to verify; all zero but @size is fine.
 * @size: sizeof(struct umem_image_verify_options), for later growth.
 * @progress: called now and then; what it returns other than 0 ends the work and is
 *	returned. NULL for none.
 * @damage: called for each damage, @text says what; the work goes on. NULL: the
 *	first damage ends the work.
 * @user: passed to both.
 * @without_parents: only the file itself.
 */
struct umem_image_verify_options {
	size_t size;
	int (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes);
	void (*damage)(void *user, const char *path, uint64_t file_offset, const char *text);
	void *user;
	bool without_parents;
};

/**
 * umem_image_verify - read every byte of the file, and of its parents, and check it.
 * Return: 0; -EBADMSG: the note names the first damage; -EIO, -ENOMEM; or what
 * @progress returned.
 */
UMEM_API int umem_image_verify(struct umem_image *image,
	const struct umem_image_verify_options *options, struct umem_note *note);

/**
 * umem_image_flatten - write all that @image knows, through its parents, into an
 * image without a parent, with the same description.
 * @path, @options: of the new image; @options->parent must be NULL.
 * @progress, @user: as of umem_image_verify(); may be NULL.
 */
UMEM_API int umem_image_flatten(struct umem_image *image, const char *path,
	const struct umem_image_create_options *options,
	int (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes), void *user,
	struct umem_image_totals *ret_totals, struct umem_note *note);

/**
 * enum umem_image_change - how pages or regions of two images differ.
 * @UMEM_IMAGE_CHANGED: both know them, and they differ. Of regions: another path,
 *	kind, offset or permission.
 * @UMEM_IMAGE_ADDED: only the second one has them.
 * @UMEM_IMAGE_REMOVED: only the first one has them.
 */
enum umem_image_change {
	UMEM_IMAGE_CHANGED,
	UMEM_IMAGE_ADDED,
	UMEM_IMAGE_REMOVED,
};

/**
 * struct umem_image_diff_options - what to tell; all zero but @size compares only.
 * @size: sizeof(struct umem_image_diff_options), for later growth.
 * @pages: called for each run of pages that differ. Of pages that are known in only
 *	one of the images: added, removed. Of pages that are in neither: nothing.
 * @regions: called for regions that differ; of a removed one @second is NULL, of an
 *	added one @first is NULL. A region that grew or was split is both.
 * @progress: as of umem_image_verify().
 * @user: passed to all; what one of them returns other than 0 ends the work.
 */
struct umem_image_diff_options {
	size_t size;
	int (*pages)(void *user, uint32_t first_space, uint32_t second_space,
		const struct umem_range *range, enum umem_image_change change);
	int (*regions)(void *user, uint32_t first_space, uint32_t second_space,
		const struct umem_image_region *first, const struct umem_image_region *second,
		enum umem_image_change change);
	int (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes);
	void *user;
};

/**
 * umem_image_diff - compare two images, page by page, through their parents.
 *
 * Spaces of processes with the same pid are compared, and those of no process with the
 * same number; where no pid is in both, all with the same number. A space that has no
 * counterpart is added or removed as a whole, and the other number is
 * UMEM_IMAGE_NO_SPACE. Content that both have from the same ancestor is not read.
 *
 * Return: 0; -EBADMSG, -EIO, -ENOMEM; or what a callback returned.
 */
UMEM_API int umem_image_diff(struct umem_image *first, struct umem_image *second,
	const struct umem_image_diff_options *options, struct umem_note *note);

/** umem_image_page_name - "zero", "fill", "data", "file", "none", "parent". */
UMEM_API const char *umem_image_page_name(enum umem_image_page what);

#endif
