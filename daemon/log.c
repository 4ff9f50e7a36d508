// SPDX-License-Identifier: LGPL-2.1-or-later
/* What umemd tells its operator. */
#include "daemon/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static enum log_level limit = LOG_LEVEL_NOTICE;

void log_set_level(enum log_level level)
{
	limit = level;
}

void log_say(enum log_level level, const char *fmt, ...)
{
	char text[1024];
	va_list args;

	if (level > limit)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	/* Processes choose their names, and clients their fields. */
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
	/* A service manager takes the number off; a terminal is spared it. */
	if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "<%d>%s\n", (int)level, text);
	else
		fprintf(stderr, "umemd: %s\n", text);
}
