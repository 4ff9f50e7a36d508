// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A guest under QEMU is watched from outside: every page that it wrote between
 * two collects is in the rounds, with its memory in a memfd and in private
 * anonymous memory, under KVM where it works, else under TCG.
 *
 * The guest (guest.S) counts its steps, each of which writes one page that is
 * known from the step's number. Steps that were counted when the last collect
 * had ended and before this one began have to be in this round. A step that
 * was made while a collect ran may be in that round or in the next: it has to
 * be in one of them.
 */
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "tests/clients/client.h"

#define CONTROL 0x10000u
#define WINDOW  0x200000u
#define PAGES   8192u
#define STRIDE  2731u
#define MAGIC   0x4d454d55u
#define RAM     "64M"
#define ROUNDS  60

struct control {
	uint32_t magic, steps, allowed, delay;
};

/**
 * struct guest - a running guest.
 * @pid: of QEMU.
 * @monitor: its monitor.
 * @control, @window: addresses in QEMU of the control block and the window.
 */
struct guest {
	pid_t pid;
	int monitor;
	uint64_t control;
	uint64_t window;
};

static void read_control(const struct guest *guest, struct control *control)
{
	struct iovec to = { control, sizeof(*control) };
	struct iovec from = { (void *)guest->control, sizeof(*control) };

	T_CHECK(process_vm_readv(guest->pid, &to, 1, &from, 1, 0) == sizeof(*control));
}

static uint32_t steps_of(const struct guest *guest)
{
	struct control control;

	read_control(guest, &control);
	return control.steps;
}

/* Let the guest make steps until it has made @allowed of them. */
static void allow(const struct guest *guest, uint32_t allowed, uint32_t delay)
{
	uint32_t words[2] = { allowed, delay };
	struct iovec from = { words, sizeof(words) };
	struct iovec to = { (void *)(guest->control + 8), sizeof(words) };

	T_CHECK(process_vm_writev(guest->pid, &from, 1, &to, 1, 0) == sizeof(words));
}

/* One command of the monitor; its answer, up to the next prompt. */
static void ask(int monitor, const char *command, char *answer, size_t room)
{
	size_t len = 0;

	if (command)
		T_SYS(write(monitor, command, strlen(command)));
	for (;;) {
		ssize_t n = T_SYS(read(monitor, answer + len, room - 1 - len));

		T_CHECK(n > 0 && len + (size_t)n < room - 1);
		len += (size_t)n;
		answer[len] = '\0';
		if (len >= 7 && strcmp(answer + len - 7, "(qemu) ") == 0)
			return;
	}
}

static uint64_t host_address(int monitor, uint64_t guest_address)
{
	char command[64], answer[4096];
	const char *at;

	snprintf(command, sizeof(command), "gpa2hva %#llx\n",
		(unsigned long long)guest_address);
	ask(monitor, command, answer, sizeof(answer));
	at = strstr(answer, " is 0x");
	T_CHECK(at, "%s", answer);
	return strtoull(at + 4, NULL, 16);
}

/* Where the memfd of the guest is mapped. */
static uint64_t memfd_address(pid_t pid)
{
	char path[64], line[1024];
	uint64_t start = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	T_CHECK(maps);
	while (!start && fgets(line, sizeof(line), maps))
		if (strstr(line, "/memfd:memory-backend-memfd"))
			start = strtoull(line, NULL, 16);
	fclose(maps);
	return start;
}

static void write_disk(void)
{
	int fd = (int)T_SYS(open(GUEST_IMAGE, O_RDONLY | O_CLOEXEC));
	int disk = (int)T_SYS(open(cl_path("disk"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		0600));
	char sector[512];

	T_CHECK(read(fd, sector, sizeof(sector)) == sizeof(sector));
	T_CHECK(write(disk, sector, sizeof(sector)) == sizeof(sector));
	T_SYS(ftruncate(disk, 1 << 20));
	close(fd);
	close(disk);
}

static void start_guest(struct guest *guest, bool kvm, bool memfd)
{
	char monitor[160], drive[160], answer[4096];
	const char *argv[] = { "qemu-system-x86_64", "-accel", kvm ? "kvm" : "tcg", "-m", RAM,
		"-nodefaults", "-nographic", "-monitor", monitor, "-drive", drive, "-machine",
		memfd ? "pc,memory-backend=ram" : "pc", memfd ? "-object" : NULL,
		"memory-backend-memfd,id=ram,size=" RAM ",share=on", NULL };

	snprintf(monitor, sizeof(monitor), "unix:%s,server=on,wait=off", cl_path("monitor"));
	snprintf(drive, sizeof(drive), "format=raw,file=%s", cl_path("disk"));
	unlink(cl_path("monitor"));
	*guest = (struct guest){ .pid = cl_spawn(argv, "qemu.log", NULL, NULL) };
	guest->monitor = cl_unix_connect(cl_path("monitor"));
	ask(guest->monitor, NULL, answer, sizeof(answer));
	guest->control = host_address(guest->monitor, CONTROL);
	guest->window = host_address(guest->monitor, WINDOW);
	if (memfd)
		T_CHECK(guest->window == memfd_address(guest->pid) + WINDOW);
}

static bool is_running(const struct guest *guest)
{
	struct control control;

	read_control(guest, &control);
	return control.magic == MAGIC;
}

static uint64_t page_of(const struct guest *guest, uint32_t step)
{
	return guest->window + (uint64_t)(uint32_t)(step * STRIDE) % PAGES * UMEM_PAGE_BYTES;
}

/* Steps [from, to) have to be in @a or @b. */
static void check_steps(const struct guest *guest, uint32_t from, uint32_t to,
	struct cl_round *a, struct cl_round *b)
{
	uint64_t missed = 0;

	for (uint32_t step = from; step < to; step++)
		if (!umem_pageset_has(&a->dirty, page_of(guest, step)) &&
			!(b && umem_pageset_has(&b->dirty, page_of(guest, step))) && missed++ < 4)
			printf("MISSED step %u, page %#llx\n", step,
				(unsigned long long)page_of(guest, step));
	T_CHECK(missed == 0, "%llu pages that the guest wrote in steps %u to %u were not "
		"reported", (unsigned long long)missed, from, to);
}

/* Pages of the window in @round. */
static uint64_t window_pages(const struct guest *guest, struct cl_round *round)
{
	struct umem_ranges window = { 0 };
	struct umem_pageset part = { 0 };
	uint64_t pages;

	T_OK(umem_ranges_add(&window, guest->window,
		guest->window + PAGES * UMEM_PAGE_BYTES));
	T_OK(umem_pageset_union(&part, &round->dirty));
	T_OK(umem_pageset_keep(&part, &window));
	pages = umem_pageset_bytes(&part) / UMEM_PAGE_BYTES;
	umem_pageset_deinit(&part);
	umem_ranges_deinit(&window);
	return pages;
}

/* Rounds while the guest writes; @exact: no page but those of its steps may be in. */
static void run_rounds(const struct guest *guest, struct cl_dirty *dirty, bool exact)
{
	struct cl_round rounds[2] = { 0 };
	uint32_t begun, ended, before_begun = 0, before_ended = 0;
	uint64_t pages = 0, steps = 0;

	for (int i = 0; i < ROUNDS; i++) {
		struct cl_round *now = &rounds[i % 2], *before = &rounds[(i + 1) % 2];

		t_msleep(5);
		cl_round_clear(now);
		begun = steps_of(guest);
		cl_dirty_collect(dirty, now);
		ended = steps_of(guest);
		T_CHECK(now->complete);
		if (i > 0) {
			/* A step that is not counted yet may have written its page already. */
			check_steps(guest, before_ended + 1, begun, now, NULL);
			check_steps(guest, before_begun + 1,
				before_ended < begun ? before_ended + 1 : begun, before, now);
			/* Later steps write the same pages, so this many there are at most. */
			if (exact)
				T_CHECK(window_pages(guest, now) <= ended + 1 - before_begun,
					"%llu pages for %u steps",
					(unsigned long long)window_pages(guest, now),
					ended - before_begun);
			pages += window_pages(guest, now);
			steps += begun - before_begun;
		}
		before_begun = begun;
		before_ended = ended;
	}
	printf("  %llu steps, %llu pages of the window in %d rounds\n",
		(unsigned long long)steps, (unsigned long long)pages, ROUNDS - 1);
	T_CHECK(steps > PAGES / 4);
	for (int i = 0; i < 2; i++) {
		umem_pageset_deinit(&rounds[i].dirty);
		umem_ranges_deinit(&rounds[i].gone);
	}
}

/* Rounds while it halts. */
static void run_idle(const struct guest *guest, struct cl_dirty *dirty)
{
	struct cl_round round = { 0 };
	uint64_t most = 0;

	allow(guest, 0, 0);
	t_msleep(50);
	cl_dirty_collect(dirty, &round);
	for (int i = 0; i < 10; i++) {
		t_msleep(20);
		cl_round_clear(&round);
		cl_dirty_collect(dirty, &round);
		T_CHECK(round.complete);
		T_CHECK(window_pages(guest, &round) == 0);
		most = umem_max_u64(most, umem_pageset_bytes(&round.dirty) / UMEM_PAGE_BYTES);
	}
	printf("  idle: %llu pages a round at most, collect %llu us\n",
		(unsigned long long)most, (unsigned long long)round.scan_ns / 1000);
	T_CHECK(most < 128);
	umem_pageset_deinit(&round.dirty);
	umem_ranges_deinit(&round.gone);
}

static void run_guest(bool kvm, bool memfd)
{
	/* The emulator is fast: let it wait a little after each step. */
	uint32_t delay = kvm ? 0 : 20000;
	struct cl_traces traces;
	struct cl_dirty dirty;
	struct guest guest;

	start_guest(&guest, kvm, memfd);
	T_UNTIL(30, is_running(&guest));
	cl_traces_take(&traces, guest.pid);
	cl_dirty_start(&dirty, guest.pid);
	printf("%s, %s: stopped %llu us, %llu MiB tracked\n", kvm ? "KVM" : "TCG",
		memfd ? "memfd" : "private", (unsigned long long)dirty.stop_ns / 1000,
		(unsigned long long)dirty.tracked_bytes >> 20);
	/* First into memory that was never touched, then into what is there. */
	allow(&guest, UINT32_MAX, delay);
	run_rounds(&guest, &dirty, false);
	allow(&guest, steps_of(&guest) + PAGES, 0);
	t_msleep(500);
	allow(&guest, UINT32_MAX, delay);
	run_rounds(&guest, &dirty, true);
	run_idle(&guest, &dirty);
	cl_dirty_end(&dirty);
	cl_traces_check(&traces, guest.pid);
	T_CHECK(is_running(&guest));
	close(guest.monitor);
	t_end(guest.pid);
}

/* Does a guest run at all under KVM here? */
static bool kvm_works(void)
{
	struct guest guest;
	uint64_t end_ns;
	bool works;

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return false;
	start_guest(&guest, true, false);
	end_ns = t_now_ns() + 10000000000u;
	while (!(works = is_running(&guest)) && t_now_ns() < end_ns)
		t_msleep(10);
	close(guest.monitor);
	t_end(guest.pid);
	return works;
}

int main(void)
{
	bool kvm;

	cl_need("qemu-system-x86_64", "qemu-system-x86");
	write_disk();
	kvm = kvm_works();
	if (!kvm)
		puts("no guest runs under KVM here; TCG");
	for (int memfd = 1; memfd >= 0; memfd--)
		run_guest(kvm, memfd);
	/* The emulator writes from another code path; once is enough. */
	if (kvm)
		run_guest(false, true);
	return 0;
}
