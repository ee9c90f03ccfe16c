/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lib/directed.h - what programs of directed tests share: each test is a function that runs in a process of its
 * own, with tag checks on, and ends it with a reason if something is wrong
 */
#ifndef TESTS_DIRECTED_H
#define TESTS_DIRECTED_H

#include "common.h"

#define RW		(PROT_READ | PROT_WRITE)
#define TRIES		300	/* bounds waiting for what the kernel does on its own; 0.1 s each */

/* Exit statuses of a test's process */
enum { PASSED, FAILED, SKIPPED = 4 };

/* End the test's process; the reason goes to the main process. */
__attribute__((noreturn, format(printf, 2, 3)))
void finish(int status, const char *format, ...);

#define fail(...)	finish(FAILED, __VA_ARGS__)
#define skip(...)	finish(SKIPPED, __VA_ARGS__)

/* Two processes that take turns. */
struct turns {
	int to_child[2], to_parent[2];
	pid_t child;
};

char *map(size_t pages, int prot);
/* A file in memory, of @pages. */
int make_file(size_t pages);
char *map_file(int file, size_t pages, int prot, int flags);
/* Address space of one huge page, without its memory yet. */
char *map_huge(int prot);
void protect(void *address, size_t pages, int prot);
/* Entry @index of a file of 64-bit words. */
uint64_t read_entry(const char *path, uint64_t index);
/* Has this page a flag of /proc/kpageflags? */
bool page_has(uint64_t pfn, unsigned int flag);
uint64_t pagemap_entry(pid_t pid, const void *address);
/* How many of these pages are in swap, and nowhere else that the process can see. */
size_t swapped(pid_t pid, const char *memory, size_t pages);
bool is_huge(const void *address);
void expect_huge(const void *address, bool huge);
/* By way of debugfs, again while somebody holds a reference for a moment: the kernel splits if nobody does. */
void split_huge(const char *memory);
/*
 * What the tests write: tag and data of a granule depend on its address relative to the memory's start and
 * on a number, so that a copy at another place or of another version is noticed.
 */
unsigned int tag_for(size_t granule, unsigned int version);
uint64_t word_for(size_t word, unsigned int version);
void write_data(char *memory, size_t first, size_t pages, unsigned int version);
void write_tags(char *memory, size_t first, size_t pages, unsigned int version);
void expect_data(const char *memory, size_t first, size_t pages, unsigned int version);
/* Reads each granule with the pointer that belongs to it as well. */
void expect_tags(const char *memory, size_t first, size_t pages, unsigned int version);
/*
 * A private copy of a tagged file, in a mapping without PROT_MTE: its data is of version 2, and the tags of version 1,
 * which are the file's, can be seen from now on.
 */
void expect_tags_of_copy(char *memory, size_t pages);
void expect_no_tags(const char *memory, size_t first, size_t pages);
void expect_zeros(const char *memory, size_t first, size_t pages);
void write_all(char *memory, size_t first, size_t pages, unsigned int version);
void expect_all(const char *memory, size_t first, size_t pages, unsigned int version);
/* Every CPU's batches of pages, which hold references. */
void empty_batches(void);
/* Waits until a number of all regions is not more than @before: what was freed on another CPU takes its time. */
void expect_back(const char *name, uint64_t before);
/* Waits while it is nowhere, which a page is for the time that the kernel migrates it: for compaction, say. */
int node_of(const void *address);
/* Returns true in the child. */
bool start_child(struct turns *t);
void give(int pipe);
/* The other process is gone if it failed; then that is the reason. */
void take(int pipe);
/* From the parent to the child and back; the child calls the second of them. */
void let_child(struct turns *t);
void let_parent(struct turns *t);
void end_child(struct turns *t);
void short_sleep(void);

/* Waits for its turn before the child's code, and ends it. */
#define CHILD(t, code)						\
	do {							\
		if (start_child(t)) {				\
			close((t)->to_child[1]);		\
			close((t)->to_parent[0]);		\
			take((t)->to_child[0]);			\
			code;					\
			_exit(PASSED);				\
		}						\
		close((t)->to_child[0]);			\
		close((t)->to_parent[1]);			\
	} while (0)

struct directed_test {
	const char *name;
	void (*function)(void);
};

/*
 * Runs the tests that the arguments name, or all. Prints "ok - NAME", "not ok - NAME: WHY" or
 * "skip - NAME: WHY" for each. Returns what main() returns: 0 if none failed, else 1.
 */
int directed_tests(const struct directed_test *tests, size_t count, int argc, char **argv);

#endif /* TESTS_DIRECTED_H */
