// SPDX-License-Identifier: LGPL-2.1-or-later
/* The service manager that started us: systemd, by libsystemd. */
#include "daemon/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

/* Where in the source is of no use to who reads it. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

bool notify_is_there(void)
{
	return getenv("NOTIFY_SOCKET") != NULL;
}

void notify_ready(const char *status)
{
	sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_stopping(void)
{
	sd_notify(0, "STOPPING=1");
}

void notify_reload(void)
{
	sd_notify(0, "RELOADING=1");
}

uint64_t notify_alive_ns(void)
{
	uint64_t us = 0;

	/* Twice as often as it has to be. */
	return sd_watchdog_enabled(0, &us) > 0 ? us * 500 : 0;
}

void notify_alive(void)
{
	sd_notify(0, "WATCHDOG=1");
}

void notify_keep(const char *name, int fd)
{
	char text[128];

	/* A userfaultfd polls as an error, which would have it closed. */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	if (notify_is_there())
		sd_pid_notify_with_fds(0, 0, text, &fd, 1);
}

void notify_drop(const char *name)
{
	sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

int notify_take(void (*take)(void *user, const char *name, int fd), void *user)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	for (int i = 0; i < n; i++) {
		take(user, names[i], SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	free(names);
	return n < 0 ? n : 0;
}

bool notify_journal(const struct iovec *fields, int n)
{
	return sd_journal_sendv(fields, n) == 0;
}

bool notify_is_listener(int fd)
{
	return sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0;
}
