// SPDX-License-Identifier: LGPL-2.1-or-later
/* An image that is open for reading: to open and to free it; see image.h. */
#include "lib/store/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <umemd/store.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/store/digest.h"
#include "lib/store/relname.h"

#define CACHE_BYTES     (4ull << 20)
#define MAX_INDEX_BYTES (16ull << 30)

/** struct open - opening a chain: @child is the image that asks for this one. */
struct open {
	const struct umem_image_open_options *options;
	struct umem_note *note;
};

/** struct link - the images that were opened before, to find a cycle. */
struct link {
	const struct umem_image *image;
	const struct link *child;
	unsigned depth;
};

int umem_image_pread(int fd, void *bytes, size_t len_bytes, uint64_t offset)
{
	unsigned char *at = bytes;

	while (len_bytes > 0) {
		ssize_t n = pread(fd, at, len_bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EBADMSG;
		at += n;
		offset += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

struct umem_image *umem_image_free(struct umem_image *image)
{
	while (image) {
		struct umem_image *parent = image->parent;

		umem_fetch_free(image->fetch);
		umem_index_deinit(&image->index);
		umem_fd_close(image->fd);
		free(image->ordinals);
		free(image->hashes);
		free(image->key);
		free(image->path);
		free(image);
		image = parent;
	}
	return NULL;
}

static int damaged(const struct umem_image *image, const char *why, struct umem_note *note)
{
	return umem_note_set(note, -EBADMSG, 0, "%s: damaged: %s", image->path, why);
}

/* The header: what it says of the file is true, and the index lies within. */
static int check_header(struct umem_image *image, const unsigned char *header,
	uint64_t *ret_index_bytes, struct umem_note *note)
{
	uint64_t index_bytes = umem_get64(header + UMEM_HEADER_INDEX_BYTES);
	uint64_t offset = umem_get64(header + UMEM_HEADER_INDEX_OFFSET);

	if (umem_get64(header + UMEM_HEADER_CHECKSUM) !=
		umem_digest64(header, UMEM_HEADER_CHECKSUM))
		return damaged(image, "the header does not match its checksum", note);
	if (umem_get32(header + UMEM_HEADER_VERSION) != UMEM_IMAGE_VERSION ||
		umem_get64(header + UMEM_HEADER_FLAGS) != 0)
		return umem_note_set(note, -ENOTSUP, 0,
			"%s: is an image of version %u with flags %#llx, and this program knows "
			"version %u", image->path, umem_get32(header + UMEM_HEADER_VERSION),
			(unsigned long long)umem_get64(header + UMEM_HEADER_FLAGS),
			UMEM_IMAGE_VERSION);
	if (umem_get64(header + UMEM_HEADER_FILE_BYTES) != image->file_bytes)
		return umem_note_set(note, -EBADMSG, 0,
			"%s: damaged: it is %llu bytes long and should be %llu", image->path,
			(unsigned long long)image->file_bytes,
			(unsigned long long)umem_get64(header + UMEM_HEADER_FILE_BYTES));
	if (umem_get32(header + UMEM_HEADER_LENGTH) != UMEM_IMAGE_HEADER_BYTES ||
		offset < UMEM_IMAGE_HEADER_BYTES || offset > image->file_bytes ||
		index_bytes > image->file_bytes - offset || index_bytes > MAX_INDEX_BYTES)
		return damaged(image, "the index lies outside of the file", note);
	image->index_offset = offset;
	*ret_index_bytes = index_bytes;
	memcpy(image->id.bytes, header + UMEM_HEADER_ID, sizeof(image->id.bytes));
	return 0;
}

static int read_header(struct umem_image *image, uint64_t *ret_index_bytes,
	struct umem_note *note)
{
	unsigned char header[UMEM_IMAGE_HEADER_BYTES] = { 0 };
	size_t len = umem_min_u64(image->file_bytes, sizeof(header));
	int r = umem_image_pread(image->fd, header, len, 0);

	if (r < 0)
		return umem_note_set(note, r, 0, "%s: cannot be read: %s", image->path,
			strerror(-r));
	if (len < 8 || memcmp(header, UMEM_IMAGE_MAGIC, 8) != 0)
		return umem_note_set(note, -EILSEQ, 0, "%s: is not an image of umemd",
			image->path);
	if (len < sizeof(header))
		return damaged(image, "the header is cut off", note);
	return check_header(image, header, ret_index_bytes, note);
}

static int read_index(struct umem_image *image, struct umem_note *note)
{
	struct umem_image_id id;
	const char *why = "";
	uint64_t len = 0;
	int r = read_header(image, &len, note);

	if (r < 0)
		return r;
	/* One more byte, so that an empty one is not NULL. */
	image->index.bytes = malloc(len + 1);
	if (!image->index.bytes)
		return umem_note_set(note, -ENOMEM, 0, "%s: no memory for its index of %llu bytes",
			image->path, (unsigned long long)len);
	image->index.len_bytes = len;
	r = umem_image_pread(image->fd, image->index.bytes, len, image->index_offset);
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: the index cannot be read: %s", image->path,
			r == -EBADMSG ? "the file ends before" : strerror(-r));
	umem_digest128(image->index.bytes, len, &id);
	if (memcmp(id.bytes, image->id.bytes, sizeof(id.bytes)) != 0)
		return damaged(image, "the index does not match its checksum", note);
	r = umem_index_parse(&image->index, image->index_offset, &why);
	if (r == -EBADMSG)
		return damaged(image, why, note);
	if (r < 0)
		return umem_note_set(note, r, 0, "%s: %s", image->path,
			r == -ENOTSUP ? why : strerror(-r));
	return 0;
}

/* Open one file, without its parent. */
static int open_one(struct open *open, int fd, const char *path, struct umem_image **ret_image)
{
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	UMEM_FD int owned = fd;
	struct stat st;
	int r;

	image = calloc(1, sizeof(*image));
	if (!image)
		return -ENOMEM;
	image->fd = umem_fd_take(&owned);
	image->path = strdup(path);
	if (!image->path)
		return -ENOMEM;
	if (fstat(image->fd, &st) < 0)
		return umem_note_set(open->note, -errno, 0, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return umem_note_set(open->note, -EILSEQ, 0, "%s: is not a regular file", path);
	image->dev = st.st_dev;
	image->ino = st.st_ino;
	image->file_bytes = (uint64_t)st.st_size;
	image->disk_bytes = (uint64_t)st.st_blocks * 512;
	r = read_index(image, open->note);
	if (r < 0)
		return r;
	r = umem_fetch_new(image, open->options->cache_bytes ?
		open->options->cache_bytes : CACHE_BYTES, &image->fetch);
	if (r < 0)
		return r;
	*ret_image = UMEM_TAKE_PTR(image);
	return 0;
}

static int open_parents(struct open *open, struct umem_image *image, const struct link *link);

/* The parent of @link->image is the file that is open as @parent: is it the right one? */
static int check_parent(struct open *open, struct umem_image *parent, const struct link *link)
{
	const struct umem_image *image = link->image;

	for (const struct link *l = link; l; l = l->child) {
		if (l->image->dev == parent->dev && l->image->ino == parent->ino)
			return umem_note_set(open->note, -ELOOP, 0,
				"%s: its parent %s is itself or its descendant: a cycle",
				image->path, parent->path);
	}
	if (memcmp(image->index.parent_id.bytes, parent->id.bytes, sizeof(parent->id.bytes)) != 0)
		return umem_note_set(open->note, -ESTALE, 0,
			"%s: its parent %s is another image than the one that it was made from; "
			"put that one there", image->path, parent->path);
	return open_parents(open, parent, link);
}

/* The file of the parent of @image, which is called @path. */
static int open_parent_file(const struct open *open, const struct umem_image *image,
	const char *path, unsigned depth)
{
	const struct umem_image_open_options *options = open->options;
	int fd;

	if (options->parents && depth > options->n_parents)
		return umem_note_set(open->note, -ENOENT, 0,
			"%s: no descriptor of its parent %s was given", image->path, path);
	fd = options->parents ? fcntl(options->parents[depth - 1], F_DUPFD_CLOEXEC, 0) :
		openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return umem_note_set(open->note, -errno, 0, "%s: its parent %s: %s", image->path,
			path, errno == ENOENT ? "is missing" : strerror(errno));
	return fd;
}

static int open_parents(struct open *open, struct umem_image *image, const struct link *child)
{
	const struct link link = { image, child, child ? child->depth + 1 : 1 };
	UMEM_CLEANUP(umem_image_freep) struct umem_image *parent = NULL;
	UMEM_FREE char *path = NULL;
	int fd, r;

	if (!image->index.has_parent || open->options->without_parents)
		return 0;
	if (link.depth >= UMEM_IMAGE_MAX_DEPTH)
		return umem_note_set(open->note, -ELOOP, 0,
			"%s: more than %d images in a chain", image->path, UMEM_IMAGE_MAX_DEPTH);
	r = umem_relname_join(image->path, image->index.parent_name, &path);
	if (r < 0)
		return r;
	fd = open_parent_file(open, image, path, link.depth);
	if (fd < 0)
		return fd;
	r = open_one(open, fd, path, &parent);
	if (r == 0)
		r = check_parent(open, parent, &link);
	if (r < 0)
		return r;
	image->parent = UMEM_TAKE_PTR(parent);
	return 0;
}

static int open_chain(int fd, const char *path, const struct umem_image_open_options *options,
	struct umem_image **ret_image, struct umem_note *note)
{
	static const struct umem_image_open_options defaults = { .size = sizeof(defaults) };
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	struct open open = { options ? options : &defaults, note };
	int r;

	if (open.options->size != sizeof(*options)) {
		umem_fd_close(fd);
		return umem_note_set(note, -EINVAL, 0, "options of another version");
	}
	r = open_one(&open, fd, path, &image);
	if (r == 0)
		r = open_parents(&open, image, NULL);
	if (r == 0)
		*ret_image = UMEM_TAKE_PTR(image);
	return r;
}

int umem_image_open(const char *path, const struct umem_image_open_options *options,
	struct umem_image **ret_image, struct umem_note *note)
{
	/* Without O_NONBLOCK a FIFO of that name would make this wait. */
	int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return umem_note_set(note, -errno, 0, "%s: %s", path, strerror(errno));
	return open_chain(fd, path, options, ret_image, note);
}

int umem_image_open_fd(int fd, const char *path, const struct umem_image_open_options *options,
	struct umem_image **ret_image, struct umem_note *note)
{
	char self[64];
	int own;

	/* A descriptor of our own: that one may be for writing, or past the page cache. */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	own = openat(AT_FDCWD, self, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (own < 0)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0)
		return umem_note_set(note, -errno, 0, "%s: %s", path ? path : "image",
			strerror(errno));
	return open_chain(own, path ? path : "", options, ret_image, note);
}

const char *umem_image_path(const struct umem_image *image)
{
	return image->path;
}

const struct umem_image_id *umem_image_id(const struct umem_image *image)
{
	return &image->id;
}

struct umem_image *umem_image_parent(const struct umem_image *image)
{
	return image->parent;
}

const char *umem_image_parent_name(const struct umem_image *image, struct umem_image_id *ret_id)
{
	if (image->index.has_parent && ret_id)
		*ret_id = image->index.parent_id;
	return image->index.parent_name;
}

const struct umem_image_info *umem_image_info(const struct umem_image *image)
{
	return &image->index.described.info;
}

const struct umem_image_process *umem_image_processes(const struct umem_image *image,
	size_t *ret_n)
{
	*ret_n = image->index.described.n_processes;
	return image->index.described.processes;
}

uint32_t umem_image_n_spaces(const struct umem_image *image)
{
	return image->index.n_spaces;
}
