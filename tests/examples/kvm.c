// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A virtual machine monitor that has umemd track the memory of its guest: what a live
 * migration starts with.
 *
 *     cc kvm.c $(pkg-config --cflags --libs libumemd)
 *     ./a.out [SOCKET]
 *
 * The guest has no firmware and 17 bytes of code: it asks for the number of a page, writes
 * to that page, and asks again. So it is known which pages each round has to name, and that
 * it may name no others. Only public headers are used.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <umemd/client.h>

/* Newer than the headers of some distributions. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif

#define PAGE   4096u
#define PAGES  256u /* what real mode can address */
#define CODE   1u   /* the page that the code is in */
#define FIRST  2u   /* of those that the guest writes */
#define PORT   0x10
#define HALT   0xffff
#define ROUNDS 20

/* 16-bit code. A page is named by the segment that begins with it: its number times 256. */
static const unsigned char code[] = {
	0xe5, PORT,                   /* again: in    $PORT, %ax   */
	0x3d, 0xff, 0xff,             /*        cmp   $0xffff, %ax */
	0x74, 0x09,                   /*        je    end          */
	0x8e, 0xc0,                   /*        mov   %ax, %es     */
	0x26, 0xff, 0x06, 0x00, 0x00, /*        incw  %es:0        */
	0xeb, 0xf0,                   /*        jmp   again        */
	0xf4,                         /* end:   hlt                */
};

/* The machine. */
struct machine {
	int kvm;
	int vm;
	int cpu;
	struct kvm_run *run;
	unsigned char *memory;
};

static int skip(const char *what)
{
	printf("SKIP: %s: %s\n", what, strerror(errno));
	return 77;
}

static int fail(const char *what, const struct umem_note *note)
{
	fprintf(stderr, "%s: %s\n", what, note ? note->text : strerror(errno));
	return 1;
}

/* A machine with its memory, and the code in it. Return: 0, or -1 with errno. */
static int make_machine(struct machine *m)
{
	struct kvm_userspace_memory_region region = { .memory_size = PAGES * PAGE };
	struct kvm_regs regs = { .rip = CODE * PAGE, .rflags = 2 };
	struct kvm_sregs sregs;
	int size;

	m->memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		-1, 0);
	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (m->memory == MAP_FAILED || m->kvm < 0)
		return -1;
	/* A huge page would be dirty as a whole. */
	madvise(m->memory, PAGES * PAGE, MADV_NOHUGEPAGE);
	memset(m->memory, 0, PAGES * PAGE);
	memcpy(m->memory + CODE * PAGE, code, sizeof(code));
	region.userspace_addr = (uintptr_t)m->memory;
	m->vm = ioctl(m->kvm, KVM_CREATE_VM, 0);
	/* Some processors need pages of their own for real mode: beyond the guest's memory. */
	if (m->vm < 0 || ioctl(m->vm, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 ||
		ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -1;
	m->cpu = ioctl(m->vm, KVM_CREATE_VCPU, 0);
	size = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (m->cpu < 0 || size < 0 || ioctl(m->cpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	m->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, m->cpu, 0);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	return m->run == MAP_FAILED || ioctl(m->cpu, KVM_SET_SREGS, &sregs) < 0 ||
		ioctl(m->cpu, KVM_SET_REGS, &regs) < 0 ? -1 : 0;
}

/* Run it until it asks for a page, or halts. Return: the exit reason, or -1. */
static int run_guest(struct machine *m)
{
	while (ioctl(m->cpu, KVM_RUN, 0) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return -1;
	return (int)m->run->exit_reason;
}

/* Answer what it asked for; it goes on with the next run. */
static void answer(struct machine *m, uint16_t value)
{
	memcpy((char *)m->run + m->run->io.data_offset, &value, sizeof(value));
}

/* Have the guest write a page, and ask for the next. Return: 0 or -1. */
static int write_page(struct machine *m, unsigned page)
{
	answer(m, (uint16_t)(page << 8));
	return run_guest(m) == KVM_EXIT_IO && m->run->io.port == PORT ? 0 : -1;
}

/* What a round names, page by page. */
struct named {
	uintptr_t base;
	unsigned char pages[PAGES];
	int not_written; /* that are there for another reason */
};

static int note_range(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	struct named *named = user;

	for (; start < end; start += PAGE)
		named->pages[(start - named->base) / PAGE] = 1;
	named->not_written += why != UMEM_WHY_WRITTEN;
	return 0;
}

/* Some pages are written, then a round has to name these, and no others. Return: 0 or 1. */
static int one_round(struct machine *m, struct umem_client *client, const char *target,
	uint16_t written[PAGES], uint64_t *last)
{
	struct named named = { .base = (uintptr_t)m->memory };
	unsigned char wanted[PAGES] = { 0 };
	struct umem_client_round *round;
	struct umem_note note = { 0 };
	int n = rand() % 50, wrong = 0;

	for (int i = 0; i < n; i++) {
		unsigned page = FIRST + (unsigned)rand() % (PAGES - FIRST);

		if (write_page(m, page) < 0)
			return fail("the guest does not do what it should", NULL);
		written[page]++;
		wanted[page] = 1;
	}
	if (umem_client_collect(client, target, UMEM_CLIENT_RANGES, *last, &round, &note) != 0)
		return fail("collecting", &note);
	*last = umem_client_round_numbers(round)->round;
	umem_client_round_each(round, note_range, &named);
	for (unsigned page = 0; page < PAGES; page++)
		wrong += named.pages[page] != wanted[page];
	printf("round %2llu: the guest wrote %2d times, %6llu bytes are dirty%s\n",
		(unsigned long long)*last, n,
		(unsigned long long)umem_client_round_numbers(round)->dirty_bytes,
		wrong ? ", and not the right ones" : "");
	wrong += named.not_written || !umem_client_round_numbers(round)->complete;
	umem_client_round_free(round);
	return wrong != 0;
}

/* Everything behind the machine: hand its memory over, and compare. Return: an exit code. */
static int track(struct machine *m, int uffd, const char *socket)
{
	struct umem_range range = { (uintptr_t)m->memory, (uintptr_t)m->memory + PAGES * PAGE };
	uint16_t written[PAGES] = { 0 };
	const struct umem_armed *armed;
	struct umem_client *client;
	struct umem_note note = { 0 };
	char target[UMEM_CLIENT_TARGET];
	uint64_t last = 0;

	if (umem_client_connect(socket, &client, &note) != 0)
		return fail("connecting", &note);
	if (umem_client_hand_off(client, uffd, &range, 1, NULL, target, &note) != 0)
		return fail("handing off", &note);
	if (umem_client_start(client, target, NULL, &armed, &note) != 0)
		return fail("starting", &note);
	for (int i = 0; i < ROUNDS; i++)
		if (one_round(m, client, target, written, &last) != 0)
			return 1;
	answer(m, HALT);
	if (run_guest(m) != KVM_EXIT_HLT)
		return fail("the guest does not halt", NULL);
	if (umem_client_detach(client, target, &note) != 0)
		return fail("letting go", &note);
	umem_client_free(client);
	/* Nothing that the guest wrote was lost on the way. */
	for (unsigned page = FIRST; page < PAGES; page++)
		if (memcmp(m->memory + page * PAGE, &written[page], sizeof(written[page])) != 0)
			return fail("the guest's memory is wrong", NULL);
	return 0;
}

int main(int argc, char **argv)
{
	struct uffdio_api api = { .api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED };
	int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);
	struct machine machine = { .kvm = -1, .vm = -1, .cpu = -1 };

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) < 0)
		return skip("asynchronous write protection");
	if (make_machine(&machine) < 0)
		return skip("a virtual machine (KVM)");
	/* It asks for its first page before anything is tracked. */
	if (run_guest(&machine) != KVM_EXIT_IO)
		return fail("the guest does not run", NULL);
	return track(&machine, uffd, argc > 1 ? argv[1] : NULL);
}
