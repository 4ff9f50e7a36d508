// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Random memory, its images, and their exports: for readers that are not ours. What
 * came back by our own import is compared here.
 *
 * usage: maker FOLDER SEED
 *
 * For generation G of memory, and process PID:
 *     G.umem                 the image; its parent is that of the generation before
 *     G.json, G-PID.bin      what the memory is (model.h)
 *     G-PID.core, G-PID-embed.core
 *     G-PID.raw, G-PID.diff, and .extents beside
 *     G.criu, G.criu-whole   the first refers to that of the generation before
 */
#include <umemd/export.h>

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/formats/model.h"
#include "tests/lib/harness.h"

#define GENERATIONS 3

static struct m_memory memory[GENERATIONS];

static void put_extent(void *user, const struct umem_image_extent *extent)
{
	fprintf(user, "%d %llu %llu %llu\n", extent->pid, (unsigned long long)extent->start,
		(unsigned long long)extent->end, (unsigned long long)extent->file_offset);
}

/* Progress never goes back, nor past its end. */
static int check_progress(void *user, uint64_t done, uint64_t total)
{
	static uint64_t before;

	T_CHECK(done <= total && (done >= before || before == 0 || done < (8 << 20)));
	before = done;
	return 0;
}

static int export(struct umem_image *image, const char *format, const char *path,
	struct umem_image_export_options *options, struct umem_image_exported *ret_made)
{
	struct umem_note note = { 0 };
	int r;

	options->size = sizeof(*options);
	options->progress = check_progress;
	r = umem_image_export(image, format, path, options, ret_made, &note);
	T_CHECK((r == 0) == (note.text[0] == '\0'), "%s: %d, '%s'", path, r, note.text);
	T_CHECK((r == 0) == (access(path, F_OK) == 0));
	if (r == 0 || r == -ESTALE)
		return r;
	T_FAIL("%s: %s", path, note.text);
}

/* A raw file back into an image of one process. */
static void import_raw(const struct m_memory *whole, unsigned which, const char *path)
{
	static struct m_memory one;
	struct umem_image_extent extents[M_MAX_REGIONS] = { 0 };
	struct umem_image_import_options options = { .size = sizeof(options),
		.extents = extents, .progress = check_progress };
	struct umem_image_writer *writer;
	struct umem_image *image;
	struct umem_note note = { 0 };
	uint64_t at = 0;

	one = *whole;
	one.n_processes = 1;
	one.processes[0] = whole->processes[which];
	for (unsigned i = 0; i < one.processes[0].n_regions; i++) {
		const struct m_region *region = &one.processes[0].regions[i];
		uint64_t len = region->n_pages * M_PAGE;

		if (region->kind == M_KERNEL)
			continue;
		extents[options.n_extents++] = (struct umem_image_extent){
			one.processes[0].pid, region->start, region->start + len, at };
		at += len;
	}
	/* A raw file without a region is empty, and cannot be read. */
	if (options.n_extents == 0)
		return;
	T_OK(umem_image_create("back.umem", NULL, &writer, NULL));
	if (umem_image_import(writer, "raw", path, &options, &note) < 0)
		T_FAIL("%s: %s", path, note.text);
	T_OK(umem_image_commit(writer, NULL, NULL));
	T_OK(umem_image_reopen(writer, &image, NULL));
	m_compare(&one, image, M_VIEW_RAW);
	umem_image_free(image);
	umem_image_writer_free(writer);
}

static void export_raw(struct umem_image *image, unsigned generation, unsigned which, bool diff)
{
	const struct m_process *process = &memory[generation].processes[which];
	struct umem_image_export_options options = { .pid = process->pid, .diff = diff,
		.unknown_as_zero = true, .extent = put_extent };
	struct umem_image_exported made = { 0 };
	char path[100], list[110];
	FILE *file;
	int r;

	snprintf(path, sizeof(path), "%u-%d.%s", generation, process->pid, diff ? "diff" : "raw");
	snprintf(list, sizeof(list), "%s.extents", path);
	file = fopen(list, "we");
	T_CHECK(file);
	options.user = file;
	r = export(image, "raw", path, &options, &made);
	T_CHECK(fclose(file) == 0);
	T_CHECK(r == 0 || diff);
	if (r != 0)
		T_SYS(unlink(list));
	else if (!diff)
		import_raw(&memory[generation], which, path);
}

static void export_core(struct umem_image *image, unsigned generation, unsigned which, bool embed)
{
	const struct m_process *process = &memory[generation].processes[which];
	struct umem_image_export_options options = { .pid = process->pid,
		.tid = process->pid + (int)process->n_threads - 1, .embed_files = embed };
	char path[100];

	snprintf(path, sizeof(path), "%u-%d%s.core", generation, process->pid,
		embed ? "-embed" : "");
	T_CHECK(export(image, "core", path, &options, NULL) == 0);
}

static void import_criu(unsigned generation, const char *path)
{
	const struct umem_image_import_options options = { .size = sizeof(options),
		.progress = check_progress };
	struct umem_image_writer *writer;
	struct umem_image *image;
	struct umem_note note = { 0 };

	T_OK(umem_image_create("back.umem", NULL, &writer, NULL));
	if (umem_image_import(writer, "criu", path, &options, &note) < 0)
		T_FAIL("%s: %s", path, note.text);
	T_OK(umem_image_commit(writer, NULL, NULL));
	T_OK(umem_image_reopen(writer, &image, NULL));
	m_compare(&memory[generation], image, M_VIEW_CRIU);
	umem_image_free(image);
	umem_image_writer_free(writer);
}

static void export_criu(struct umem_image *image, unsigned generation)
{
	struct umem_image_export_options options = { .unknown_as_zero = true };
	char path[100], before[100];

	snprintf(path, sizeof(path), "%u.criu-whole", generation);
	T_CHECK(export(image, "criu", path, &options, NULL) == 0);
	import_criu(generation, path);
	snprintf(path, sizeof(path), "%u.criu", generation);
	snprintf(before, sizeof(before), "%u.criu", generation - 1);
	options.parent_path = generation > 0 ? before : NULL;
	T_CHECK(export(image, "criu", path, &options, NULL) == 0);
	import_criu(generation, path);
}

static void export_all(struct umem_image *image, unsigned generation)
{
	for (unsigned i = 0; i < memory[generation].n_processes; i++) {
		export_core(image, generation, i, false);
		export_core(image, generation, i, true);
		export_raw(image, generation, i, false);
		if (generation > 0)
			export_raw(image, generation, i, true);
	}
	export_criu(image, generation);
}

/* Nothing but what was asked for: no file of a moment. */
static void check_leftovers(void)
{
	DIR *stream = opendir(".");
	struct dirent *entry;

	T_CHECK(stream);
	while ((entry = readdir(stream)))
		T_CHECK(!strstr(entry->d_name, "umem-tmp"), "left: %s", entry->d_name);
	closedir(stream);
}

int main(int argc, char **argv)
{
	struct umem_image *image = NULL, *next = NULL;
	uint64_t rng;
	bool layout;

	if (argc != 3 || chdir(argv[1]) < 0)
		return 2;
	rng = strtoull(argv[2], NULL, 0);
	layout = t_below(&rng, 2) == 0;
	m_init(&memory[0], &rng);
	for (unsigned i = 0; i < GENERATIONS; i++) {
		char path[20], name[20];

		if (i > 0) {
			memory[i] = memory[i - 1];
			m_step(&memory[i], &rng, layout);
		}
		snprintf(path, sizeof(path), "%u.umem", i);
		snprintf(name, sizeof(name), "%u", i);
		m_write(&memory[i], i > 0 ? &memory[i - 1] : NULL, path, image, &rng);
		image = umem_image_free(image);
		T_OK(umem_image_open(path, NULL, &next, NULL));
		image = next;
		m_compare(&memory[i], image, M_VIEW_IMAGE);
		m_tell(&memory[i], name);
		export_all(image, i);
	}
	umem_image_free(image);
	check_leftovers();
	return 0;
}
