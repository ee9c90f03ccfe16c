// SPDX-License-Identifier: GPL-2.0
/*
 * obstruct/obstruct.c - a hostile process that holds memory on tag storage in as many ways as it can
 *
 * usage: obstruct METHOD... [--mib N] [--leave MIB] [--ready PATH] [--exact] | obstruct --list
 *
 *   METHOD        a way to keep pages where they are: one of those that --list names (see methods.h), each in a
 *                 process of its own with user id 65534
 *   --mib N       memory of all methods together (default: as much as there is tag storage)
 *   --leave MIB   ordinary memory that is free in the end (default: 96)
 *   --ready PATH  makes this file when all is held
 *   --exact       time is instructions: who waits is judged by what it does meanwhile
 *
 * Ordinary memory is filled with a file in memory first, so that the methods get what is left: tag storage. What
 * they leave of that is filled with data that can be moved. Then ordinary memory is freed again, half in whole huge
 * pages, half scattered, and the methods take their references. SIGTERM ends it: all data is verified.
 *
 * Prints for each method how many pages it has, how many of them it got hold of, and how many lie on tag storage,
 * when all is ready and at the end; and how many pages of tag storage hold anything but anonymous memory, before, too.
 * "skip - METHOD: WHY" if the kernel or the machine lacks something.
 * Required: each method gets hold of something; some of its memory was lent before (of many methods, each with little
 * memory, three quarters); so was half of all that is pinned; and none of that is any more.
 * Exit status: 0 if that was so and all data right, 1 if not, 4 if no method can be used here, 2 on other errors.
 */

#define _GNU_SOURCE
#include <getopt.h>

#include "methods.h"

#define MAX_JOBS	64
#define STEP		64	/* pages of the file in one go */
#define RUN_PAGES	16	/* freed in one go */
#define KPF_LRU		5
#define KPF_BUDDY	10
#define KPF_ANON	12
#define KPF_RESERVED	32
#define SOFT_OFFLINE	"/sys/devices/system/memory/soft_offline_page"

volatile sig_atomic_t stop;
bool exact_time;

static struct region regions[MAX_REGIONS];
static unsigned int region_count;
static struct job jobs[MAX_JOBS];
static unsigned int job_count;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

/* What is not as it must be: under-siege shows these lines with the check that fails. */
__attribute__((format(printf, 1, 2)))
static void complain(const char *format, ...)
{
	va_list args;

	fputs("obstruct: wrong: ", stdout);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* The process of a job */

static void say(const struct job *job, char kind, const char *text)
{
	char message[128] = { kind };

	snprintf(message + 1, sizeof(message) - 1, "%s", text ?: "");
	if (write(job->channel, message, sizeof(message)) != sizeof(message))
		_exit(2);
}

static void become_nobody(void)
{
	if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
		die("the user can't be changed");
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

#define SOAK_PAGES	4096
#define SOAK_ROW	64
#define SOAK_BELOW	1024	/* pages of a method that has little ... */
#define SOAK_MOST	16384	/* ... and must find tag storage even where page cache is reclaimed meanwhile */

/*
 * Ordinary memory that was freed a moment ago is what the allocator gives first; where each method has little, or
 * files have left much, it would have nothing else. So take that away until tag storage is given, row by row, and let
 * some be left in any case.
 */
static char *soak(size_t pages)
{
	char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t min, high;
	size_t row = 0, page;

	if (memory == MAP_FAILED)
		die("there is no memory: %s", strerror(errno));
	madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
	get_watermarks(&min, &high);
	for (page = 0; page < pages && row < SOAK_ROW; page++) {
		if (!(page % SOAK_ROW) && free_ordinary() < min + MIB)
			break;
		memory[page * PAGE] = 1;
		row = on_storage(regions, region_count, get_pfn(memory + page * PAGE)) ? row + 1 : 0;
	}
	if (row < SOAK_ROW)
		printf("obstruct: no tag storage after %zu pages of ordinary memory, %" PRIu64 " KiB are free\n",
		       page, free_ordinary() / 1024);
	return memory;
}

/*
 * Who allocates what it holds finds only tag storage left because its memory takes what there is of ordinary memory. If
 * it has little, that can't be.
 */
static bool wants_soak(const struct job *job)
{
	const struct method *method = job->method;

	return !method->empty && !method->file && (!method->early || job->pages < SOAK_BELOW);
}

static void get_memory(struct job *job)
{
	size_t size = job->pages * PAGE;

	if (job->method->file) {
		job->file = memfd_create("obstruct", MFD_CLOEXEC);
		if (job->file < 0 || ftruncate(job->file, size))
			die("there is no file");
		job->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, job->file, 0);
	} else {
		job->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				   -1, 0);
	}
	if (job->memory == MAP_FAILED)
		die("there is no memory: %s", strerror(errno));
	madvise(job->memory, size, MADV_NOHUGEPAGE);
	for (size_t page = 0; page < job->pages; page++)
		fill_page(job, page);
}

static size_t verify(const struct job *job)
{
	const uint64_t *words = (const uint64_t *)job->memory;
	size_t wrong = 0;

	for (size_t i = 0; i < job->pages * WORDS; i++)
		wrong += words[i] != pattern(job, i);
	return wrong;
}

static void take(struct job *job)
{
	const char *why = job->method->take ? job->method->take(job) : NULL;
	char text[32];

	job->skipped = why;
	snprintf(text, sizeof(text), "%zu", job->held);
	say(job, why ? 's' : 't', why ?: text);
}

__attribute__((noreturn))
static void run_job(struct job *job)
{
	size_t soak_pages = job->pages < SOAK_BELOW ? SOAK_MOST : SOAK_PAGES;
	const struct method *method = job->method;
	char byte, text[32];
	char *soaked;
	size_t wrong;
	bool idle;

	/* If memory runs out, that is this process' fault. */
	write_text("/proc/self/oom_score_adj", "1000");
	soaked = wants_soak(job) ? soak(soak_pages) : NULL;
	if (!method->root)
		become_nobody();
	if (!method->empty)
		get_memory(job);
	if (soaked)
		munmap(soaked, soak_pages * PAGE);
	snprintf(text, sizeof(text), "%p", job->memory);
	say(job, 'f', text);
	if (method->early)
		take(job);
	if (read(job->channel, &byte, 1) != 1)
		_exit(2);
	if (!method->early)
		take(job);
	while (!stop) {
		if (method->again && !job->skipped)
			method->again(job);
		else
			usleep(10000);
	}
	if (method->drop && !job->skipped)
		method->drop(job);
	wrong = method->empty ? 0 : verify(job);
	if (wrong)
		complain("%s: %zu words destroyed", method->name, wrong);
	idle = (method->take || method->again) && !job->skipped && !job->held;
	if (idle)
		complain("%s: it held nothing", method->name);
	fflush(stdout);
	_exit(wrong || idle);
}

/* The main process */

static void hear(struct job *job, char kind)
{
	char message[128];

	if (job->skipped)
		return;
	if (read(job->channel, message, sizeof(message)) != sizeof(message))
		die("obstruct: %s: it died", job->method->name);
	if (message[0] == 's') {
		printf("skip - %s: %s\n", job->method->name, message + 1);
		job->skipped = true;
		return;
	}
	if (message[0] != kind)
		die("obstruct: %s: '%c' instead of '%c'", job->method->name, message[0], kind);
	if (kind == 't')
		job->held = strtoul(message + 1, NULL, 10);
	else
		job->memory = (char *)strtoul(message + 1, NULL, 16);
}

static void start_job(struct job *job, const struct method *method, size_t pages)
{
	int channel[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel))
		die("there is no channel");
	job->method = method;
	job->pages = pages;
	job->file = -1;
	job->seed = (job - jobs + 1) * 0x1234567ULL;
	job->random = job->seed;
	fflush(stdout);
	job->channel = channel[1];
	job->pid = fork();
	if (job->pid < 0)
		die("fork: %s", strerror(errno));
	if (!job->pid) {
		close(channel[0]);
		run_job(job);
	}
	close(channel[1]);
	job->channel = channel[0];
	hear(job, 'f');
	if (method->early)
		hear(job, 't');
}

/* Which pages of a job lie on tag storage now, and how many. @lent: for each page; may be NULL. */
static size_t get_lent(const struct job *job, uint8_t *lent)
{
	static uint64_t pfns[1024];
	size_t count = 0, nr;

	if (job->method->empty)
		return 0;
	for (size_t page = 0; page < job->pages; page += ARRAY_SIZE(pfns)) {
		nr = job->pages - page;
		if (nr > ARRAY_SIZE(pfns))
			nr = ARRAY_SIZE(pfns);
		nr = get_pfns_of(job->pid, job->memory + page * PAGE, pfns, nr);
		for (size_t i = 0; i < nr; i++) {
			bool is = on_storage(regions, region_count, pfns[i]);

			count += is;
			if (lent)
				lent[page + i] = is;
		}
	}
	return count;
}

/*
 * What is on tag storage before anybody takes references. False if methods have nothing there to take: one alone, or of
 * many, each with little memory, more than a quarter. What fills the rest, after the @chosen ones, may be a few pages.
 */
static bool look_before(size_t chosen)
{
	size_t all = 0, without = 0;

	for (unsigned int i = 0; i < job_count && i < chosen; i++) {
		struct job *job = &jobs[i];

		if (job->skipped || job->method->empty || job->method->file)
			continue;
		job->were_lent = calloc(job->pages, 1);
		if (!job->were_lent)
			die("there is no memory");
		all++;
		if (get_lent(job, job->were_lent))
			continue;
		printf("obstruct: %s: none of its %zu pages was on tag storage\n", job->method->name, job->pages);
		without++;
	}
	if (without > all / 4)
		complain("%zu of %zu methods had nothing on tag storage", without, all);
	return without <= all / 4;
}

static size_t sum(const uint8_t *bytes, size_t count)
{
	size_t all = 0;

	while (count)
		all += bytes[--count];
	return all;
}

/* Pages that are pinned, by all methods, and how many of them were lent before, and are. */
struct pins {
	size_t held;
	size_t were;
	size_t are;
};

/*
 * Can this page of a job be moved? What a method held may have been let go: a socket has delivered it, say. Then it is
 * anybody's to move, and may lie anywhere. The page frame is not used again.
 */
static bool can_move(const struct job *job, size_t page)
{
	char text[64];
	uint64_t pfn;

	if (!get_pfns_of(job->pid, job->memory + page * PAGE, &pfn, 1))
		return false;
	snprintf(text, sizeof(text), "%#" PRIx64, pfn * PAGE);
	return !on_storage(regions, region_count, pfn) || write_text(SOFT_OFFLINE, text);
}

static void count_pins(const struct job *job, struct pins *pins)
{
	size_t held = job->held < job->pages ? job->held : job->pages, were = sum(job->were_lent, held);
	size_t let_go = 0, are;
	uint8_t *lent = calloc(job->pages, 1);

	if (!lent)
		die("there is no memory");
	get_lent(job, lent);
	for (size_t page = 0; page < held; page++) {
		if (!lent[page] || !can_move(job, page))
			continue;
		lent[page] = 0;
		let_go++;
	}
	are = sum(lent, held);
	free(lent);
	printf("obstruct: %s: %zu of the pages that it holds were on tag storage, %zu are; %zu others could be moved\n",
	       job->method->name, were, are, let_go);
	if (are)
		complain("%s: %zu lent pages are pinned", job->method->name, are);
	pins->held += held;
	pins->were += were;
	pins->are += are;
}

static bool has_flag(int file, uint64_t pfn, unsigned int flag)
{
	uint64_t flags;

	if (pread(file, &flags, 8, pfn * 8) != 8)
		die("/proc/kpageflags can't be read");
	return flags >> flag & 1;
}

static bool is_used(int file, uint64_t pfn)
{
	return !has_flag(file, pfn, KPF_BUDDY) && !has_flag(file, pfn, KPF_RESERVED);
}

/* A page that is only on its way from or to a free list is another one at the second look. */
static bool is_other(int file, uint64_t pfn)
{
	if (has_flag(file, pfn, KPF_ANON))
		return false;
	usleep(2000);
	return is_used(file, pfn) && !has_flag(file, pfn, KPF_ANON);
}

/* Pages of tag storage that are in use, and those of them that hold no anonymous memory. */
static void print_kinds(const char *when)
{
	size_t used = 0, other = 0, unlisted = 0;
	int file = open("/proc/kpageflags", O_RDONLY);

	for (unsigned int i = 0; i < region_count; i++) {
		for (uint64_t pfn = regions[i].start; pfn < regions[i].start + regions[i].pages; pfn++) {
			if (!is_used(file, pfn))
				continue;
			used++;
			if (is_other(file, pfn))
				other++;
			else if (!has_flag(file, pfn, KPF_LRU))
				unlisted++;
		}
	}
	close(file);
	printf("obstruct: %s: %zu pages of tag storage in use, %zu of them off the lists, %zu not anonymous\n", when,
	       used, unlisted, other);
}

static bool report(const char *when)
{
	struct pins pins = { 0 };

	for (unsigned int i = 0; i < job_count; i++) {
		const struct job *job = &jobs[i];

		if (job->skipped || job->method->empty)
			continue;
		printf("obstruct: %s: %s: %zu pages, %zu held, %zu on tag storage\n", when, job->method->name,
		       job->pages, job->held, get_lent(job, NULL));
		if (job->method->pins)
			count_pins(job, &pins);
	}
	print_kinds(when);
	if (pins.were < pins.held / 2)
		complain("of %zu pages that are held, only %zu were lent before", pins.held, pins.were);
	fflush(stdout);
	return !pins.are && pins.were >= pins.held / 2;
}

/* Ordinary memory, in a file: never on tag storage */

struct ballast {
	int file;
	size_t pages;
	uint8_t *there;		/* for each page */
	uint64_t random;
};

/* Leaves @room bytes. */
static void fill_ballast(struct ballast *ballast, uint64_t room)
{
	static char data[STEP * PAGE];
	size_t most = meminfo("MemTotal") / PAGE;
	uint64_t min, high, free;
	void *map;

	ballast->file = memfd_create("ballast", MFD_CLOEXEC);
	ballast->there = calloc(most, 1);
	if (ballast->file < 0 || !ballast->there)
		die("there is no memory");
	memset(data, 0x5a, sizeof(data));
	get_watermarks(&min, &high);
	high += room;
	while (ballast->pages + STEP < most) {
		free = free_ordinary();
		if (free <= high + MIB)
			break;
		free = (free - high) / 2 / sizeof(data) + 1;
		for (; free && ballast->pages + STEP < most; free--) {
			if (write(ballast->file, data, sizeof(data)) != (ssize_t)sizeof(data))
				die("the ballast can't be written: %s", strerror(errno));
			memset(ballast->there + ballast->pages, 1, STEP);
			ballast->pages += STEP;
		}
	}
	/* It is not to be swapped out. */
	map = mmap(NULL, ballast->pages * PAGE, PROT_READ, MAP_SHARED, ballast->file, 0);
	if (map == MAP_FAILED || mlock(map, ballast->pages * PAGE))
		die("the ballast can't be locked");
}

static void free_ballast(struct ballast *ballast, uint64_t leave)
{
	uint64_t free = free_ordinary(), missing = free < leave ? (leave - free) / PAGE : 0, in_runs = missing / 2;

	if (missing > ballast->pages * 3 / 4)
		die("there is not enough memory to leave %" PRIu64 " MiB of it free", leave / MIB);
	while (missing) {
		size_t run = missing > in_runs ? HUGE_PAGES : RUN_PAGES;
		size_t page = below(&ballast->random, ballast->pages / run) * run;

		if (fallocate(ballast->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page * PAGE, run * PAGE))
			die("the ballast can't be freed: %s", strerror(errno));
		for (size_t i = page; i < page + run && missing; i++) {
			missing -= ballast->there[i];
			ballast->there[i] = 0;
		}
	}
}

/* Jobs */

static const struct method *find_method(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (!strcmp(methods[i].name, name))
			return &methods[i];
	die("obstruct: there is no method %s", name);
}

static size_t prepare(char **names, const struct method *chosen[])
{
	size_t count = 0;

	for (; *names; names++) {
		const struct method *method = find_method(*names);
		const char *why = method->prepare ? method->prepare() : NULL;

		if (why)
			printf("skip - %s: %s\n", method->name, why);
		else if (count < MAX_JOBS - 1)
			chosen[count++] = method;
	}
	return count;
}

/* What the kernel needs for each job is ordinary memory, of which there is to be enough, and no more. */
static void start(const struct method *chosen[], size_t count, size_t pages, struct ballast *ballast)
{
	uint64_t rest, min, high;

	/* Files first: the ballast has left room for them. */
	for (size_t i = 0; i < 2 * count; i++) {
		bool file_now = i < count;

		if (chosen[i % count]->file != file_now)
			continue;
		get_watermarks(&min, &high);
		free_ballast(ballast, high + MIB);
		start_job(&jobs[job_count++], chosen[i % count], pages / count);
	}
	rest = total("free_pages");
	if (rest > 64)
		start_job(&jobs[job_count++], find_method("none"), rest - 64);
}

static void go(void)
{
	for (unsigned int i = 0; i < job_count; i++) {
		if (write(jobs[i].channel, "g", 1) != 1)
			die("obstruct: %s: it died", jobs[i].method->name);
		if (!jobs[i].method->early)
			hear(&jobs[i], 't');
	}
}

static int end(void)
{
	int status, failed = 0;
	const char *why;

	stall_end();
	unlink(CORE_FLAG);
	for (unsigned int i = 0; i < job_count; i++)
		kill(jobs[i].pid, SIGTERM);
	for (unsigned int i = 0; i < job_count; i++) {
		if (waitpid(jobs[i].pid, &status, 0) != jobs[i].pid || status) {
			complain("%s: ended with status %#x", jobs[i].method->name, status);
			failed = 1;
		}
		why = jobs[i].method->finish ? jobs[i].method->finish() : NULL;
		if (why) {
			complain("%s: %s", jobs[i].method->name, why);
			failed = 1;
		}
	}
	return failed;
}

/* How many of the chosen methods are at work. */
static size_t at_work(size_t chosen)
{
	size_t count = 0;

	for (unsigned int i = 0; i < job_count && i < chosen; i++)
		count += !jobs[i].skipped;
	return count;
}

static void get_ready(const char *path)
{
	int file = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;

	if (path && file < 0)
		die("%s can't be made: %s", path, strerror(errno));
	if (path)
		close(file);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "mib", required_argument, NULL, 'm' },
		{ "leave", required_argument, NULL, 'l' },
		{ "ready", required_argument, NULL, 'r' },
		{ "exact", no_argument, NULL, 'e' },
		{ "list", no_argument, NULL, 'L' },
		{ "core", no_argument, NULL, 'c' },
		{ NULL, 0, NULL, 0 }
	};
	const struct method *chosen[MAX_JOBS];
	struct ballast ballast = { .random = 1 };
	uint64_t leave = 96 * MIB;
	const char *ready = NULL;
	size_t pages = 0, count, files = 0;
	int option, failed;
	bool right;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'm':
			pages = strtoul(optarg, NULL, 0) * MIB / PAGE;
			break;
		case 'l':
			leave = strtoul(optarg, NULL, 0) * MIB;
			break;
		case 'r':
			ready = optarg;
			break;
		case 'e':
			exact_time = true;
			break;
		case 'L':
			for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
				puts(methods[i].name);
			return 0;
		case 'c':
			return core_helper();
		default:
			return 2;
		}
	}
	if (signal(SIGTERM, on_term) == SIG_ERR)
		die("signals can't be caught");
	region_count = get_regions(regions);
	if (!pages)
		pages = total("total_pages") ?: 16 * MIB / PAGE;
	count = prepare(argv + optind, chosen);
	for (size_t i = 0; i < count; i++)
		files += chosen[i]->file;
	fill_ballast(&ballast, files ? pages / count * files * PAGE : 0);
	if (count)
		start(chosen, count, pages, &ballast);
	free_ballast(&ballast, leave);
	print_kinds("before");
	right = look_before(count);
	go();
	right &= report("ready");
	get_ready(ready);
	while (!stop)
		usleep(10000);
	right &= report("at the end");
	failed = end();
	if (failed || !right)
		return 1;
	return at_work(count) ? 0 : 4;
}
