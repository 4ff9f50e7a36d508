// SPDX-License-Identifier: LGPL-2.1-or-later
/* Names of files relative to the folder of another file. */
#include "lib/store/relname.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/attr.h"

/* The real path of the folder of @path. */
static char *real_folder(const char *path)
{
	UMEM_FREE char *folder = strdup(path);
	char *slash;

	if (!folder)
		return NULL;
	slash = strrchr(folder, '/');
	if (!slash)
		return realpath(".", NULL);
	slash[slash == folder ? 1 : 0] = '\0';
	return realpath(folder, NULL);
}

/* Length of the folders that both paths begin with, with the last slash. */
static size_t common(const char *a, const char *b)
{
	size_t n = 0;

	for (size_t i = 0; a[i] != '\0' && a[i] == b[i]; i++) {
		if (a[i] == '/')
			n = i + 1;
	}
	return n;
}

int umem_relname(const char *from, const char *to, char **ret_name)
{
	UMEM_FREE char *folder = real_folder(from), *real = realpath(to, NULL);
	UMEM_FREE char *base = NULL, *name = NULL;
	size_t same, len, ups = 0;
	char *at;

	if (!folder || !real)
		return errno ? -errno : -ENOMEM;
	if (asprintf(&base, "%s/", strcmp(folder, "/") == 0 ? "" : folder) < 0) {
		base = NULL;
		return -ENOMEM;
	}
	same = common(base, real);
	for (const char *p = base + same; *p; p++)
		ups += *p == '/';
	/* Only the root in common: they will hardly be moved together. */
	if (same == 1 && ups > 0) {
		*ret_name = UMEM_TAKE_PTR(real);
		return 0;
	}
	len = strlen(real + same);
	name = malloc(3 * ups + len + 1);
	if (!name)
		return -ENOMEM;
	at = name;
	while (ups-- > 0)
		at = mempcpy(at, "../", 3);
	memcpy(at, real + same, len + 1);
	*ret_name = UMEM_TAKE_PTR(name);
	return 0;
}

int umem_relname_join(const char *from, const char *name, char **ret_path)
{
	const char *slash = strrchr(from, '/');
	int n = name[0] == '/' || !slash ? 0 : (int)(slash + 1 - from);

	if (asprintf(ret_path, "%.*s%s", n, from, name) < 0)
		return -ENOMEM;
	return 0;
}
