// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A debugger and the core of a real program: a child is stopped, its memory and
 * registers put into an image, the image exported, and gdb asked what it sees. All of
 * it by plain ptrace(2) and files of /proc: here only the format is tested.
 */
#include <umemd/export.h>

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/maps.h"
#include "lib/kern/procmem.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"

#define MAX_THREADS 16
#define MAX_BLOBS   3
#define BLOB_BYTES  16384
#define PAGE        4096u

static struct umem_image_thread threads[MAX_THREADS];
static struct umem_image_blob blobs[MAX_THREADS][MAX_BLOBS];
static uint8_t blob_bytes[MAX_THREADS][MAX_BLOBS][BLOB_BYTES];
static size_t n_threads;

static pid_t start_victim(void)
{
	int fds[2];
	char byte;
	pid_t pid;

	T_SYS(pipe2(fds, O_CLOEXEC));
	pid = t_fork();
	if (pid == 0) {
		dup2(fds[1], 1);
		execl(VICTIM_PATH, VICTIM_PATH, "an argument", NULL);
		_exit(127);
	}
	close(fds[1]);
	T_CHECK(read(fds[0], &byte, 1) == 1 && byte == 'r');
	close(fds[0]);
	return pid;
}

static void read_thread(pid_t pid, pid_t tid)
{
	static const uint32_t types[MAX_BLOBS] = { NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE };
	struct umem_image_thread *thread = &threads[n_threads];
	int status;

	T_CHECK(n_threads < MAX_THREADS);
	T_SYS(ptrace(PTRACE_SEIZE, tid, NULL, NULL));
	T_SYS(ptrace(PTRACE_INTERRUPT, tid, NULL, NULL));
	T_CHECK(waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status));
	thread->tid = tid;
	thread->blobs = blobs[n_threads];
	for (size_t i = 0; i < MAX_BLOBS; i++) {
		struct iovec iov = { blob_bytes[n_threads][i], BLOB_BYTES };

		if (ptrace(PTRACE_GETREGSET, tid, types[i], &iov) < 0)
			continue;
		blobs[n_threads][thread->n_blobs++] = (struct umem_image_blob){ types[i],
			(uint32_t)iov.iov_len, iov.iov_base };
	}
	T_CHECK(thread->n_blobs >= 2);
	n_threads++;
}

static void read_threads(pid_t pid)
{
	char path[40];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	T_CHECK(dir);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			read_thread(pid, atoi(entry->d_name));
	}
	closedir(dir);
}

static void tell_file(const struct umem_vma *vma, struct umem_image_region *region)
{
	struct stat st;

	if (vma->name[0] != '/' || stat(vma->name, &st) < 0)
		return;
	region->file_backed = true;
	region->file_size_bytes = (uint64_t)st.st_size;
	region->file_mtime_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u +
		(uint64_t)st.st_mtim.tv_nsec;
}

static void put_range(struct umem_image_writer *writer, pid_t pid, int mem, uint64_t start,
	uint64_t end)
{
	struct umem_range run = { start, end };
	struct umem_ranges holes = { 0 };
	UMEM_FREE uint8_t *bytes = malloc(end - start);

	T_CHECK(bytes);
	T_OK(umem_procmem_read(pid, mem, UMEM_PROCMEM_AUTO, &run, 1, bytes, &holes));
	T_OK(umem_image_put(writer, 0, start, bytes, (end - start) / PAGE));
	for (size_t i = 0; i < holes.n; i++)
		T_OK(umem_image_drop(writer, 0, holes.v[i].start, holes.v[i].end));
	umem_ranges_deinit(&holes);
}

/* Of a mapped file the pages that the process has its own of: neither the file's nor none. */
static void put_own(struct umem_image_writer *writer, pid_t pid, int mem,
	const struct umem_image_region *region)
{
	UMEM_FD int pm = -1;
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	pm = (int)T_SYS(open(path, O_RDONLY | O_CLOEXEC));
	for (uint64_t at = region->start; at < region->end; at += PAGE) {
		uint64_t word;

		T_CHECK(pread(pm, &word, 8, (off_t)(at / PAGE * 8)) == 8);
		if (word >> 62 && !(word >> 61 & 1))
			put_range(writer, pid, mem, at, at + PAGE);
	}
}

static size_t read_memory(struct umem_image_writer *writer, pid_t pid,
	struct umem_image_region **ret_regions, struct umem_maps *maps)
{
	UMEM_FD int fd = -1;
	UMEM_FD int mem = -1;
	struct umem_image_region *regions;

	T_OK(umem_maps_open(pid, &fd));
	T_OK(umem_procmem_open(pid, &mem));
	T_OK(umem_maps_read(fd, UMEM_MAPS_AUTO, maps));
	regions = calloc(maps->n, sizeof(*regions));
	T_CHECK(regions);
	for (size_t i = 0; i < maps->n; i++) {
		const struct umem_vma *vma = &maps->v[i];

		regions[i] = (struct umem_image_region){ .start = vma->start, .end = vma->end,
			.offset = vma->offset, .inode = vma->inode, .page_size_bytes = PAGE,
			.dev_major = vma->dev_major, .dev_minor = vma->dev_minor,
			.vma_flags = vma->flags, .kind_name = "", .path = vma->name };
		tell_file(vma, &regions[i]);
		if (regions[i].file_backed)
			put_own(writer, pid, mem, &regions[i]);
		else if (strncmp(vma->name, "[vv", 3) != 0)
			put_range(writer, pid, mem, vma->start, vma->end);
	}
	*ret_regions = regions;
	return maps->n;
}

static void make_image(pid_t pid, const char *path)
{
	UMEM_FREE struct umem_image_region *regions = NULL;
	UMEM_FREE char *auxv = NULL;
	struct umem_image_process process = { .pid = pid, .ppid = getpid(), .pgid = getpgid(pid),
		.sid = getsid(pid), .comm = "formats-victim", .exe = VICTIM_PATH,
		.cmdline = VICTIM_PATH, .cmdline_len_bytes = sizeof(VICTIM_PATH) };
	struct umem_image_writer *writer;
	struct umem_maps maps = { 0 };
	struct umem_note note = { 0 };
	char name[40];

	T_OK(umem_image_create(path, NULL, &writer, &note));
	read_threads(pid);
	process.n_regions = read_memory(writer, pid, &regions, &maps);
	process.regions = regions;
	process.threads = threads;
	process.n_threads = n_threads;
	snprintf(name, sizeof(name), "/proc/%d/auxv", (int)pid);
	T_OK(umem_read_file(AT_FDCWD, name, 65536, &auxv, &process.auxv_len_bytes));
	process.auxv = auxv;
	T_OK(umem_image_describe(writer, &process, 1, NULL));
	T_CHECK(umem_image_commit(writer, NULL, &note) == 0, "%s", note.text);
	umem_image_writer_free(writer);
	umem_maps_deinit(&maps);
}

static void export_core(const char *path, const char *core, pid_t tid, bool embed)
{
	const struct umem_image_export_options options = { .size = sizeof(options), .tid = tid,
		.embed_files = embed };
	struct umem_image *image;
	struct umem_note note = { 0 };

	T_OK(umem_image_open(path, NULL, &image, &note));
	T_CHECK(umem_image_export(image, "core", core, &options, NULL, &note) == 0, "%s",
		note.text);
	umem_image_free(image);
}

/* What gdb prints. */
static char *ask_gdb(const char *exe, const char *core)
{
	static char text[1 << 16];
	char command[4096];
	size_t n;
	FILE *out;

	snprintf(command, sizeof(command), "gdb -nx -batch -ex 'set debuginfod enabled off' "
		"-ex 'set pagination off' %s%s -ex 'core-file %s' -ex 'info threads' "
		"-ex 'thread apply all bt' -ex 'print global_counter' "
		"-ex 'print *global_list' -ex 'print global_list->next->next->text' "
		"-ex 'print global_text' -ex 'info sharedlibrary' "
		"-ex 'thread apply all -s print thread_number' "
		"-ex 'thread apply all -s print $xmm0' -ex 'info auxv' -ex 'info proc' 2>&1",
		exe ? "-ex 'file " : "", exe ? VICTIM_PATH "'" : "", core);
	out = popen(command, "re");
	T_CHECK(out);
	n = fread(text, 1, sizeof(text) - 1, out);
	text[n] = '\0';
	pclose(out);
	return text;
}

static void check_gdb(const char *exe, const char *core, const char *first)
{
	const char *const want[] = {
		"worker_zero", "worker_one", "worker_two", "wait_deep (depth=3", "main (", first,
		" = 42", "number = 44", "\"node number 4\",", "\"node number 2\",",
		"\"a constant of the program\"", "libc.so.6", " = 99", " = 100", " = 101", " = 102",
		"AT_SYSINFO_EHDR",
	};
	const char *text = ask_gdb(exe, core);

	for (size_t i = 0; i < UMEM_ARRAY_LEN(want); i++) {
		if (!strstr(text, want[i]))
			T_FAIL("gdb on %s does not say '%s', but:\n%s", core, want[i], text);
	}
	if (strstr(text, "Cannot access memory") || strstr(text, "corrupt"))
		T_FAIL("gdb on %s:\n%s", core, text);
}

int main(void)
{
	char first[40];
	pid_t pid;

	if (access("/usr/bin/gdb", X_OK) < 0)
		T_SKIP("no gdb");
	t_tree_folder("work");
	T_SYS(chdir(t_tree_path("work")));
	pid = start_victim();
	make_image(pid, "victim.umem");
	for (size_t i = 0; i < n_threads; i++)
		T_SYS(ptrace(PTRACE_DETACH, threads[i].tid, NULL, NULL));
	t_end(pid);
	T_CHECK(n_threads == 4);
	export_core("victim.umem", "core", 0, false);
	export_core("victim.umem", "core-embed", threads[2].tid, true);
	snprintf(first, sizeof(first), "* 1    Thread");
	check_gdb("yes", "core", first);
	check_gdb("yes", "core-embed", first);
	snprintf(first, sizeof(first), "LWP %d", (int)threads[2].tid);
	check_gdb("yes", "core-embed", first);
	return 0;
}
