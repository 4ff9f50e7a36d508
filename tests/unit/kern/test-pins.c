// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pins: fake /proc trees, hostile text, real rings, an AF_XDP socket. */
#include "lib/kern/pins.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/if_xdp.h>
#include <linux/io_uring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>

#include "lib/base/fd.h"
#include "tests/lib/harness.h"

#define PAGE 4096u

static size_t count(const struct umem_pins *pins, enum umem_pin_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < pins->n; i++)
		n += pins->v[i].kind == kind;
	return n;
}

static bool has_range(const struct umem_pins *pins, const void *at, size_t len)
{
	for (size_t i = 0; i < pins->n; i++) {
		if (pins->v[i].kind == UMEM_PIN_IO_URING &&
			pins->v[i].range.start == (uintptr_t)at &&
			pins->v[i].range.end == (uintptr_t)at + len)
			return true;
	}
	return false;
}

/* ---- fake trees ---- */

static char tree[] = "/tmp/umem-test-pins-XXXXXX";

static void put(const char *name, const char *text)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", tree, name);
	UMEM_FD int fd = (int)T_SYS(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));

	T_OK(umem_write_all(fd, text, strlen(text)));
}

static void put_fd(int fd, const char *link, const char *info)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/fd/%d", tree, fd);
	unlink(path);
	T_SYS(symlink(link, path));
	snprintf(path, sizeof(path), "fdinfo/%d", fd);
	if (info)
		put(path, info);
}

static void clear_dir(const char *name)
{
	char path[600];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/%s", tree, name);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s/%s", tree, name, entry->d_name);
		if (entry->d_name[0] != '.')
			unlink(path);
	}
	if (dir)
		closedir(dir);
}

static int tree_setup(void **state)
{
	char path[200];

	strcpy(strrchr(tree, '-'), "-XXXXXX");
	T_CHECK(mkdtemp(tree));
	snprintf(path, sizeof(path), "%s/fd", tree);
	T_SYS(mkdir(path, 0700));
	snprintf(path, sizeof(path), "%s/fdinfo", tree);
	T_SYS(mkdir(path, 0700));
	put("status", "Name:\tx\nVmPin:\t       0 kB\nVmHWM:\t 1 kB\n");
	put("maps", "1000-2000 rw-s 0 0:f 77   anon_inode:[io_uring]\n");
	return 0;
}

static int tree_teardown(void **state)
{
	static const char *const names[] = { "fd", "fdinfo" };
	char path[200];

	clear_dir("fd");
	clear_dir("fdinfo");
	clear_dir(".");
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", tree, names[i]);
		T_SYS(rmdir(path));
	}
	T_SYS(rmdir(tree));
	return 0;
}

static void read_tree(struct umem_pins *pins)
{
	UMEM_FD int dir = (int)T_SYS(open(tree, O_PATH | O_DIRECTORY | O_CLOEXEC));

	T_OK(umem_pins_read(dir, -1, pins));
}

static void fake_devices(void **state)
{
	struct umem_pins pins = { 0 };

	put_fd(0, "/dev/null", NULL);
	put_fd(1, "pipe:[123]", NULL);
	put_fd(2, "socket:[77]", NULL);
	put_fd(3, "/home/x/dev/vfio/1", "flags:\t0100002\n");
	read_tree(&pins);
	T_CHECK(pins.n == 0 && !pins.direct_io && !pins.io_uring);
	put_fd(4, "/dev/vfio/12", NULL);
	put_fd(5, "anon_inode:[vfio-device]", NULL);
	put_fd(6, "/dev/iommu", NULL);
	put_fd(7, "/dev/infiniband/uverbs0", NULL);
	put_fd(8, "/dev/infiniband/\033[2J", NULL);
	put_fd(9, "/dev/nvidia0", NULL);
	put_fd(10, "/dev/vhost-vdpa-0", NULL);
	read_tree(&pins);
	T_CHECK(count(&pins, UMEM_PIN_VFIO) == 4 && count(&pins, UMEM_PIN_RDMA) == 2);
	T_CHECK(count(&pins, UMEM_PIN_UNKNOWN) == 1 && pins.n == 7);
	for (size_t i = 0; i < pins.n; i++) {
		T_CHECK(pins.v[i].range.start == 0 && pins.v[i].range.end == UINT64_MAX);
		T_CHECK(strncmp(pins.v[i].what, "fd ", 3) == 0 && !strchr(pins.v[i].what, 27));
	}
	T_CHECK(!pins.direct_io);
	put_fd(11, "/data/file", "pos:\t0\nflags:\t0140002\nmnt_id:\t1\n");
	read_tree(&pins);
	T_CHECK(pins.direct_io && pins.n == 7);
	umem_pins_deinit(&pins);
}

static void fake_rings(void **state)
{
	struct umem_pins pins = { 0 };

	/* Two buffers share a page, and the first page of the second ring is theirs. */
	put("status", "VmPin:\t      20 kB\n");
	put_fd(3, "anon_inode:[io_uring]",
		"flags:\t02000002\nino:\t77\nUserFiles:\t1\n    0: /x/UserBufs:\nUserBufs:\t4\n"
		"    0: 0x10100/256\n    1: 0x10800/6144\n    2: <none>\n    3: 0x0/65536\n"
		"PollList:\n");
	put_fd(4, "anon_inode:[io_uring]",
		"flags:\t02000002\nino:\t77\nUserBufs:\t1\n    0: 0x11000/12288\n");
	read_tree(&pins);
	T_CHECK(pins.io_uring && pins.direct_io);
	T_CHECK(has_range(&pins, (void *)0x10100, 256));
	T_CHECK(has_range(&pins, (void *)0x10800, 6144));
	T_CHECK(has_range(&pins, (void *)0x11000, 12288));
	T_CHECK(pins.vmpin_bytes == 20480 && pins.explained_bytes == 16384);
	T_CHECK(count(&pins, UMEM_PIN_UNKNOWN) == 1 && pins.n == 4);
	T_CHECK(strstr(pins.v[3].what, "4 of 20 kB"), "%s", pins.v[3].what);
	put("status", "VmPin:\t      16 kB\n");
	read_tree(&pins);
	T_CHECK(pins.n == 3);
	/* another inode than the mapping's */
	put_fd(4, "anon_inode:[io_uring]", "flags:\t02000002\nino:\t78\nUserBufs:\t0\n");
	read_tree(&pins);
	T_CHECK(count(&pins, UMEM_PIN_UNKNOWN) == 2 && pins.n == 4);
	/* busy for good, and no fdinfo at all */
	put("status", "VmPin:\t      8 kB\n");
	put_fd(4, "anon_inode:[io_uring]", "flags:\t02000002\nino:\t77\n");
	read_tree(&pins);
	T_CHECK(pins.n == 3 && strstr(pins.v[2].what, "busy"));
	put_fd(4, "anon_inode:[io_uring]", "ino:\t77\nUserBufs:\t2\n    0: 0x5000/4096\n");
	read_tree(&pins);
	T_CHECK(pins.n == 3 && strstr(pins.v[2].what, "not understood"));
	T_CHECK(!has_range(&pins, (void *)0x5000, 4096));
	umem_pins_deinit(&pins);
}

static void fake_limits(void **state)
{
	struct umem_pins pins = { 0 };
	size_t n = 70000, len;
	char *text = malloc(n * 40 + 100);

	len = (size_t)sprintf(text, "ino:\t77\nUserBufs:\t%zu\n", n);
	for (size_t i = 0; i < n; i++)
		len += (size_t)sprintf(text + len, "%5zu: 0x%zx/4096\n", i, (i + 1) << 13);
	put_fd(3, "anon_inode:[io_uring]", text);
	free(text);
	put("status", "VmPin:\t 280000 kB\n");
	read_tree(&pins);
	T_CHECK(pins.n == UMEM_PINS_MAX);
	T_CHECK(pins.v[pins.n - 1].kind == UMEM_PIN_UNKNOWN);
	T_CHECK(pins.v[pins.n - 1].range.end == UINT64_MAX);
	put_fd(3, "anon_inode:[io_uring]",
		"ino:\t77\nUserBufs:\t2\n"
		"0: 0xfffffffffffff001/4094\n1: 0x1/18446744073709551614\n");
	read_tree(&pins);
	T_CHECK(pins.n == 2 && pins.explained_bytes == UINT64_MAX);
	umem_pins_deinit(&pins);
}

static void hostile_fdinfo(void **state)
{
	static const char *const bad[] = {
		"UserBufs:", "UserBufs:\t", "UserBufs:\t-1", "UserBufs:\t1", "UserBufs:\t1\n",
		"UserBufs:\t1x\n", "UserBufs:\t1\nfoo", "UserBufs:\t1\n0: 0x5/",
		"ino:\tx\nUserBufs:\t0",
		"UserBufs:\t1\n0: 0x5/4 ", "UserBufs:\t1\n0: 5/4", "UserBufs:\t1\n0:0x5/4",
		"UserBufs:\t1\n0: 0x10000000000000000/4", "UserBufs:\t1\n0: 0xffffffffffffffff/2",
		"UserBufs:\t18446744073709551616\n", "UserBufs:\t99999999999\n0: 0x5/4\n",
		"UserBufs:\t1\n0: <none>x",
	};
	struct umem_pins pins = { 0 };
	uint64_t inode = 5, value = 7;

	for (size_t i = 0; i < UMEM_ARRAY_LEN(bad); i++) {
		T_CHECK(umem_pins_parse_fdinfo(bad[i], strlen(bad[i]), "x", &pins, &inode) ==
			-EBADMSG, "%s", bad[i]);
		T_CHECK(pins.n == 0 && inode == 5);
	}
	T_CHECK(umem_pins_parse_fdinfo("", 0, "x", &pins, &inode) == UMEM_PINS_BUSY);
	T_CHECK(inode == 0);
	T_CHECK(!umem_pins_parse_flags("flags:\t9", 8, &value) && value == 7);
	T_CHECK(!umem_pins_parse_flags("xflags:\t1", 9, &value) && value == 7);
	T_CHECK(umem_pins_parse_flags("pos:\t0\nflags:\t0100000\n", 22, &value));
	T_CHECK(value == 0100000);
	T_CHECK(!umem_pins_parse_vmpin("VmPin:\t4", 8, &value));
	T_CHECK(!umem_pins_parse_vmpin("VmPin:\t18014398509481984 kB", 27, &value));
	T_CHECK(umem_pins_parse_vmpin("VmPin:\t   4 kB", 14, &value) && value == 4096);
	umem_pins_deinit(&pins);
}

static void kind_names(void **state)
{
	for (int i = 0; i < UMEM_N_PIN_KINDS; i++)
		T_CHECK(strlen(umem_pin_kind_name((enum umem_pin_kind)i)) > 3);
	T_CHECK(strcmp(umem_pin_kind_name(UMEM_N_PIN_KINDS), "?") == 0);
}

/* ---- the real thing ---- */

static int new_ring(struct io_uring_params *params)
{
	int fd = (int)syscall(SYS_io_uring_setup, 4, params);

	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		skip();
	T_SYS(fd);
	return fd;
}

static void *map_ring(int ring)
{
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);

	T_CHECK(at != MAP_FAILED);
	return at;
}

static void register_buffer(int ring, void *at, size_t len)
{
	struct iovec iov = { at, len };

	T_SYS(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1));
}

static void *small_pages(size_t len)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	T_CHECK(at != MAP_FAILED);
	madvise(at, len, MADV_NOHUGEPAGE);
	memset(at, 1, len);
	return at;
}

static void read_process(pid_t pid, struct umem_pins *pins)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	UMEM_FD int dir = (int)T_SYS(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	UMEM_FD int pidfd = (int)T_SYS(syscall(SYS_pidfd_open, pid, 0));

	T_OK(umem_pins_read(dir, pidfd, pins));
}

static void real_ring(void **state)
{
	struct umem_pins pins = { 0 };
	struct io_uring_params params = { 0 };
	size_t len = 16 * PAGE;
	uint8_t *buffer = small_pages(len);
	int ring;
	void *map;

	T_UNTIL(5, (read_process(getpid(), &pins), pins.n == 0));
	T_CHECK(!pins.io_uring && !pins.direct_io);
	ring = new_ring(&params);
	map = map_ring(ring);
	register_buffer(ring, buffer + 100, len - 200);
	read_process(getpid(), &pins);
	T_CHECK(pins.n == 1 && has_range(&pins, buffer + 100, len - 200));
	T_CHECK(pins.vmpin_bytes == len && pins.explained_bytes == len);
	T_SYS(syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0));
	T_UNTIL(5, (read_process(getpid(), &pins), pins.n == 0));
	T_CHECK(pins.io_uring);
	munmap(map, PAGE);
	close(ring);
	munmap(buffer, len);
	umem_pins_deinit(&pins);
}

/* The child registers and closes; the descriptor lives on here only. */
static void ring_passed_away(void **state)
{
	struct umem_pins pins = { 0 };
	struct io_uring_params params = { 0 };
	int to[2], from[2], ring;
	UMEM_FD int pidfd = -1;
	char byte;
	pid_t pid;

	close(new_ring(&(struct io_uring_params){ 0 }));
	T_SYS(pipe2(to, O_CLOEXEC));
	T_SYS(pipe2(from, O_CLOEXEC));
	pid = t_fork();
	if (pid == 0) {
		void *buffer = small_pages(8 * PAGE);

		ring = new_ring(&params);
		register_buffer(ring, buffer, 8 * PAGE);
		T_CHECK(write(from[1], &ring, sizeof(ring)) == sizeof(ring));
		T_CHECK(read(to[0], &byte, 1) == 1);
		close(ring);
		T_CHECK(write(from[1], &byte, 1) == 1);
		pause();
	}
	T_CHECK(read(from[0], &ring, sizeof(ring)) == sizeof(ring));
	pidfd = (int)T_SYS(syscall(SYS_pidfd_open, pid, 0));
	ring = (int)T_SYS(syscall(SYS_pidfd_getfd, pidfd, ring, 0));
	T_CHECK(write(to[1], "x", 1) == 1);
	T_CHECK(read(from[0], &byte, 1) == 1);
	read_process(pid, &pins);
	T_CHECK(pins.n == 1 && pins.v[0].kind == UMEM_PIN_UNKNOWN, "%zu", pins.n);
	T_CHECK(pins.vmpin_bytes == 8 * PAGE && !pins.io_uring);
	close(ring);
	T_UNTIL(5, (read_process(pid, &pins), pins.n == 0));
	t_end(pid);
	umem_pins_deinit(&pins);
	for (int i = 0; i < 2; i++) {
		close(to[i]);
		close(from[i]);
	}
}

/* Memory of one process in a ring that another created: VmPin is the other's. */
static void ring_of_another(void **state)
{
	struct umem_pins pins = { 0 };
	struct io_uring_params params = { 0 };
	int ring = new_ring(&params), from[2];
	uintptr_t at;
	pid_t pid;

	T_SYS(pipe2(from, O_CLOEXEC));
	pid = t_fork();
	if (pid == 0) {
		at = (uintptr_t)small_pages(8 * PAGE);
		register_buffer(ring, (void *)at, 8 * PAGE);
		T_CHECK(write(from[1], &at, sizeof(at)) == sizeof(at));
		pause();
	}
	T_CHECK(read(from[0], &at, sizeof(at)) == sizeof(at));
	read_process(pid, &pins);
	T_CHECK(has_range(&pins, (void *)at, 8 * PAGE) && pins.vmpin_bytes == 0);
	read_process(getpid(), &pins);
	T_CHECK(pins.vmpin_bytes == 8 * PAGE);
	t_end(pid);
	close(ring);
	close(from[0]);
	close(from[1]);
	umem_pins_deinit(&pins);
}

#define SETUP_NO_MMAP (1u << 14)

static void ring_in_own_memory(void **state)
{
	struct umem_pins pins = { 0 };
	struct io_uring_params params = { .flags = SETUP_NO_MMAP };
	uint8_t *memory = small_pages(4 * PAGE);
	uint64_t cq = (uintptr_t)memory, sq = cq + 2 * PAGE;
	int ring;

	/* user_addr of the two, named resv2 in older headers */
	memcpy(&params.cq_off.resv2, &cq, sizeof(cq));
	memcpy(&params.sq_off.resv2, &sq, sizeof(sq));
	ring = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0)
		skip(); /* before 6.5 */
	/* The ring of the test before may still be on its way out. */
	T_UNTIL(5, (read_process(getpid(), &pins), pins.vmpin_bytes == 0));
	T_CHECK(pins.n == 1 && pins.v[0].kind == UMEM_PIN_UNKNOWN);
	close(ring);
	T_UNTIL(5, (read_process(getpid(), &pins), pins.n == 0));
	munmap(memory, 4 * PAGE);
	umem_pins_deinit(&pins);
}

static void xdp_socket(void **state)
{
	struct umem_pins pins = { 0 };
	size_t len = 16 * PAGE;
	struct xdp_umem_reg reg = { .addr = (uintptr_t)small_pages(len), .len = len,
		.chunk_size = PAGE };
	int xdp = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0), pair[2];

	if (xdp < 0)
		skip();
	T_SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	T_SYS(setsockopt(xdp, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)));
	for (int i = 0; i < 3; i++) {
		read_process(getpid(), &pins);
		T_CHECK(pins.n == 1 && pins.v[0].kind == UMEM_PIN_XDP);
		T_CHECK(pins.n_sockets == 3);
	}
	printf("VmPin with an AF_XDP umem of %zu bytes: %llu\n", len,
		(unsigned long long)pins.vmpin_bytes);
	/* closed ones are forgotten, new ones under an old number are asked */
	close(pair[0]);
	close(pair[1]);
	read_process(getpid(), &pins);
	T_CHECK(pins.n == 1 && pins.n_sockets == 1);
	close(xdp);
	xdp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	read_process(getpid(), &pins);
	T_CHECK(pins.n == 0 && pins.n_sockets == (xdp >= 0));
	close(xdp);
	umem_pins_deinit(&pins);
}

static void direct_file(void **state)
{
	char path[] = "/tmp/umem-test-pins-file-XXXXXX";
	struct umem_pins pins = { 0 };
	int fd = mkostemp(path, O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		skip();
	unlink(path);
	read_process(getpid(), &pins);
	T_CHECK(pins.direct_io && !pins.io_uring && pins.n == 0);
	close(fd);
	read_process(getpid(), &pins);
	T_CHECK(!pins.direct_io);
	umem_pins_deinit(&pins);
}

static void gone(void **state)
{
	struct umem_pins pins = { 0 };
	char path[40];
	pid_t pid = t_fork();
	int dir;

	if (pid == 0)
		pause();
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	dir = (int)T_SYS(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	t_end(pid);
	int r = umem_pins_read(dir, -1, &pins);
	T_CHECK(r == -ESRCH || r == -ENOENT, "%d", r);
	T_CHECK(pins.n == 0);
	close(dir);
	umem_pins_deinit(&pins);
}

static void print_cost(const char *what, unsigned n, struct umem_pins *pins)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
		uint64_t start = t_now_ns();

		read_process(getpid(), pins);
		start = t_now_ns() - start;
		best = start < best ? start : best;
	}
	printf("%u descriptors, %s: %.1f us\n", n, what, (double)best / 1000);
}

/* Not a check: the numbers of the theory block. */
static void cost(void **state)
{
	static const char *const what[] = { "pipe ends", "sockets", "files" };
	struct umem_pins pins = { 0 };
	struct rlimit limit;

	T_SYS(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (int kind = 0; kind < 3; kind++) {
		for (unsigned n = 20; n <= 5000; n *= 250) {
			int *fds = calloc(n, sizeof(*fds));

			for (unsigned i = 0; i < n; i++) {
				if (kind == 0 && i % 2 == 0)
					T_SYS(pipe2(fds + i, O_CLOEXEC));
				else if (kind == 1)
					fds[i] = (int)T_SYS(socket(AF_UNIX, SOCK_STREAM, 0));
				else if (kind == 2)
					fds[i] = (int)T_SYS(open("/proc/self/exe", O_RDONLY));
			}
			if (kind == 1) {
				uint64_t start = t_now_ns();

				read_process(getpid(), &pins);
				printf("first look at %u sockets: %.1f us\n", n,
					(double)(t_now_ns() - start) / 1000);
			}
			print_cost(what[kind], n, &pins);
			for (unsigned i = 0; i < n; i++)
				close(fds[i]);
			free(fds);
		}
	}
	umem_pins_deinit(&pins);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(fake_devices, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(fake_rings, tree_setup, tree_teardown),
		cmocka_unit_test_setup_teardown(fake_limits, tree_setup, tree_teardown),
		cmocka_unit_test(hostile_fdinfo), cmocka_unit_test(kind_names),
		cmocka_unit_test(real_ring), cmocka_unit_test(ring_passed_away),
		cmocka_unit_test(ring_of_another), cmocka_unit_test(ring_in_own_memory),
		cmocka_unit_test(xdp_socket), cmocka_unit_test(direct_file),
		cmocka_unit_test(gone), cmocka_unit_test(cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
