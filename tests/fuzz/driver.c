// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Runs a fuzz target without libFuzzer: the files given (or the files of a
 * directory), each as it is and then in mutations from a seed. The environment
 * has SEED, and FUZZ_ROUNDS (mutations a file, 3000). An input that fails is
 * left as fuzz-failed.bin in the working directory.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "tests/lib/harness.h"

#define INPUT_MAX 65536u

static uint8_t *input;
static size_t input_len;

/* Keep the input that killed us; only async-signal-safe calls. */
static void on_signal(int sig)
{
	int fd = open("fuzz-failed.bin", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd >= 0 && write(fd, input, input_len) < 0)
		_exit(3);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* An exact heap copy, so that a sanitizer sees the end of the input. */
static void run(const uint8_t *data, size_t len)
{
	free(input);
	input = malloc(len ? len : 1);
	T_CHECK(input);
	input_len = len;
	if (len)
		memcpy(input, data, len);
	T_CHECK(LLVMFuzzerTestOneInput(input, len) == 0);
}

static const char *const words[] = {
	"0", "-", ":", "/", " ", "\n", "\t", "<none>", "0x", "ffffffffffffffff", "\\012",
	"18446744073709551615", "18446744073709551616", "UserBufs:\t1\n", "VmPin:\t", "kB",
	"K", "M", "G", "T", "ns", "us", "ms", "s", "m", ".", ")", "(", "r--p", "\xff",
	"{", "}", "[", "]", "\"", ",", "{\"a\":", "?[]", "\\u0000",
};

static size_t mutate(uint64_t *rng, uint8_t *data, size_t len)
{
	size_t at = t_below(rng, len + 1), n = 1 + t_below(rng, 16);
	const char *word = words[t_below(rng, UMEM_ARRAY_LEN(words))];

	switch (t_below(rng, 6)) {
	case 0: /* another byte */
		if (at < len)
			data[at] = (uint8_t)t_rand(rng);
		return len;
	case 1: /* one bit */
		if (at < len)
			data[at] ^= (uint8_t)(1u << t_below(rng, 8));
		return len;
	case 2: /* cut off */
		return at;
	case 3: /* take out */
		n = n > len - at ? len - at : n;
		memmove(data + at, data + at + n, len - at - n);
		return len - n;
	case 4: /* a word in between */
		n = strlen(word);
		if (len + n > INPUT_MAX)
			return len;
		memmove(data + at + n, data + at, len - at);
		memcpy(data + at, word, n);
		return len + n;
	default: /* a part doubled */
		n = n > len - at ? len - at : n;
		if (len + n > INPUT_MAX)
			return len;
		memmove(data + at + n, data + at, len - at);
		return len + n;
	}
}

static unsigned n_inputs;

static void run_file(int dirfd, const char *name, uint64_t *rng, unsigned long rounds)
{
	UMEM_FREE char *text = NULL;
	UMEM_FREE uint8_t *copy = malloc(INPUT_MAX);
	size_t len;

	T_OK(umem_read_file(dirfd, name, INPUT_MAX, &text, &len));
	run((uint8_t *)text, len);
	for (unsigned long i = 0; i < rounds; i++) {
		size_t n = len, steps = 1 + t_below(rng, 6);

		memcpy(copy, text, len);
		while (steps--)
			n = mutate(rng, copy, n);
		run(copy, n);
	}
	n_inputs++;
}

int main(int argc, char **argv)
{
	const char *given = getenv("FUZZ_ROUNDS");
	unsigned long rounds = given ? strtoul(given, NULL, 10) : 3000;
	uint64_t rng = t_seed();

	signal(SIGILL, on_signal);
	signal(SIGTRAP, on_signal);
	signal(SIGSEGV, on_signal);
	signal(SIGABRT, on_signal);
	run(NULL, 0);
	for (int i = 1; i < argc; i++) {
		struct dirent *entry;
		DIR *dir = opendir(argv[i]);

		if (!dir) {
			run_file(AT_FDCWD, argv[i], &rng, rounds);
			continue;
		}
		while ((entry = readdir(dir))) {
			if (entry->d_name[0] != '.')
				run_file(dirfd(dir), entry->d_name, &rng, rounds);
		}
		closedir(dir);
	}
	printf("%u files, %lu mutations each\n", n_inputs, rounds);
	free(input);
	return n_inputs ? 0 : 1;
}
