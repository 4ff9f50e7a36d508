// SPDX-License-Identifier: LGPL-2.1-or-later
/* Formats of other programs: the table, and what an export or import begins with. */
#include "lib/store/export.h"

#include <errno.h>
#include <string.h>

#include "lib/base/note.h"

static const struct umem_export_format formats[] = {
	{
		.public = { .name = "core", .title = "ELF core file, for debuggers" },
		.takes = UMEM_EXPORT_TAKES_PID | UMEM_EXPORT_TAKES_TID | UMEM_EXPORT_TAKES_EMBED,
		.export = umem_core_export,
	},
	{
		.public = { .name = "criu", .title = "directory of CRIU images", .imports = true },
		.takes = UMEM_EXPORT_TAKES_PARENT | UMEM_EXPORT_TAKES_UNKNOWN,
		.export = umem_criu_export,
		.import = umem_criu_import,
	},
	{
		.public = { .name = "raw", .title = "memory without a header, for virtual machine "
			"monitors", .imports = true },
		.takes = UMEM_EXPORT_TAKES_PID | UMEM_EXPORT_TAKES_REGIONS |
			UMEM_EXPORT_TAKES_DIFF | UMEM_EXPORT_TAKES_UNKNOWN,
		.export = umem_raw_export,
		.import = umem_raw_import,
	},
};

const struct umem_image_format *umem_image_format(size_t index)
{
	return index < UMEM_ARRAY_LEN(formats) ? &formats[index].public : NULL;
}

static const struct umem_export_format *find(const char *name)
{
	for (size_t i = 0; i < UMEM_ARRAY_LEN(formats); i++) {
		if (strcmp(formats[i].public.name, name) == 0)
			return &formats[i];
	}
	return NULL;
}

/* An option that a format would silently not heed is refused. */
static int check_options(const struct umem_export_format *format,
	const struct umem_image_export_options *options, struct umem_note *note)
{
	const struct {
		bool given;
		unsigned bit;
		const char *name;
	} v[] = {
		{ options->pid != 0, UMEM_EXPORT_TAKES_PID, "one process" },
		{ options->tid != 0, UMEM_EXPORT_TAKES_TID, "a first thread" },
		{ options->n_regions > 0, UMEM_EXPORT_TAKES_REGIONS, "chosen regions" },
		{ options->diff, UMEM_EXPORT_TAKES_DIFF, "a difference" },
		{ options->parent_path != NULL, UMEM_EXPORT_TAKES_PARENT, "a parent" },
		{ options->embed_files, UMEM_EXPORT_TAKES_EMBED, "embedded files" },
		{ options->unknown_as_zero, UMEM_EXPORT_TAKES_UNKNOWN, "unknown pages as zeros" },
	};

	for (size_t i = 0; i < UMEM_ARRAY_LEN(v); i++) {
		if (v[i].given && !(format->takes & v[i].bit))
			return umem_note_set(note, -EINVAL, 0, "format %s does not have %s",
				format->public.name, v[i].name);
	}
	for (size_t i = 0; i < options->n_regions; i++) {
		const struct umem_range *range = &options->regions[i];

		if (range->start >= range->end || (i > 0 && range->start < range[-1].end))
			return umem_note_set(note, -EINVAL, range->start,
				"the chosen regions are not ascending and disjoint");
	}
	return 0;
}

int umem_image_export(struct umem_image *image, const char *format_name, const char *path,
	const struct umem_image_export_options *options,
	struct umem_image_exported *ret_exported, struct umem_note *note)
{
	const struct umem_export_format *format = find(format_name);
	struct umem_export job = { .image = image, .path = path, .note = note };
	UMEM_FREE uint8_t *buf = NULL;
	int r;

	umem_note_clear(note);
	if (!format)
		return umem_note_set(note, -EINVAL, 0, "there is no format '%s'", format_name);
	if (options)
		memcpy(&job.options, options, options->size < sizeof(job.options) ?
			options->size : sizeof(job.options));
	r = check_options(format, &job.options, note);
	if (r < 0)
		return r;
	buf = malloc(UMEM_EXPORT_CHUNK);
	if (!buf)
		return -ENOMEM;
	job.buf = buf;
	r = format->export(&job);
	if (r == 0 && ret_exported)
		*ret_exported = job.out;
	return r;
}

int umem_image_import(struct umem_image_writer *writer, const char *format_name,
	const char *path, const struct umem_image_import_options *options,
	struct umem_note *note)
{
	const struct umem_export_format *format = find(format_name);
	struct umem_import job = { .writer = writer, .path = path, .note = note };
	UMEM_FREE uint8_t *buf = NULL;

	umem_note_clear(note);
	if (!format || !format->import)
		return umem_note_set(note, -EINVAL, 0, "format '%s' cannot be imported",
			format_name);
	if (options)
		memcpy(&job.options, options, options->size < sizeof(job.options) ?
			options->size : sizeof(job.options));
	buf = malloc(UMEM_EXPORT_CHUNK);
	if (!buf)
		return -ENOMEM;
	job.buf = buf;
	return format->import(&job);
}
