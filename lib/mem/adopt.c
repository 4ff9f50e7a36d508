// SPDX-License-Identifier: LGPL-2.1-or-later
/* Taking over a userfaultfd that a program made for itself; what it is gets checked. */
#include "lib/mem/target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/kern/pagemap.h"
#include "lib/kern/uffd.h"
#include "lib/mem/pageset.h"

static int check_ranges(const struct umem_range *ranges, size_t n_ranges,
	struct umem_ranges *set, struct umem_note *note)
{
	const uint64_t mask = UMEM_PAGE_BYTES - 1;

	for (size_t i = 0; i < n_ranges; i++) {
		uint64_t start = ranges[i].start, end = ranges[i].end;
		int r;

		if (end <= start || (start & mask) || (end & mask) ||
			umem_ranges_overlaps(set, start, end))
			return umem_note_set(note, -EINVAL, start,
				"range %#llx-%#llx is empty, unaligned or overlaps another",
				(unsigned long long)start, (unsigned long long)end);
		r = umem_ranges_add(set, start, end);
		if (r < 0)
			return r;
	}
	return n_ranges ? 0 : umem_note_set(note, -EINVAL, 0, "no range was given");
}

/* Is all of @managed mapped? Registering asks for one mapping in a range only. */
static int check_mapped(const struct umem_target *target, struct umem_note *note)
{
	struct umem_maps maps = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges mapped = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges holes = { 0 };
	int r = umem_maps_read(target->maps_fd, UMEM_MAPS_AUTO, &maps);

	if (r == 0 && maps.n == 0) {
		umem_note_set(note, -ESRCH, 0, "process %d ended", target->pid);
		r = UMEM_GONE;
	}
	for (size_t i = 0; i < maps.n && r == 0; i++)
		r = umem_ranges_add(&mapped, maps.v[i].start, maps.v[i].end);
	umem_maps_deinit(&maps);
	if (r == 0)
		r = umem_ranges_subtract(&target->managed, &mapped, &holes);
	if (r == 0 && holes.n)
		return umem_note_set(note, -EINVAL, holes.v[0].start,
			"process %d has nothing mapped at %#llx-%#llx", target->pid,
			(unsigned long long)holes.v[0].start,
			(unsigned long long)holes.v[0].end);
	return r;
}

/* Is @uffd an asynchronous userfaultfd? Its fdinfo has "API:\taa:FEATURES:IOCTLS". */
static int check_mode(int uffd, struct umem_note *note)
{
	UMEM_FREE char *text = NULL;
	unsigned long long features = 0;
	char link[64], path[40];
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", uffd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return umem_note_set(note, -EBADF, 0, "descriptor %d is not open", uffd);
	link[n] = '\0';
	if (strcmp(link, "anon_inode:[userfaultfd]") != 0)
		return umem_note_set(note, -EBADF, 0, "descriptor %d is %s, not a userfaultfd",
			uffd, link);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", uffd);
	if (umem_read_file(AT_FDCWD, path, 1 << 12, &text, NULL) < 0)
		return 0; /* then the registration tells most of it */
	at = strstr(text, "\nAPI:");
	if (at && sscanf(at, "\nAPI: %*x:%llx", &features) == 1 &&
		(features & UFFD_FEATURE_WP_ASYNC))
		return 0;
	/* Protecting by a synchronous one would block every writer for ever. */
	return umem_note_set(note, -EINVAL, 0,
		"the userfaultfd is not in asynchronous mode: call UFFDIO_API with "
		"UFFD_FEATURE_WP_ASYNC on a new one");
}

/*
 * A userfaultfd does not say whose memory it acts on. Ask with a registration,
 * which does nothing by itself in asynchronous mode, and look for its effect
 * in the process that it is said to be of: a fork has the same addresses.
 */
static int check_range(const struct umem_target *target, int uffd,
	const struct umem_range *range, struct umem_note *note)
{
	struct umem_scan scan = {
		.at = range->start,
		.end = range->end,
		.inverted = PAGE_IS_WPALLOWED,
		.all = PAGE_IS_WPALLOWED,
		.wanted = PAGE_IS_WPALLOWED,
	};
	struct page_region other;
	size_t n = 0;
	int r = umem_uffd_register(uffd, range->start, range->end, UFFDIO_REGISTER_MODE_WP);

	if (r == -ESRCH) {
		umem_note_set(note, r, 0, "process %d ended", target->pid);
		return UMEM_GONE;
	}
	if (r < 0)
		return umem_note_set(note, -EINVAL, range->start,
			"the userfaultfd cannot watch %#llx-%#llx: %s; is this its memory?",
			(unsigned long long)range->start, (unsigned long long)range->end,
			strerror(-r));
	while (r == 0 && n == 0 && scan.at < scan.end)
		r = umem_pagemap_scan(target->pagemap_fd, &scan, &other, 1, &n);
	if (r == -ESRCH)
		return UMEM_GONE;
	if (r == -ENOTTY)
		return umem_note_set(note, r, 0, "the kernel lacks PAGEMAP_SCAN (Linux 6.7)");
	if (r < 0 || n)
		return umem_note_set(note, -EINVAL, range->start,
			"the userfaultfd is of another process than %d", target->pid);
	return 0;
}

int umem_target_adopt(int pid, int uffd, const struct umem_range *ranges, size_t n_ranges,
	const struct umem_attach_options *options, struct umem_target **ret_target,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_target_freep) struct umem_target *target = NULL;
	/* Our own memory is welcome here: nothing is stopped. */
	int r = umem_target_open(pid, options, &target, note);

	if (r != 0)
		return r;
	r = check_mode(uffd, note);
	if (r == 0)
		r = check_ranges(ranges, n_ranges, &target->managed, note);
	if (r == 0)
		r = check_mapped(target, note);
	for (size_t i = 0; i < target->managed.n && r == 0; i++)
		r = check_range(target, uffd, &target->managed.v[i], note);
	if (r != 0)
		return r;
	target->adopted = true;
	target->uffd = uffd;
	*ret_target = UMEM_TAKE_PTR(target);
	return 0;
}
