// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pressure: real and hostile text, missing files, shares of time. */
#include "lib/kern/psi.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/fd.h"

#define REAL "some avg10=12.34 avg60=5.00 avg300=0.10 total=123456\n" \
	     "full avg10=0.07 avg60=0.00 avg300=0.00 total=99\n"

/* An exact heap copy, so that a read past the end is seen by sanitizers and valgrind. */
static int parse(const char *text, size_t len, struct umem_psi *psi)
{
	char *copy = malloc(len ? len : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, text, len);
	r = umem_psi_parse(copy, len, psi);
	free(copy);
	return r;
}

static void real_text(void **state)
{
	/* A later kernel's additions, in whatever order. */
	const char *later = "new x=1\nfull total=1 what avg10=0.00\nsome total=2 avg10=100.00"
			    " avg900=x\n";
	struct umem_psi psi;

	assert_int_equal(0, parse(REAL, strlen(REAL), &psi));
	assert_int_equal(1234, psi.some.avg10);
	assert_int_equal(123456, psi.some.total_us);
	assert_int_equal(7, psi.full.avg10);
	assert_int_equal(99, psi.full.total_us);
	assert_int_equal(0, parse(later, strlen(later), &psi));
	assert_int_equal(10000, psi.some.avg10);
	assert_int_equal(2, psi.some.total_us);
	assert_int_equal(1, psi.full.total_us);
}

static void hostile(void **state)
{
	static const char *const bad[] = {
		"", "\n", "some\n", "some \nfull \n", "some avg10=1.00 total=1\n",
		"full avg10=1.00 total=1\n",
		"some avg10=1.00 total=1\nfull avg10=1.00\n",
		"some avg10=1.00 total=1\nfull total=1\n",
		"some avg10=1.00 total=1\nfull avg10=1.00 total=\n",
		"some avg10=1.00 total=1\nfull avg10=1.00 total=-1\n",
		"some avg10=1.00 total=1\nfull avg10=1.00 total=1x\n",
		"some avg10=1.00 total=1\nfull avg10=1.00 total=18446744073709551616\n",
		"some avg10=1.00 total=1\nfull avg10=1 total=1\n",
		"some avg10=1.00 total=1\nfull avg10=1.0 total=1\n",
		"some avg10=1.00 total=1\nfull avg10=1.000 total=1\n",
		"some avg10=1.00 total=1\nfull avg10=.00 total=1\n",
		"some avg10=1.00 total=1\nfull avg10=101.00 total=1\n",
		"some avg10=1.00 total=1\nfull avg10=100.01 total=1\n",
		"some avg10=1.00 total=1\nfull avg10=18446744073709551616.00 total=1\n",
		"some avg10=1.00 total=1\nfull avg10=1.00 avg10=1.00 total=1\n",
		"some avg10=1.00 total=1\nfull avg10=1.00 total=1 total=1\n",
		"some avg10=1.00 total=1\nsome avg10=1.00 total=1\nfull avg10=1.00 total=1\n",
	};
	struct umem_psi psi;

	memset(&psi, 0x5a, sizeof(psi));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(-EBADMSG, parse(bad[i], strlen(bad[i]), &psi));
	/* Cut before its last number, it is refused; nothing is read past the cut. */
	for (size_t len = 0; len < strlen(REAL) - strlen("99\n"); len++)
		assert_int_equal(-EBADMSG, parse(REAL, len, &psi));
	assert_int_equal(0x5a5a5a5a, psi.some.avg10);
}

static void shares(void **state)
{
	struct umem_psi before = { { 0, 1000 }, { 0, 500 } }, now = { { 0, 251000 }, { 0, 500 } };
	struct umem_psi_share share = umem_psi_share(&before, &now, 1000000000);

	assert_int_equal(250000, share.some_ppm);
	assert_int_equal(0, share.full_ppm);
	assert_int_equal(1000000, umem_psi_share(&before, &now, 250000000).some_ppm);
	assert_int_equal(1000000, umem_psi_share(&before, &now, 1).some_ppm);
	assert_int_equal(0, umem_psi_share(&before, &now, 0).some_ppm);
	assert_int_equal(0, umem_psi_share(&now, &before, 1000).some_ppm);
	/* One microsecond of a day, and all the time there is. */
	now.some.total_us = 1001;
	assert_int_equal(0, umem_psi_share(&before, &now, 86400000000000).some_ppm);
	assert_int_equal(1, umem_psi_share(&before, &now, 1000000000).some_ppm);
	now.some.total_us = UINT64_MAX;
	assert_int_equal(1000000, umem_psi_share(&before, &now, 1000).some_ppm);
	now.some.total_us = 1000 + UINT64_MAX / 1000;
	assert_int_equal(999999, umem_psi_share(&before, &now, UINT64_MAX).some_ppm);
}

static void files(void **state)
{
	char dir[] = "/tmp/umem-psi-XXXXXX";
	struct umem_psi psi = { .some.avg10 = 4711 };
	int dirfd, fd;
	char junk[5000];

	assert_non_null(mkdtemp(dir));
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dirfd >= 0);
	assert_int_equal(-ENOENT, umem_psi_read(dirfd, "memory.pressure", &psi));
	fd = openat(dirfd, "memory.pressure", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(-EBADMSG, umem_psi_read(dirfd, "memory.pressure", &psi));
	memset(junk, '\n', sizeof(junk));
	assert_int_equal(0, umem_write_all(fd, junk, sizeof(junk)));
	assert_int_equal(-EBADMSG, umem_psi_read(dirfd, "memory.pressure", &psi));
	assert_int_equal(4711, psi.some.avg10);
	assert_int_equal(0, ftruncate(fd, 0));
	assert_int_equal(0, lseek(fd, 0, SEEK_SET));
	assert_int_equal(0, umem_write_all(fd, REAL, strlen(REAL)));
	assert_int_equal(0, umem_psi_read(dirfd, "memory.pressure", &psi));
	assert_int_equal(1234, psi.some.avg10);
	assert_int_equal(0, unlinkat(dirfd, "memory.pressure", 0));
	assert_int_equal(0, rmdir(dir));
	close(fd);
	close(dirfd);
}

static void this_machine(void **state)
{
	struct umem_psi before, now;
	int r = umem_psi_read(AT_FDCWD, UMEM_PSI_MACHINE, &before);

	if (r == -ENOENT || r == -EOPNOTSUPP) {
		print_message("no PSI on this machine\n");
		skip();
	}
	assert_int_equal(0, r);
	assert_int_equal(0, umem_psi_read(AT_FDCWD, UMEM_PSI_MACHINE, &now));
	assert_true(now.some.total_us >= before.some.total_us);
	assert_true(now.full.total_us <= now.some.total_us);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_text),
		cmocka_unit_test(hostile),
		cmocka_unit_test(shares),
		cmocka_unit_test(files),
		cmocka_unit_test(this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
