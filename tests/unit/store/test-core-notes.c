// SPDX-License-Identifier: LGPL-2.1-or-later
/* Notes of a core: order, owners and layouts, against a plain parser. */
#include "lib/store/core_notes.h"

#include <elf.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/procfs.h>
#include <cmocka.h>

#include "tests/lib/harness.h"

/** struct seen - a note as it was found. */
struct seen {
	uint32_t type;
	char owner[8];
	const uint8_t *desc;
	size_t len;
};

static size_t parse(const struct umem_bytes *bytes, struct seen *v, size_t room)
{
	size_t at = 0, n = 0;

	while (at < bytes->n) {
		uint32_t head[3];

		assert_true(bytes->n - at >= 12 && n < room);
		memcpy(head, bytes->v + at, 12);
		at += 12;
		assert_true(head[0] == strlen((char *)bytes->v + at) + 1 && head[0] < 8);
		strcpy(v[n].owner, (char *)bytes->v + at);
		at += (head[0] + 3) / 4 * 4;
		v[n].type = head[2];
		v[n].desc = bytes->v + at;
		v[n].len = head[1];
		at += (head[1] + 3u) / 4 * 4;
		n++;
	}
	assert_int_equal(at, bytes->n);
	return n;
}

static const struct umem_core_machine *x86(void)
{
	return umem_core_machine("x86_64");
}

static uint8_t gregs[3][216];
static uint8_t fpregs[3][512];
static uint8_t xstate[3][2696];
static siginfo_t info[3];
static struct umem_image_blob blobs[3][4];
static struct umem_image_thread threads[3];
static struct umem_image_region regions[4];
static struct umem_image_process process;

static void make(void)
{
	for (size_t i = 0; i < 3; i++) {
		memset(gregs[i], 0x10 + (int)i, sizeof(gregs[i]));
		memset(fpregs[i], 0x20 + (int)i, sizeof(fpregs[i]));
		memset(xstate[i], 0x30 + (int)i, sizeof(xstate[i]));
		memset(&info[i], 0x40 + (int)i, sizeof(info[i]));
		blobs[i][0] = (struct umem_image_blob){ NT_PRSTATUS, sizeof(gregs[i]), gregs[i] };
		blobs[i][1] = (struct umem_image_blob){ NT_PRFPREG, sizeof(fpregs[i]), fpregs[i] };
		blobs[i][2] = (struct umem_image_blob){ NT_X86_XSTATE, sizeof(xstate[i]),
			xstate[i] };
		blobs[i][3] = (struct umem_image_blob){ NT_SIGINFO, sizeof(info[i]), &info[i] };
		threads[i] = (struct umem_image_thread){ .tid = 100 + (int)i,
			.blobs = blobs[i], .n_blobs = 4 };
	}
	regions[0] = (struct umem_image_region){ .start = 0x400000, .end = 0x402000,
		.inode = 5, .path = "/bin/prog" };
	regions[1] = (struct umem_image_region){ .start = 0x500000, .end = 0x502000,
		.offset = 0x3000, .inode = 5, .path = "/bin/prog" };
	regions[2] = (struct umem_image_region){ .start = 0x600000, .end = 0x602000 };
	regions[3] = (struct umem_image_region){ .start = 0x700000, .end = 0x702000,
		.path = "[heap]" };
	process = (struct umem_image_process){ .pid = 100, .ppid = 1, .pgid = 99, .sid = 98,
		.uid = 7, .gid = 8, .comm = "a-name-of-15-ch", .cmdline = "prog\0-x\0",
		.cmdline_len_bytes = 8, .auxv = "0123456789abcdef", .auxv_len_bytes = 16,
		.threads = threads, .n_threads = 3, .regions = regions, .n_regions = 4 };
}

static void order(void **state)
{
	static const uint32_t want[] = {
		NT_PRSTATUS, NT_PRPSINFO, NT_SIGINFO, NT_AUXV, NT_FILE, NT_PRFPREG, NT_X86_XSTATE,
		NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE, NT_SIGINFO,
		NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE, NT_SIGINFO,
	};
	static const int32_t tids[] = { 100, 101, 102 };
	struct umem_bytes bytes = { 0 };
	struct seen v[32];
	size_t n, thread = 0;

	make();
	assert_int_equal(0, umem_core_notes(&process, x86(), 0, &bytes, NULL));
	n = parse(&bytes, v, 32);
	assert_int_equal(n, UMEM_ARRAY_LEN(want));
	for (size_t i = 0; i < n; i++) {
		struct elf_prstatus status;

		assert_int_equal(v[i].type, want[i]);
		assert_string_equal(v[i].owner, v[i].type == NT_X86_XSTATE ? "LINUX" : "CORE");
		if (v[i].type != NT_PRSTATUS)
			continue;
		assert_int_equal(v[i].len, sizeof(status));
		memcpy(&status, v[i].desc, sizeof(status));
		assert_int_equal(status.pr_pid, tids[thread]);
		assert_int_equal(status.pr_ppid, 1);
		assert_int_equal(status.pr_pgrp, 99);
		assert_int_equal(status.pr_sid, 98);
		assert_int_equal(status.pr_fpvalid, 1);
		assert_memory_equal(status.pr_reg, gregs[thread], sizeof(status.pr_reg));
		thread++;
	}
	umem_bytes_deinit(&bytes);
}

static void content(void **state)
{
	static const char names[] = "/bin/prog\0/bin/prog";
	const uint64_t words[] = { 2, 4096, 0x400000, 0x402000, 0, 0x500000, 0x502000, 3 };
	struct umem_bytes bytes = { 0 };
	struct elf_prpsinfo ps;
	struct seen v[32];

	make();
	assert_int_equal(0, umem_core_notes(&process, x86(), 0, &bytes, NULL));
	parse(&bytes, v, 32);
	assert_int_equal(v[1].len, sizeof(ps));
	memcpy(&ps, v[1].desc, sizeof(ps));
	assert_int_equal(ps.pr_uid, 7);
	assert_int_equal(ps.pr_gid, 8);
	assert_int_equal(ps.pr_pid, 100);
	assert_string_equal(ps.pr_fname, "a-name-of-15-ch");
	assert_string_equal(ps.pr_psargs, "prog -x");
	assert_memory_equal(v[2].desc, &info[0], sizeof(info[0]));
	assert_memory_equal(v[3].desc, "0123456789abcdef", 16);
	assert_int_equal(v[4].len, sizeof(words) + sizeof(names));
	assert_memory_equal(v[4].desc, words, sizeof(words));
	assert_memory_equal(v[4].desc + sizeof(words), names, sizeof(names));
	umem_bytes_deinit(&bytes);
}

static int32_t first_tid(int32_t tid)
{
	struct umem_bytes bytes = { 0 };
	struct umem_note note = { 0 };
	struct elf_prstatus status;
	struct seen v[32];
	int r = umem_core_notes(&process, x86(), tid, &bytes, &note);

	if (r < 0) {
		assert_true(note.text[0] != '\0');
		umem_bytes_deinit(&bytes);
		return r;
	}
	parse(&bytes, v, 32);
	assert_int_equal(v[0].type, NT_PRSTATUS);
	memcpy(&status, v[0].desc, sizeof(status));
	umem_bytes_deinit(&bytes);
	return status.pr_pid;
}

/* The one that is asked for; one with a signal; the process's first; any. */
static void first(void **state)
{
	struct elf_prstatus status = { .pr_cursig = 11 };

	make();
	assert_int_equal(100, first_tid(0));
	assert_int_equal(102, first_tid(102));
	assert_int_equal(-ESRCH, first_tid(103));
	process.pid = 101;
	assert_int_equal(101, first_tid(0));
	process.pid = 5;
	assert_int_equal(100, first_tid(0));
	blobs[2][0] = (struct umem_image_blob){ NT_PRSTATUS, sizeof(status), &status };
	assert_int_equal(102, first_tid(0));
	assert_int_equal(101, first_tid(101));
	threads[1].n_blobs = 0;
	assert_int_equal(-ESRCH, first_tid(101));
}

/* No threads, no files, no arguments, registers of a wrong size. */
static void odd(void **state)
{
	struct umem_bytes bytes = { 0 };
	struct umem_note note = { 0 };
	struct seen v[32];

	make();
	process.n_threads = 0;
	process.n_regions = 0;
	process.auxv_len_bytes = 0;
	process.cmdline_len_bytes = 0;
	assert_int_equal(0, umem_core_notes(&process, x86(), 0, &bytes, &note));
	assert_int_equal(1, parse(&bytes, v, 32));
	bytes.n = 0;
	make();
	blobs[1][0].len_bytes = 215;
	assert_int_equal(-EBADMSG, umem_core_notes(&process, x86(), 0, &bytes, &note));
	assert_non_null(strstr(note.text, "thread 101"));
	umem_bytes_deinit(&bytes);
	assert_null(umem_core_machine("vax"));
	assert_int_equal(umem_core_machine("aarch64")->elf_machine, EM_AARCH64);
	assert_non_null(umem_core_machine(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order),
		cmocka_unit_test(content),
		cmocka_unit_test(first),
		cmocka_unit_test(odd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
