// SPDX-License-Identifier: LGPL-2.1-or-later
/* Stores of a KVM guest are seen, also through mappings made before arming. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/kernel/scratch.h"

#ifdef __x86_64__
#define N 16

/* Real mode: store to pages 3 and 5, read page 7, halt; then once more. */
static const uint8_t guest[] = {
	0xc6, 0x06, 0x00, 0x30, 0x42, /* mov byte [0x3000], 0x42 */
	0xc6, 0x06, 0x00, 0x50, 0x42, /* mov byte [0x5000], 0x42 */
	0xa0, 0x00, 0x70,	      /* mov al, [0x7000] */
	0xf4,			      /* hlt */
	0xe9, 0xef, 0xff,	      /* jmp to the start */
};

static void boot(int vcpu)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = 0x1000, .rflags = 2 };

	T_SYS(ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	T_SYS(ioctl(vcpu, KVM_SET_SREGS, &sregs));
	T_SYS(ioctl(vcpu, KVM_SET_REGS, &regs));
}

static void run_until_halt(int vcpu, struct kvm_run *run)
{
	T_SYS(ioctl(vcpu, KVM_RUN, 0));
	T_CHECK(run->exit_reason == KVM_EXIT_HLT, "%u", run->exit_reason);
}

/*
 * The run page can be registered and armed like memory, yet the kernel writes
 * it through an address of its own: unseen.
 */
static void run_page(int uffd, int pm, int vcpu, struct kvm_run *run)
{
	size_t by_kernel;

	if (k_register(uffd, run, K_PAGE) != 0) {
		k_fact("the vCPU's run page cannot be registered");
		return;
	}
	run->exit_reason = 12345;
	T_CHECK(k_collect(pm, run, K_PAGE) == 1);
	run_until_halt(vcpu, run);
	T_CHECK(run->exit_reason == KVM_EXIT_HLT); /* the kernel wrote it */
	by_kernel = k_written(pm, run, K_PAGE);
	run->exit_reason = 12345;
	T_CHECK(k_written(pm, run, K_PAGE) == 1); /* control */
	k_fact("the vCPU's run page can be registered; the kernel's writes: %s",
		by_kernel ? "seen" : "not seen");
}

static void test(int uffd, int pm, char *at, int kvm)
{
	struct kvm_userspace_memory_region region = {
		.memory_size = N * K_PAGE,
		.userspace_addr = (uintptr_t)at,
	};
	int vm = (int)T_SYS(ioctl(kvm, KVM_CREATE_VM, 0)), vcpu;
	struct kvm_run *run;

	k_touch(at, N * K_PAGE, 0);
	memcpy(at + 0x1000, guest, sizeof(guest));
	T_SYS(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
	vcpu = (int)T_SYS(ioctl(vm, KVM_CREATE_VCPU, 0));
	run = (void *)k_map((size_t)T_SYS(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0)), MAP_SHARED, vcpu);
	boot(vcpu);

	/* The guest's page tables are filled, then the pages are armed. */
	run_until_halt(vcpu, run);
	T_CHECK(at[0x3000] == 0x42 && at[0x5000] == 0x42);
	T_OK(k_register(uffd, at, N * K_PAGE));
	T_CHECK(k_collect(pm, at, N * K_PAGE) == N);
	T_CHECK(k_written(pm, at, N * K_PAGE) == 0); /* control: no run, no store */
	for (int i = 0; i < 3; i++) {
		run_until_halt(vcpu, run);
		T_CHECK(k_bits(pm, at + 3 * K_PAGE) & PAGE_IS_WRITTEN);
		T_CHECK(k_bits(pm, at + 5 * K_PAGE) & PAGE_IS_WRITTEN);
		T_CHECK(k_collect(pm, at, N * K_PAGE) == 2);
	}
	run_page(uffd, pm, vcpu, run);
	close(vcpu);
	close(vm);
}
#endif

int main(void)
{
#ifdef __x86_64__
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), fd = -1, pm = k_pagemap();

	if (kvm < 0)
		T_SKIP("no /dev/kvm: %s", strerror(errno));
	test(k_uffd(K_TRACK), pm, k_anon(N * K_PAGE), kvm);
	test(k_uffd(K_TRACK), pm, k_map(N * K_PAGE, MAP_SHARED, k_memfd(N * K_PAGE)), kvm);
	/* Also without the right to handle kernel faults: WP_ASYNC handles none. */
	T_OK(umem_uffd_open(UFFD_USER_MODE_ONLY, &fd));
	T_OK(umem_uffd_api(fd, K_TRACK, NULL));
	test(fd, pm, k_anon(N * K_PAGE), kvm);
	return 0;
#else
	T_SKIP("the guest is written for x86-64");
#endif
}
