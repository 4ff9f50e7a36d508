// SPDX-License-Identifier: LGPL-2.1-or-later
/* kcmp(2): do two processes share one memory? */
#include "lib/kern/kcmp.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

bool umem_kcmp_same_memory(int pid_a, int pid_b)
{
	return syscall(SYS_kcmp, pid_a, pid_b, KCMP_VM, 0, 0) == 0;
}
