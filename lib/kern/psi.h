/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pressure stall information of memory: how long tasks stood still for it.
 *
 * The machine's is /proc/pressure/memory; a folder of a cgroup2 hierarchy has
 * its own as memory.pressure (also where the memory controller is on version 1).
 * Reading does not block and changes nothing.
 */
#ifndef UMEM_KERN_PSI_H
#define UMEM_KERN_PSI_H

#include <stddef.h>
#include <stdint.h>

/** UMEM_PSI_MACHINE - the pressure file of the whole machine. */
#define UMEM_PSI_MACHINE "/proc/pressure/memory"

/**
 * struct umem_psi_line - one kind of stall.
 * @avg10: share of the last 10 seconds, in hundredths of a percent (10000 is
 *         all of the time). The kernel makes a new one every two seconds.
 * @total_us: time stalled since boot, up to the moment of reading.
 */
struct umem_psi_line {
	uint32_t avg10;
	uint64_t total_us;
};

/**
 * struct umem_psi - a reading.
 * @some: at least one task waited for memory.
 * @full: all tasks that were not idle waited for it at once.
 */
struct umem_psi {
	struct umem_psi_line some;
	struct umem_psi_line full;
};

/**
 * struct umem_psi_share - how much of an interval was lost.
 * @some_ppm: by at least one task, in parts per million, at most 1,000,000.
 * @full_ppm: by all.
 */
struct umem_psi_share {
	uint32_t some_ppm;
	uint32_t full_ppm;
};

/**
 * umem_psi_parse - parse the text of a pressure file.
 * Return: 0, -EBADMSG unless both lines are there with their numbers.
 */
int umem_psi_parse(const char *text, size_t len_bytes, struct umem_psi *ret_psi);

/**
 * umem_psi_read - read a pressure file.
 * @dirfd: folder that @name is relative to; AT_FDCWD, and UMEM_PSI_MACHINE as
 *         @name, for the machine.
 *
 * Return: 0; -ENOENT without PSI (not built in, or the machine was started
 * without psi=1 where that is needed) and for a cgroup that has no such file;
 * -EOPNOTSUPP for a cgroup where PSI is off (older kernels); -ENODEV for a cgroup that was
 * removed; -EBADMSG; or -errno of openat(2) and read(2).
 */
int umem_psi_read(int dirfd, const char *name, struct umem_psi *ret_psi);

/**
 * umem_psi_share - the share of time that was lost between two readings. Pure.
 * @interval_ns: time between the two; 0 gives 0.
 *
 * A total that went back (another cgroup in its place) counts as no stall.
 */
struct umem_psi_share umem_psi_share(const struct umem_psi *before, const struct umem_psi *now,
	uint64_t interval_ns);

#endif
