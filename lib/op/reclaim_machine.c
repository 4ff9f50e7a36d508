// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the machine says to reclaim. */
#include "lib/op/reclaim_machine.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/base/note.h"
#include "lib/kern/feat.h"
#include "lib/mem/machine.h"

/* Pages that the kernel scans in an interval before it counts as reclaiming: 4 MiB. */
#define KERNEL_SCANS 1024

void umem_reclaim_machine_deinit(struct umem_reclaim_machine *m)
{
	umem_swap_areas_deinit(&m->areas);
}

/* Compressed swap: what it was given and what it took for it, by all programs. */
static void compression(const struct umem_swap_areas *areas, uint64_t *ret_given,
	uint64_t *ret_stored)
{
	*ret_given = *ret_stored = 0;
	for (size_t i = 0; i < areas->n; i++) {
		*ret_given += areas->v[i].zram.orig_bytes;
		*ret_stored += areas->v[i].zram.mem_used_bytes;
	}
}

static uint64_t cpu_ns(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return ((uint64_t)use.ru_utime.tv_sec + (uint64_t)use.ru_stime.tv_sec) * 1000000000u +
		((uint64_t)use.ru_utime.tv_usec + (uint64_t)use.ru_stime.tv_usec) * 1000u;
}

uint64_t umem_reclaim_machine_cpu(const struct umem_reclaim_machine *m)
{
	return cpu_ns() - m->cpu_ns;
}

/* Swap and memory, in one go where somebody else is asked. @ret_info: all zero if not known. */
static int read_swap(const struct umem_reclaim_machine *m, struct umem_swap_areas *areas,
	struct umem_meminfo *ret_info)
{
	struct umem_machine machine = { 0 };
	int r;

	if (!m->target) {
		r = umem_swap_areas_read(NULL, NULL, areas);
		if (r == 0 && umem_meminfo_read(NULL, ret_info) < 0)
			*ret_info = (struct umem_meminfo){ 0 };
		return r;
	}
	r = umem_machine_read(m->target, &machine);
	if (r == 0) {
		umem_swap_areas_deinit(areas);
		*areas = machine.areas;
		*ret_info = machine.info;
	} else {
		umem_machine_deinit(&machine);
	}
	return r;
}

bool umem_reclaim_swap_went_away(struct umem_reclaim_machine *m)
{
	struct umem_swap_areas areas = { 0 };
	struct umem_meminfo info = { 0 };
	bool gone;

	if (read_swap(m, &areas, &info) < 0)
		return false;
	/* While one is being taken away the kernel lists it, but counts it less and less. */
	gone = info.present && info.swap_total_bytes < areas.total_bytes;
	for (size_t i = 0; i < m->areas.n && !gone; i++) {
		size_t j = 0;

		while (j < areas.n && strcmp(m->areas.v[i].path, areas.v[j].path) != 0)
			j++;
		gone = j == areas.n;
	}
	umem_swap_areas_deinit(&m->areas);
	m->areas = areas;
	return gone;
}

static int read_vmstat(const struct umem_reclaim_machine *m, struct umem_vmstat *ret_vmstat)
{
	struct umem_machine_strain strain;
	int r;

	if (!m->target)
		return umem_vmstat_read(NULL, ret_vmstat);
	r = umem_machine_strain(m->target, &strain);
	if (r == 0)
		*ret_vmstat = strain.vmstat;
	return r;
}

void umem_reclaim_machine_look(struct umem_reclaim_machine *m, struct umem_limits_seen *seen)
{
	struct umem_vmstat vmstat = m->vmstat;
	uint64_t cpu = cpu_ns(), given, stored;

	if (seen->dt_ns)
		seen->cpu_ppm = (uint64_t)((double)(cpu - m->cpu_ns) * 1e6 / (double)seen->dt_ns);
	if (read_vmstat(m, &vmstat) == 0)
		seen->kernel_reclaim = seen->dt_ns && vmstat.pgscan_kswapd + vmstat.pgscan_direct >
			m->vmstat.pgscan_kswapd + m->vmstat.pgscan_direct + KERNEL_SCANS;
	seen->swap_free_bytes = umem_swap_free_bytes(&m->areas);
	compression(&m->areas, &given, &stored);
	/* Less than at the start: others gave back, so begin to count anew. */
	if (!m->begun || given < m->given_bytes || stored < m->stored_bytes) {
		m->given_bytes = given;
		m->stored_bytes = stored;
	}
	seen->swap_given_bytes = given - m->given_bytes;
	seen->swap_stored_bytes = stored - m->stored_bytes;
	m->vmstat = vmstat;
	m->cpu_ns = cpu;
	m->begun = true;
}

#define NO_PSI \
	"the policy pressure needs the kernel's pressure stall information (CONFIG_PSI, psi=1; " \
	"feature psi); take the policy probe"

/* What the kernel has to have, as far as it is asked for. */
static int check_kernel(const struct umem_reclaim_options *options, struct umem_note *note)
{
	uint64_t needs = 0;
	struct umem_feats feats;
	int r;

	if (options->policy == UMEM_POLICY_PRESSURE)
		needs |= UMEM_FEAT_BIT(UMEM_FEAT_PSI);
	r = umem_feats_probe_some(needs, &feats);
	if (r == 0 && options->features)
		r = umem_feats_override(&feats, options->features);
	if (r < 0)
		return umem_note_set(note, r, 0, "UMEM_FEATURES=\"%s\" is no list of +name and "
			"-name; umemctl doctor lists the names", options->features);
	/* Not tried here: who may not put out has the call all the same. Targets are asked. */
	if (!options->dry_run && (feats.overridden & ~feats.found &
					 UMEM_FEAT_BIT(UMEM_FEAT_PROCESS_MADVISE)))
		return umem_note_set(note, -ENOSYS, 0, "this kernel has no process_madvise "
			"(Linux 5.10), so that nothing can be put out (feature process_madvise)");
	if (needs & ~feats.found & UMEM_FEAT_BIT(UMEM_FEAT_PSI))
		return umem_note_set(note, -ENOSYS, 0, NO_PSI);
	return 0;
}

/* The same where somebody else looks. */
static int check_strain(const struct umem_reclaim_machine *m,
	const struct umem_reclaim_options *options, struct umem_note *note)
{
	struct umem_machine_strain strain;
	int r = umem_machine_strain(m->target, &strain);

	if (r < 0)
		return umem_note_set(note, r, 0, "asking for the machine's memory: %s",
			strerror(-r));
	return options->policy == UMEM_POLICY_PRESSURE && !strain.psi_known ?
		umem_note_set(note, -ENOSYS, 0, NO_PSI) : 0;
}

int umem_reclaim_machine_check(struct umem_reclaim_machine *m,
	const struct umem_reclaim_options *options, struct umem_note *note)
{
	struct umem_meminfo info;
	int r;

	m->target = umem_reclaim_asked(options);
	r = m->target ? check_strain(m, options, note) : check_kernel(options, note);
	if (r < 0)
		return r;
	r = read_swap(m, &m->areas, &info);
	if (r < 0)
		return umem_note_set(note, r, 0, "reading /proc/swaps: %s", strerror(-r));
	if (m->areas.n == 0 && !options->dry_run)
		return umem_note_set(note, -ENOTSUP, 0, "this machine has no swap, so nothing can "
			"go out; make some (zram, a partition, a file) and swapon it, or use "
			"--dry-run");
	return 0;
}
