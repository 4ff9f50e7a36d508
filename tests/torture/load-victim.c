// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A process that writes memory, to be loaded upon.
 *
 * load-victim N busy|calm: prints "ready START", and then answers each line on stdin:
 * "write PAGE..." when these pages were written, "check" when all pages hold what was
 * written. A busy one writes by itself, too. End of file ends it.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PAGE 4096u

static uint64_t *at;
static uint64_t *generations;
static uint64_t n_pages;

/* Each word of a page tells where it is, and when it was written. */
static void write_page(uint64_t page)
{
	uint64_t gen = ++generations[page];

	for (uint64_t i = 0; i < PAGE / 8; i++)
		at[page * (PAGE / 8) + i] = page << 40 | gen << 10 | i;
}

static int check_page(uint64_t page)
{
	for (uint64_t i = 0; i < PAGE / 8; i++)
		if (at[page * (PAGE / 8) + i] != (page << 40 | generations[page] << 10 | i))
			return 0;
	return 1;
}

static void obey(char *line)
{
	char *word = strtok(line, " \n");

	if (word && strcmp(word, "write") == 0)
		while ((word = strtok(NULL, " \n")))
			write_page(strtoull(word, NULL, 10) % n_pages);
	for (uint64_t page = 0; page < n_pages; page++) {
		if (!check_page(page)) {
			printf("bad page %llu\n", (unsigned long long)page);
			return;
		}
	}
	puts("ok");
}

int main(int argc, char **argv)
{
	struct pollfd pfd = { .fd = STDIN_FILENO, .events = POLLIN };
	int busy = argc > 2 && strcmp(argv[2], "busy") == 0;
	uint64_t next = 0;
	char line[1024];

	n_pages = argc > 1 ? strtoull(argv[1], NULL, 10) : 64;
	generations = calloc(n_pages, sizeof(*generations));
	at = mmap(NULL, n_pages * PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1,
		0);
	if (at == MAP_FAILED || !generations)
		return 1;
	/* A mapping of its own, with no neighbour that it could merge with. */
	madvise(at, n_pages * PAGE, MADV_NOHUGEPAGE);
	prctl(PR_SET_NAME, "load-victim");
	for (uint64_t page = 0; page < n_pages; page++)
		write_page(page);
	setvbuf(stdin, NULL, _IONBF, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready %llx\n", (unsigned long long)(uintptr_t)at);
	for (;;) {
		if (poll(&pfd, 1, busy ? 10 : -1) == 0) {
			write_page(next++ % n_pages);
			write_page(next * 37 % n_pages);
			continue;
		}
		if (!fgets(line, sizeof(line), stdin))
			return 0;
		obey(line);
	}
}
