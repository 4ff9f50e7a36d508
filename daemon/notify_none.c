// SPDX-License-Identifier: LGPL-2.1-or-later
/* No service manager: umemd runs for itself. */
#include "daemon/notify.h"

bool notify_is_there(void)
{
	return false;
}

void notify_ready(const char *status)
{
}

void notify_stopping(void)
{
}

void notify_reload(void)
{
}

uint64_t notify_alive_ns(void)
{
	return 0;
}

void notify_alive(void)
{
}

void notify_keep(const char *name, int fd)
{
}

void notify_drop(const char *name)
{
}

int notify_take(void (*take)(void *user, const char *name, int fd), void *user)
{
	return 0;
}

bool notify_journal(const struct iovec *fields, int n)
{
	return false;
}

bool notify_is_listener(int fd)
{
	return false;
}
