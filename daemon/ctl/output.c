// SPDX-License-Identifier: LGPL-2.1-or-later
/* Output of umemctl: errors with their exit codes, numbers for people. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "daemon/ctl/ctl.h"
#include "lib/base/parse.h"

int ctl_usage(const char *verb, const char *fmt, ...)
{
	char text[512], clean[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fprintf(stderr, "umemctl: %s: %s\nTry 'umemctl %s --help'.\n", verb,
		ctl_clean(clean, sizeof(clean), text, 0), verb);
	return CTL_USAGE;
}

enum ctl_exit ctl_exit_of(int result)
{
	switch (result) {
	case 0:
		return CTL_DONE;
	case UMEM_GONE:
	case -ESRCH:
		return CTL_GONE;
	case -EINVAL:
		return CTL_USAGE;
	case -ENOSYS:
	case -ENOTTY:
		return CTL_KERNEL;
	case -EPERM:
	case -EACCES:
		return CTL_PERMISSION;
	default:
		return CTL_FAILED;
	}
}

int ctl_failed(const char *verb, int result, const struct umem_note *note)
{
	const char *text = note->text;
	char clean[sizeof(note->text)];

	if (!text[0])
		text = result == UMEM_GONE ? "the target ended" : strerror(-result);
	fflush(stdout);
	/* It may name a process, and processes choose their names. */
	fprintf(stderr, "umemctl: %s: %s\n", verb, ctl_clean(clean, sizeof(clean), text, 0));
	return ctl_exit_of(result);
}

/* Has the reader of our output gone away? */
static bool reader_gone(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO };

	return poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP));
}

int ctl_ended(const char *verb, int result, const struct umem_note *note)
{
	if (!ferror(stdout))
		return ctl_failed(verb, result, note);
	if (reader_gone())
		return CTL_DONE;
	fprintf(stderr, "umemctl: %s: the output could not be written: is the disk full?\n", verb);
	return CTL_FAILED;
}

int ctl_pid(const char *verb, const char *word, int *ret_pid)
{
	uint64_t pid;

	if (!word)
		return ctl_usage(verb, "give the id of a process");
	if (umem_parse_u64(word, &pid) < 0 || pid == 0 || pid > INT32_MAX)
		return ctl_usage(verb, "\"%s\" is not a process id", word);
	*ret_pid = (int)pid;
	return CTL_DONE;
}

struct umem_attach_options ctl_attach_options(void)
{
	return (struct umem_attach_options){
		.size = sizeof(struct umem_attach_options),
		.feature_override = getenv("UMEM_FEATURES"),
	};
}

/* Three significant digits and a unit. */
static void scaled(char buf[16], double value, const char *unit)
{
	int digits = value < 10 ? 2 : value < 100 ? 1 : 0;

	snprintf(buf, 16, "%.*f%s", digits, value, unit);
}

const char *ctl_size(char buf[16], uint64_t bytes)
{
	static const char *const units[] = { "", "K", "M", "G", "T", "P", "E" };
	double value = (double)bytes;
	size_t unit = 0;

	for (; value >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
		value /= 1024;
	if (unit == 0)
		snprintf(buf, 16, "%llu", (unsigned long long)bytes);
	else
		scaled(buf, value, units[unit]);
	return buf;
}

const char *ctl_time(char buf[16], uint64_t ns)
{
	if (ns < 1000)
		snprintf(buf, 16, "%lluns", (unsigned long long)ns);
	else if (ns < 1000000)
		scaled(buf, (double)ns / 1e3, "us");
	else if (ns < 1000000000)
		scaled(buf, (double)ns / 1e6, "ms");
	else
		scaled(buf, (double)ns / 1e9, "s");
	return buf;
}

int ctl_width(void)
{
	const char *given = getenv("COLUMNS");
	struct winsize size;
	uint64_t columns;

	if (given && umem_parse_u64(given, &columns) == 0 && columns >= 20 && columns < 10000)
		return (int)columns;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
		return size.ws_col;
	return 0;
}

/*
 * Characters of three bytes that change how others are shown: separators of lines,
 * marks that turn the direction of a line around, and what has no width at all.
 */
static bool shifts_others(const unsigned char *s)
{
	unsigned code = (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);

	return (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
		(code >= 0x2060 && code <= 0x206f) || code == 0xfeff;
}

/* Length of the printable character at @s in UTF-8; 0 if it is none. */
static size_t printable(const unsigned char *s)
{
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 :
							      s[0] < 0xf5 ? 4 : 0;

	if (s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0))
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return len == 3 && shifts_others(s) ? 0 : len;
}

const char *ctl_clean(char *buf, size_t size, const char *text, int width)
{
	size_t len = strlen(text), n = 0;
	bool cut = width > 3 && len > (size_t)width;

	if (cut) {
		text += len - ((size_t)width - 3);
		/* Not in the middle of a character. */
		while (((unsigned char)*text & 0xc0) == 0x80)
			text++;
		n = (size_t)snprintf(buf, size, "...");
	}
	while (*text && n + 4 < size) {
		size_t step = printable((const unsigned char *)text);

		if (step == 0) {
			buf[n++] = '?';
			text++;
			continue;
		}
		memcpy(buf + n, text, step);
		n += step;
		text += step;
	}
	buf[n] = '\0';
	return buf;
}

void ctl_wrap(const char *text, int column, int indent)
{
	int width = ctl_width();
	bool first = true;

	while (*text) {
		int len = (int)strcspn(text, " ");

		if (!first && width && column + 1 + len > width) {
			printf("\n%*s", indent, "");
			column = indent;
		} else if (!first) {
			putchar(' ');
			column++;
		}
		printf("%.*s", len, text);
		column += len;
		text += len;
		text += strspn(text, " ");
		first = false;
	}
	putchar('\n');
}

struct umem_json *ctl_json_ranges(const struct umem_ranges *ranges)
{
	struct umem_json *list = umem_json_array();

	for (size_t i = 0; i < ranges->n; i++) {
		struct umem_json *item = umem_json_object();

		umem_json_set_addr(item, "start", ranges->v[i].start);
		umem_json_set_addr(item, "end", ranges->v[i].end);
		umem_json_append_consume(list, item);
	}
	return list;
}

struct umem_json *ctl_json_reasons(const struct umem_reason *v, size_t n)
{
	struct umem_json *list = umem_json_array();

	for (size_t i = 0; i < n; i++) {
		struct umem_json *item = umem_json_object();

		umem_json_set_addr(item, "start", v[i].start);
		umem_json_set_addr(item, "end", v[i].end);
		umem_json_set_text(item, "reason", v[i].reason);
		umem_json_append_consume(list, item);
	}
	return list;
}

void ctl_print_reason(const char *title, const struct umem_reason *reason)
{
	char text[512];
	int column;

	if (reason->end == UINT64_MAX)
		column = printf("  %s", title);
	else
		column = printf("  %s%#llx-%#llx: ", title, (unsigned long long)reason->start,
			(unsigned long long)reason->end);
	ctl_wrap(ctl_clean(text, sizeof(text), reason->reason, 0), column, 4);
}

int ctl_signals(int *ret_fd)
{
	sigset_t mask;
	int fd;

	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int ctl_flush(void)
{
	return fflush(stdout) == EOF || ferror(stdout) ? -EIO : 0;
}
