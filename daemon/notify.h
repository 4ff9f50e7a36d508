/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The service manager that started us, if one did: it is told how we are, gives us the
 * sockets that it listens at, and keeps descriptors over a restart; and its journal. The
 * only user of libsystemd; without it nobody is there (notify_none.c).
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/** notify_is_there - does anybody hear us? */
bool notify_is_there(void);

/** notify_ready, notify_stopping - we serve; we are about to end. */
void notify_ready(const char *status);
void notify_stopping(void);

/** notify_reload - the configuration is being read anew; followed by notify_ready(). */
void notify_reload(void);

/** notify_alive_ns - how often notify_alive() is expected; 0 for never. */
uint64_t notify_alive_ns(void);
void notify_alive(void);

/** notify_keep - have a duplicate of @fd kept under @name, whatever becomes of us. */
void notify_keep(const char *name, int fd);

/** notify_drop - what is kept under @name is not needed any more. */
void notify_drop(const char *name);

/**
 * notify_take - the descriptors that we were started with; only the first call finds any.
 * @take: owns @fd. Return: 0 or -errno.
 */
int notify_take(void (*take)(void *user, const char *name, int fd), void *user);

/**
 * notify_journal - an entry of the journal.
 * @fields: KEY=value each.
 * Return: false when it did not take it.
 */
bool notify_journal(const struct iovec *fields, int n);

/** notify_is_listener - is @fd a stream socket that listens? */
bool notify_is_listener(int fd);

#endif
