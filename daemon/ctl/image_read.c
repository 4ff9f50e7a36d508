// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * umemctl image read: bytes of memory as they were, to standard output.
 *
 * What the image leaves to a file that was mapped is read from that file, if it still
 * is as it was. Nothing is written before the first page of a read is known, so that
 * a wrong address prints an error and no bytes.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/ctl/image.h"
#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/base/parse.h"
#include "lib/store/backing.h"

#define PAGE       ((uint64_t)UMEM_IMAGE_PAGE_BYTES)
#define PAGES_MOST 256

static void print_help(void)
{
	puts("umemctl image read FILE --at ADDR --len N [OPTION]...\n\n"
	     "Writes bytes of a process's memory, as they were at the moment of the snapshot,\n"
	     "to standard output; through the parents of an increment.\n\n"
	     "  --at ADDR            the first byte (hexadecimal with 0x, or decimal)\n"
	     "  --len N              how many; K M G T are binary\n"
	     "  --pid PID            of which process (default: the first one)\n"
	     "  --sparse             zeros for pages that the image does not have");
}

/**
 * struct reading - one read.
 * @image, @space: from where.
 * @process: whose; may be NULL.
 * @at, @end: bytes that are wanted.
 * @sparse: zeros for what is not known.
 * @buf: of PAGES_MOST pages.
 * @backing: the file that was read last.
 * @note: what went wrong.
 */
struct reading {
	struct umem_image *image;
	uint32_t space;
	const struct umem_image_process *process;
	uint64_t at;
	uint64_t end;
	bool sparse;
	uint8_t *buf;
	struct umem_backing backing;
	struct umem_note *note;
};

/* Pages of a file that was mapped. */
static int read_file(struct reading *r, uint64_t addr, uint64_t n_pages)
{
	const struct umem_image_process *p = r->process;
	int result;

	for (size_t i = 0; p && i < p->n_regions; i++) {
		const struct umem_image_region *g = &p->regions[i];

		if (addr < g->start || addr >= g->end)
			continue;
		if (r->backing.region != g) {
			umem_backing_close(&r->backing);
			r->backing = UMEM_BACKING_NONE;
			result = umem_backing_open(g, &r->backing, r->note);
			if (result < 0)
				return result;
		}
		return umem_backing_read(&r->backing, addr, r->buf, n_pages, r->note);
	}
	return -ENODATA;
}

static int fetch(struct reading *r, const struct umem_image_run *run, uint64_t addr,
	uint64_t n_pages)
{
	switch (run->what) {
	case UMEM_IMAGE_FILE:
		return read_file(r, addr, n_pages);
	case UMEM_IMAGE_NONE:
		if (!r->sparse)
			return umem_note_set(r->note, -ENODATA, addr,
				"%s does not have the page at %#llx (umemctl image info tells why, "
				"--sparse puts zeros)", umem_image_path(r->image),
				(unsigned long long)addr);
		memset(r->buf, 0, n_pages * PAGE);
		return 0;
	default:
		return umem_image_get(r->image, r->space, addr, r->buf, n_pages, r->note);
	}
}

/* Part of a run: fetch it by pages, write the bytes that are wanted. */
static int write_run(void *user, const struct umem_image_run *run)
{
	struct reading *r = user;
	int result;

	if (run->start > r->at)
		return umem_note_set(r->note, -ENXIO, r->at, "nothing was mapped at %#llx",
			(unsigned long long)r->at);
	while (r->at < r->end && r->at < run->end) {
		uint64_t first = r->at / PAGE * PAGE;
		uint64_t last = umem_min_u64(run->end, umem_align_up(r->end, PAGE));
		uint64_t n = umem_min_u64((last - first) / PAGE, PAGES_MOST);
		uint64_t stop = umem_min_u64(first + n * PAGE, r->end);

		result = fetch(r, run, first, n);
		if (result == 0)
			result = umem_write_all(STDOUT_FILENO, r->buf + (r->at - first),
				stop - r->at);
		if (result < 0)
			return result;
		r->at = stop;
	}
	return 0;
}

static int parse(struct ctl_image *run, struct reading *r, int argc, char **argv,
	const char **ret_path)
{
	static const struct option longs[] = {
		{ "at", required_argument, NULL, 'a' },
		{ "len", required_argument, NULL, 'l' },
		{ "pid", required_argument, NULL, 'p' },
		{ "sparse", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	bool at = false;
	uint64_t len = 0;
	int opt, result;
	char *rest;

	while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		switch (opt) {
		case 'h':
			print_help();
			return CTL_DONE;
		case 'a':
			errno = 0;
			r->at = strtoull(optarg, &rest, 0);
			at = *optarg && *rest == 0 && errno == 0 && *optarg != '-';
			if (!at)
				return ctl_usage(run->verb, "--at: \"%s\" is no address", optarg);
			break;
		case 'l':
			if (umem_parse_size(optarg, &len) < 0 || len == 0)
				return ctl_usage(run->verb, "--len: \"%s\" is no size above 0",
					optarg);
			break;
		case 'p':
			result = ctl_pid(run->verb, optarg, &run->pid);
			if (result != CTL_DONE)
				return result;
			break;
		case 's':
			r->sparse = true;
			break;
		default:
			return CTL_USAGE;
		}
	}
	if (!at || !len)
		return ctl_usage(run->verb, "give --at ADDR and --len N");
	if (__builtin_add_overflow(r->at, len, &r->end))
		return ctl_usage(run->verb, "--at and --len go past the end of all addresses");
	result = ctl_image_one_path(run, argc, argv, ret_path);
	return result == CTL_DONE ? -1 : result;
}

int image_read(struct ctl_image *run, int argc, char **argv)
{
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	UMEM_FREE uint8_t *buf = malloc(PAGES_MOST * PAGE);
	struct umem_note note = { 0 };
	struct reading r = { .buf = buf, .backing = UMEM_BACKING_NONE, .note = &note };
	const char *path = NULL;
	int result = parse(run, &r, argc, argv, &path);

	if (result >= 0)
		return result;
	result = buf ? umem_image_open(path, NULL, &image, &note) : -ENOMEM;
	r.image = image;
	if (result == 0)
		result = ctl_image_space(run, image, &r.process, &note);
	r.space = run->space;
	if (result == 0)
		result = umem_image_each(image, r.space, r.at / PAGE * PAGE,
			umem_align_up(r.end, PAGE), write_run, &r);
	if (result == 0 && r.at < r.end)
		result = umem_note_set(&note, -ENXIO, r.at, "nothing was mapped at %#llx",
			(unsigned long long)r.at);
	umem_backing_close(&r.backing);
	return result == 0 ? CTL_DONE : ctl_image_ended(run, result, &note, "not all was read");
}
