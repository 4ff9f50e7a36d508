// SPDX-License-Identifier: LGPL-2.1-or-later
/* Output of umemctl: errors with their exit codes, numbers for people. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/ctl/ctl.h"
#include "lib/base/parse.h"

int ctl_usage(const char *verb, const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "umemctl: %s: ", verb);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\nTry 'umemctl %s --help'.\n", verb);
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

	if (!text[0])
		text = result == UMEM_GONE ? "the target ended" : strerror(-result);
	fflush(stdout);
	fprintf(stderr, "umemctl: %s: %s\n", verb, text);
	return ctl_exit_of(result);
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

int ctl_flush(void)
{
	return fflush(stdout) == EOF || ferror(stdout) ? -EIO : 0;
}
