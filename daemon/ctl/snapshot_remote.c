// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * umemctl snapshot by umemd.
 *
 * The file is opened here, without a name, and gets it here when the daemon has put all of
 * it on the disk: whoever dies before leaves nothing. So is the parent, with all its
 * ancestors: the daemon opens nothing by our names. What is to be of another format
 * is exported here, from an image that never has a name.
 */
#include "daemon/ctl/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <umemd/client.h>

#include "lib/base/fd.h"
#include "lib/base/note.h"
#include "lib/store/outfile.h"
#include "lib/store/relname.h"

#define MAX_PARENTS 13u

/**
 * struct remote - one snapshot by the daemon.
 * @s: what is wanted.
 * @client, @target: who takes it, of whom.
 * @file: where it goes.
 * @parents, @n_parents, @parent_name: what it is compared with.
 * @cancelled: the daemon was told to end it.
 */
struct remote {
	struct snapshot *s;
	struct umem_client *client;
	char target[UMEM_CLIENT_TARGET];
	struct umem_outfile file;
	int parents[MAX_PARENTS];
	size_t n_parents;
	char *parent_name;
	bool cancelled;
};

static void remote_deinit(struct remote *m)
{
	/* Waited for, so that nothing is left when we end. */
	if (m->client && m->target[0])
		umem_client_detach(m->client, m->target, NULL);
	umem_client_free(m->client);
	umem_outfile_deinit(&m->file);
	for (size_t i = 0; i < m->n_parents; i++)
		umem_fd_close(m->parents[i]);
	free(m->parent_name);
}

/* One image of the chain, which must not be the one that is to be replaced. */
static int add_parent(struct remote *m, const struct umem_image *image, struct umem_note *note)
{
	const char *path = umem_image_path(image);
	struct stat old, st;
	int fd;

	if (m->n_parents == MAX_PARENTS)
		return umem_note_set(note, -E2BIG, 0, "%s: more than %u images in its chain cannot "
			"be handed to umemd; umemctl image flatten makes one of them, and "
			"umemctl --embedded takes any", m->s->parent_path, MAX_PARENTS);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return umem_note_set(note, -errno, 0, "%s: %s", path, strerror(errno));
	m->parents[m->n_parents++] = fd;
	if (!m->s->take.unnamed && stat(m->s->path, &old) == 0 && fstat(fd, &st) == 0 &&
		old.st_dev == st.st_dev && old.st_ino == st.st_ino)
		return umem_note_set(note, -ELOOP, 0, "%s is the parent, or an ancestor, of the "
			"image that would replace it", m->s->path);
	return 0;
}

static int open_parents(struct remote *m, struct umem_note *note)
{
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	int r;

	if (!m->s->parent_path)
		return 0;
	r = umem_image_open(m->s->parent_path, NULL, &image, note);
	for (struct umem_image *i = image; i && r == 0; i = umem_image_parent(i))
		r = add_parent(m, i, note);
	if (r < 0)
		return r;
	r = umem_relname(m->s->path, m->s->parent_path, &m->parent_name);
	return r < 0 ? umem_note_set(note, r, 0, "%s: its parent has no name that can be found",
		m->s->path) : 0;
}

/* Have the daemon end it, by another connection, and wait for that. */
static bool cancel(struct remote *m)
{
	struct umem_client *other;
	bool done;

	if (umem_client_connect(m->s->options->connect, &other, NULL) < 0)
		return false;
	done = umem_client_cancel_snapshot(other, m->target, NULL) == 0;
	umem_client_free(other);
	return done;
}

/* Return: true to break the connection off, which is what is left when it cannot be told. */
static bool see_progress(void *user, const struct umem_snapshot_progress *progress)
{
	struct remote *m = user;
	bool stop = progress->round ? snapshot_see_progress(m->s, progress) :
		ctl_progress_step(&m->s->progress, 0, 0);

	if (!stop || m->cancelled)
		return false;
	m->cancelled = cancel(m);
	return !m->cancelled;
}

static int take(struct remote *m, const struct umem_snapshot **ret_taken, struct umem_note *note)
{
	const struct umem_client_snapshot_options options = {
		.size = sizeof(options),
		.output_fd = m->file.fd,
		.name = m->s->path,
		.method = m->s->take.method,
		.parents = m->parents,
		.n_parents = m->n_parents,
		.parent_name = m->parent_name,
		.codec = m->s->take.codec,
		.regions = m->s->take.regions,
		.n_regions = m->s->take.n_regions,
		.tree = m->s->take.tree,
		.progress = see_progress,
		.user = m,
	};
	int r = umem_client_snapshot(m->client, m->target, &options, ret_taken, note);

	return r == 0 ? umem_outfile_commit(&m->file, note) : r;
}

/* What has another format, from the image without a name. */
static int export(struct remote *m, struct umem_note *note)
{
	UMEM_CLEANUP(umem_image_freep) struct umem_image *image = NULL;
	int r;

	if (!m->s->take.unnamed)
		return 0;
	r = umem_image_open_fd(m->file.fd, NULL, NULL, &image, note);
	return r == 0 ? snapshot_export(m->s, image, m->s->path, note) : r;
}

int snapshot_remote(struct snapshot *s, bool *ret_there, struct umem_note *note)
{
	UMEM_CLEANUP(remote_deinit) struct remote m = { .s = s, .file = UMEM_OUTFILE_NONE };
	const struct umem_snapshot *taken;
	int r = open_parents(&m, note);

	if (r == 0)
		r = umem_client_connect(s->options->connect, &m.client, note);
	if (r == 0)
		r = umem_client_open(m.client, s->pid, NULL, m.target, note);
	if (r != 0)
		return r;
	*ret_there = true;
	r = umem_outfile_open(s->path, 0600, s->take.unnamed, false, &m.file, note);
	if (r == 0)
		r = take(&m, &taken, note);
	if (r == 0)
		r = export(&m, note);
	return r == 0 ? snapshot_print_done(s, s->path, taken) : r;
}
