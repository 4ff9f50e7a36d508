// SPDX-License-Identifier: LGPL-2.1-or-later
/* What umemd tells its operator. */
#include "daemon/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daemon/notify.h"

#define TEXT_BYTES 1024

static enum log_level limit = LOG_LEVEL_NOTICE;

void log_set_level(enum log_level level)
{
	limit = level;
}

/* As umemd(8) lists them; each is a number that nobody else has. */
static const char *const ids[LOG_N_EVENTS] = {
	[LOG_DENIED] = "d189f05ae8974f87b6343a62b190eaf6",
	[LOG_WORKER_DIED] = "0fa6c391e9714060a5cff1fb593b78cb",
	[LOG_GIVEN_UP] = "04dcee6a336e4d559f921a2ec7f055f5",
	[LOG_TARGET_CAME] = "35c74024bf074bca8b3816589432845a",
	[LOG_TARGET_WENT] = "66af5555f9bb4a9cb37703893c664797",
};

/* Processes choose their names, and clients their fields. */
static void clean(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

/* A service manager takes the number off; a terminal is spared it. */
static void print(enum log_level level, const char *text)
{
	if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "<%d>%s\n", (int)level, text);
	else
		fprintf(stderr, "umemd: %s\n", text);
}

static void format(char text[TEXT_BYTES], const char *fmt, va_list args)
	__attribute__((format(printf, 2, 0)));
static void format(char text[TEXT_BYTES], const char *fmt, va_list args)
{
	vsnprintf(text, TEXT_BYTES, fmt, args);
	clean(text);
}

void log_say(enum log_level level, const char *fmt, ...)
{
	char text[TEXT_BYTES];
	va_list args;

	if (level > limit)
		return;
	va_start(args, fmt);
	format(text, fmt, args);
	va_end(args);
	print(level, text);
}

/* Is stderr what the journal reads, and not where somebody led it since? See systemd.exec(5). */
static bool is_journal(void)
{
	const char *word = getenv("JOURNAL_STREAM");
	unsigned long long dev, inode;
	struct stat st;

	return word && sscanf(word, "%llu:%llu", &dev, &inode) == 2 &&
		fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == inode;
}

static bool to_journal(enum log_level level, enum log_event event, const struct log_about *about,
	const char *text)
{
	char fields[6][TEXT_BYTES + 16];
	struct iovec parts[6];
	int n = 0;

	snprintf(fields[n++], sizeof(fields[0]), "MESSAGE=%s", text);
	snprintf(fields[n++], sizeof(fields[0]), "MESSAGE_ID=%s", ids[event]);
	snprintf(fields[n++], sizeof(fields[0]), "PRIORITY=%d", (int)level);
	snprintf(fields[n++], sizeof(fields[0]), "UMEMD_PID=%d", (int)about->pid);
	snprintf(fields[n++], sizeof(fields[0]), "UMEMD_UID=%u", (unsigned)about->uid);
	if (about->target)
		snprintf(fields[n++], sizeof(fields[0]), "UMEMD_TARGET=%s", about->target);
	for (int i = 0; i < n; i++)
		parts[i] = (struct iovec){ fields[i], strlen(fields[i]) };
	return notify_journal(parts, n);
}

void log_say_event(enum log_level level, enum log_event event, const struct log_about *about,
	const char *fmt, ...)
{
	char text[TEXT_BYTES];
	va_list args;

	if (level > limit)
		return;
	va_start(args, fmt);
	format(text, fmt, args);
	va_end(args);
	if (!is_journal() || !to_journal(level, event, about, text))
		print(level, text);
}
