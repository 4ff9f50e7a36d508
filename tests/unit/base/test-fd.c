// SPDX-License-Identifier: LGPL-2.1-or-later
/* Owned descriptors, whole reads and writes. */
#include "lib/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void owned(void **state)
{
	int outside = -1, taken, fd = memfd_create("x", MFD_CLOEXEC);

	assert_true(fd >= 0);
	errno = 77;
	assert_int_equal(-1, umem_fd_close(fd));
	assert_int_equal(77, errno); /* kept, also by a close that fails */
	assert_false(is_open(fd));
	errno = 77;
	assert_int_equal(-1, umem_fd_close(fd));
	assert_int_equal(77, errno);
	assert_int_equal(-1, umem_fd_close(-1));
	assert_int_equal(77, errno);
	{
		UMEM_FD int inside = memfd_create("x", MFD_CLOEXEC);

		outside = inside;
		assert_true(is_open(outside));
	}
	assert_false(is_open(outside));
	{
		UMEM_FD int inside = memfd_create("x", MFD_CLOEXEC);

		taken = umem_fd_take(&inside);
		assert_int_equal(-1, inside);
	}
	assert_true(is_open(taken));
	umem_fd_close(taken);
}

static void whole_files(void **state)
{
	UMEM_FD int fd = memfd_create("x", MFD_CLOEXEC);
	static char data[100000];
	UMEM_FREE char *text = NULL;
	UMEM_FREE char *empty = NULL;
	size_t len = 7;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i % 251);
	assert_int_equal(0, umem_write_all(fd, data, sizeof(data)));
	assert_int_equal(0, lseek(fd, 0, SEEK_SET));
	assert_int_equal(-EFBIG, umem_read_all(fd, sizeof(data) - 1, &text, &len));
	assert_null(text);
	assert_int_equal(7, len); /* untouched on failure */
	assert_int_equal(0, lseek(fd, 0, SEEK_SET));
	assert_int_equal(0, umem_read_all(fd, sizeof(data), &text, &len));
	assert_int_equal(sizeof(data), len);
	assert_memory_equal(data, text, len);
	assert_int_equal(0, text[len]);
	/* Nothing more is there: an empty string. */
	assert_int_equal(0, umem_read_all(fd, 0, &empty, NULL));
	assert_string_equal("", empty);
}

static void by_name(void **state)
{
	UMEM_FD int dir = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	UMEM_FREE char *text = NULL;
	UMEM_FREE char *none = NULL;

	assert_int_equal(0, umem_read_file(dir, "status", 1 << 16, &text, NULL));
	assert_non_null(strstr(text, "\nPid:"));
	assert_int_equal(-ENOENT, umem_read_file(dir, "no such file", 1 << 16, &none, NULL));
	assert_int_equal(-EISDIR, umem_read_file(dir, "task", 1 << 16, &none, NULL));
	assert_null(none);
}

static void failed_writes(void **state)
{
	UMEM_FD int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	UMEM_FD int read_only = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(-ENOSPC, umem_write_all(full, "x", 1));
	assert_int_equal(-EBADF, umem_write_all(read_only, "x", 1));
	assert_int_equal(0, umem_write_all(read_only, "x", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(owned),
		cmocka_unit_test(whole_files),
		cmocka_unit_test(by_name),
		cmocka_unit_test(failed_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
