// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a crash or a full disk leaves: the old image or the new one, whole, and no other
 * name. A child replaces an image again and again and is killed at any moment; a disk
 * has room for less and less.
 *
 *     SEED=N, CRASH_ROUNDS=N (kills, 150)
 */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "tests/lib/harness.h"
#include "tests/lib/tree.h"
#include "tests/unit/store/model.h"

#define N_PAGES 200u

static char folder[4096];
static char image_path[4200];

/* Content of page @i of generation @gen: it does not compress, and is nowhere else. */
static uint64_t content_of(uint64_t gen, uint64_t i)
{
	return (gen * 1000 + i) * 8 + 1;
}

/* Write generation @gen. Return: as commit. */
static int write_image(uint64_t gen, struct umem_note *note)
{
	struct umem_image_create_options options = { .size = sizeof(options),
		.buffer_bytes = 1 << 18, .n_threads = gen % 2 ? 1 : -1,
		.codec = gen % 3 ? UMEM_IMAGE_CODEC_NONE : UMEM_IMAGE_CODEC_ZSTD };
	struct umem_image_writer *writer;
	unsigned char page[PAGE];
	int r = umem_image_create(image_path, &options, &writer, note), first = 0;

	if (r < 0)
		return r;
	for (uint64_t i = 0; i < N_PAGES; i++) {
		model_page(content_of(gen, i), page);
		r = umem_image_put(writer, 0, model_addr(i), page, 1);
		/* An error is for good. */
		T_CHECK(first == 0 || r == first);
		first = r;
	}
	r = umem_image_commit(writer, NULL, note);
	T_CHECK(first == 0 || r == first);
	umem_image_writer_free(writer);
	return r;
}

/* The image at @path is whole: all pages of one generation. Return: which. */
static uint64_t check_image(const char *path, uint64_t max_gen)
{
	unsigned char have[PAGE], want[PAGE];
	struct umem_note note = { 0 };
	struct umem_image *image;
	uint64_t gen = 0;
	int r = umem_image_open(path, NULL, &image, &note);

	T_CHECK(r == 0, "%s", note.text);
	model_verify(image);
	T_OK(umem_image_get(image, 0, model_addr(0), have, 1, NULL));
	for (; gen <= max_gen; gen++) {
		model_page(content_of(gen, 0), want);
		if (memcmp(have, want, PAGE) == 0)
			break;
	}
	T_CHECK(gen <= max_gen);
	for (uint64_t i = 0; i < N_PAGES; i++) {
		T_OK(umem_image_get(image, 0, model_addr(i), have, 1, NULL));
		model_page(content_of(gen, i), want);
		T_CHECK(memcmp(have, want, PAGE) == 0);
	}
	umem_image_free(image);
	return gen;
}

/* Look at the names in the folder, and remove what has a name for the moment. */
static unsigned check_names(bool may_be_partial, uint64_t max_gen)
{
	struct dirent *entry;
	DIR *dir = opendir(folder);
	unsigned n_temp = 0;

	T_CHECK(dir);
	while ((entry = readdir(dir))) {
		size_t len = strlen(entry->d_name);
		char path[5000];

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
			!strcmp(entry->d_name, "image"))
			continue;
		T_CHECK(entry->d_name[0] == '.' && len > 9 &&
			!strcmp(entry->d_name + len - 9, ".umem-tmp"), "%s", entry->d_name);
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (!may_be_partial)
			check_image(path, max_gen);
		T_SYS(unlink(path));
		n_temp++;
	}
	closedir(dir);
	return n_temp;
}

static void be_child(uint64_t gen)
{
	for (;; gen++)
		T_OK(write_image(gen, NULL));
}

/* Kill a child that writes, at random moments. */
static void kills(uint64_t *rng, unsigned rounds, const char *faults)
{
	bool no_tmpfile = faults[0] != '\0';
	uint64_t gen = 1, seen = 0;
	unsigned n_temp = 0, n_new = 0;

	setenv("UMEM_FAULTS", faults, 1);
	T_OK(write_image(0, NULL));
	for (unsigned i = 0; i < rounds; i++) {
		pid_t pid = t_fork();

		if (pid == 0)
			be_child(gen);
		usleep((useconds_t)t_below(rng, 25000));
		t_end(pid);
		/* More than a child can write in that time. */
		uint64_t now = check_image(image_path, gen + 1000);

		T_CHECK(now == seen || now >= gen);
		n_new += now != seen;
		seen = now;
		gen = now + 1;
		n_temp += check_names(no_tmpfile, gen + 1000);
	}
	setenv("UMEM_FAULTS", "", 1);
	printf("%u kills%s%s: %u times new images, %u names for the moment left\n", rounds,
		no_tmpfile ? " with " : "", faults, n_new, n_temp);
}

/* A write that fails leaves generation 0, and says why. */
static void must_fail(int want, const char *with)
{
	struct umem_note note = { 0 };
	int r = write_image(1, &note);

	T_CHECK(r == want, "%d %s", r, note.text);
	T_CHECK(strstr(note.text, with) && strstr(note.text, image_path), "%s", note.text);
	T_CHECK(check_image(image_path, 0) == 0);
	T_CHECK(check_names(false, 0) == 0);
}

static const char *const ways[] = { "", "ring.setup=1", "outfile.tmpfile=95",
	"outfile.direct=22" };

/* No file may be longer than that. */
static void too_large(void)
{
	struct rlimit old, limit;
	unsigned n = 0;

	signal(SIGXFSZ, SIG_IGN);
	T_SYS(getrlimit(RLIMIT_FSIZE, &old));
	limit = old;
	for (size_t w = 0; w < UMEM_ARRAY_LEN(ways); w++) {
		setenv("UMEM_FAULTS", "", 1);
		T_OK(write_image(0, NULL));
		setenv("UMEM_FAULTS", ways[w], 1);
		/* All the way up to where it fits: N_PAGES, the header, hashes, the index. */
		for (uint64_t size = 0; size <= (N_PAGES + 3) * PAGE; size += 5 * PAGE, n++) {
			limit.rlim_cur = size;
			T_SYS(setrlimit(RLIMIT_FSIZE, &limit));
			must_fail(-EFBIG, "File too large");
			T_SYS(setrlimit(RLIMIT_FSIZE, &old));
		}
	}
	setenv("UMEM_FAULTS", "", 1);
	printf("%u times too large\n", n);
}

/* A file system of its own, with little room, that goes with this process. */
static void disk_full(void)
{
	uint64_t whole = (N_PAGES + 5) * PAGE;
	unsigned n = 0;

	if (unshare(CLONE_NEWNS) < 0) {
		printf("a full disk is not tried: no mount namespace: %s\n", strerror(errno));
		return;
	}
	T_SYS(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	for (size_t w = 0; w < UMEM_ARRAY_LEN(ways); w++) {
		/* The old image, a folder, and less than what the new one takes. */
		for (uint64_t room = 0; room < N_PAGES * PAGE; room += 12 * PAGE, n++) {
			char options[100];

			snprintf(options, sizeof(options), "size=%llu",
				(unsigned long long)(whole + room));
			T_SYS(mount("scratch", folder, "tmpfs", 0, options));
			setenv("UMEM_FAULTS", "", 1);
			T_OK(write_image(0, NULL));
			setenv("UMEM_FAULTS", ways[w], 1);
			must_fail(-ENOSPC, "No space left on device");
			T_SYS(umount(folder));
		}
	}
	setenv("UMEM_FAULTS", "", 1);
	printf("%u times a full disk\n", n);
}

int main(void)
{
	const char *given = getenv("CRASH_ROUNDS");
	unsigned rounds = given ? (unsigned)strtoul(given, NULL, 10) : 150;
	uint64_t rng = t_seed();

	t_tree_folder("crash");
	snprintf(folder, sizeof(folder), "%s", t_tree_path("crash"));
	snprintf(image_path, sizeof(image_path), "%s/image", folder);
	kills(&rng, rounds, "");
	kills(&rng, rounds / 3, "outfile.tmpfile=95");
	too_large();
	disk_full();
	return 0;
}
