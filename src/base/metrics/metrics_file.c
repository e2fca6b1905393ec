#include "base/metrics/metrics_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/process/words.h"

static const char magic[16] = "tidings metrics";

struct metrics_header {
	char magic[16];
	uint64_t fingerprint; /* of the table; 0: the file is being made */
	char given[METRICS_GIVEN_SIZE];
};

static size_t file_size(const struct metric *table, unsigned count)
{
	return sizeof(struct metrics_header) + metrics_slots(table, count) * sizeof(metric_number);
}

static metric_number *numbers_of(struct metrics_header *header)
{
	return (metric_number *)(void *)(header + 1);
}

/*
 * Its descriptor; -1: errno tells.
 *
 *	foreign	out: of that name there is something else, or another user's
 */
static int open_number(const char *folder, const char *program, int number, int flags, bool *foreign)
{
	struct buf path = BUF_EMPTY;
	struct stat file;
	int fd = -1, saved_errno = ENOMEM;

	*foreign = false;
	buf_printf(&path, "%s/%s.%d.metrics", folder, program, number);
	if (buf_ok(&path)) {
		fd = open(path.bytes, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
		saved_errno = errno;
		*foreign = fd < 0 ? lstat(path.bytes, &file) == 0 : fstat(fd, &file) != 0 || !S_ISREG(file.st_mode);
	}
	if (*foreign && fd >= 0) {
		close(fd);
		fd = -1;
	}
	buf_free(&path);
	errno = saved_errno;
	return fd;
}

/* A lock of the open file: no other descriptor of this process ends it. */
static bool lock(int fd)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &whole) == 0;
}

static bool is_locked(int fd)
{
	struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
}

static bool fits(const struct metrics_header *header, uint64_t fingerprint, const char *given)
{
	return memcmp(header->magic, magic, sizeof(magic)) == 0 && header->fingerprint == fingerprint &&
	       strncmp(header->given, given, METRICS_GIVEN_SIZE) == 0;
}

/* All of it has its place on the disk: a page that has none when it is written to ends the process. False: errno tells. */
static bool reserve(int fd, size_t size)
{
	struct stat file;

	if (fstat(fd, &file) != 0 || (file.st_size != (off_t)size && ftruncate(fd, 0) != 0))
		return false;
	errno = posix_fallocate(fd, 0, (off_t)size);
	return errno == 0;
}

static void begin(struct metrics_header *header, uint64_t fingerprint, const char *given)
{
	memcpy(header->magic, magic, sizeof(magic));
	memcpy(header->given, given, strlen(given));
	header->fingerprint = fingerprint;
}

/* NULL: it has no place. */
static struct metrics_header *take_over(int fd, const struct metrics *m, const char *given)
{
	uint64_t fingerprint = metrics_fingerprint(m->table, m->count);
	size_t size = file_size(m->table, m->count);
	struct metrics_header *header =
		reserve(fd, size) ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (header == MAP_FAILED)
		return NULL;
	if (!fits(header, fingerprint, given)) {
		memset(header, 0, size);
		begin(header, fingerprint, given);
	}
	return header;
}

/* The first of its files in which nobody counts; what is not ours is passed over. NULL: there is none to be had. */
static struct metrics_header *find_free(const struct metrics *m, const char *folder, const char *program,
					const char *given, struct buf *problem)
{
	struct metrics_header *header = NULL;
	bool taken = true;

	for (int number = 0; taken && number < METRICS_FILES_MAX; number++) {
		bool foreign = false;
		int fd = open_number(folder, program, number, O_RDWR | O_CREAT, &foreign);
		bool ours = fd >= 0 && lock(fd);

		taken = foreign || (fd >= 0 && !ours && (errno == EAGAIN || errno == EACCES));
		if (ours)
			header = take_over(fd, m, given);
		/* A descriptor that is kept open keeps the lock, until the process ends. */
		if (header)
			return header;
		if (!taken)
			buf_printf(problem, "%s: %s", folder, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	if (taken)
		buf_printf(problem, "%s: there are too many files of %s", folder, program);
	return NULL;
}

enum err metrics_file_open(struct metrics *m, const struct metric *table, unsigned count, const char *folder,
			   const char *program, const char *given, struct buf *problem)
{
	struct metrics_header *header = NULL;
	bool in_file = false;

	assert(strlen(given) < METRICS_GIVEN_SIZE && words_count(given) <= METRIC_GIVEN_MAX);
	metrics_init(m, table, count, NULL, true);
	if (folder && *folder)
		header = find_free(m, folder, program, given, problem);
	in_file = header != NULL;
	if (!header) {
		header = calloc(1, file_size(table, count));
		if (!header)
			return ERR_MEMORY;
		begin(header, metrics_fingerprint(table, count), given);
	}
	metrics_init(m, table, count, numbers_of(header), true);
	m->given = header->given;
	m->in_file = in_file;
	metrics_clear_gauges(m);
	return OK;
}

/* Words that a label may have: there are numbers for each of them, and none would end a line. */
static bool are_words(const char given[METRICS_GIVEN_SIZE])
{
	if (given[METRICS_GIVEN_SIZE - 1] != '\0' || words_count(given) > METRIC_GIVEN_MAX)
		return false;
	for (; *given; given++)
		if (*given < ' ' || *given > '~' || *given == '"' || *given == '\\')
			return false;
	return true;
}

/* What is in it now, with `size` bytes; NULL: something else, or no memory. Read, not mapped: somebody may cut it off. */
static struct metrics_header *read_whole(int fd, size_t size)
{
	struct metrics_header *header = malloc(size + 1);
	ssize_t got = header ? pread(fd, header, size + 1, 0) : -1;

	if (got == (ssize_t)size && are_words(header->given))
		return header;
	free(header);
	return NULL;
}

/*
 * The words of a file that somebody counts in, or else of the first.
 *
 * False: there is no file of this table, or no memory.
 */
static bool find_given(const char *folder, const char *program, const struct metrics *sum, uint64_t fingerprint,
		       struct buf *given)
{
	size_t given_at = given->len;
	bool counting = false;

	for (int number = 0; !counting && number < METRICS_FILES_MAX; number++) {
		bool foreign = false;
		int fd = open_number(folder, program, number, O_RDONLY, &foreign);
		struct metrics_header *header = NULL;

		if (foreign)
			continue;
		if (fd < 0)
			break;
		header = read_whole(fd, file_size(sum->table, sum->count));
		counting = header && fits(header, fingerprint, header->given) && is_locked(fd);
		if (counting && given->len > given_at)
			buf_cut(given, given_at);
		if (header && fits(header, fingerprint, header->given) && given->len == given_at)
			buf_add_text(given, header->given);
		free(header);
		close(fd);
	}
	return buf_ok(given) && given->len > given_at;
}

enum err metrics_file_sum(const struct metrics *sum, const char *folder, const char *program, struct buf *given)
{
	uint64_t fingerprint = metrics_fingerprint(sum->table, sum->count);
	size_t given_at = given->len;

	if (!find_given(folder, program, sum, fingerprint, given))
		return ERR_NOT_FOUND;
	for (int number = 0; number < METRICS_FILES_MAX; number++) {
		bool foreign = false;
		int fd = open_number(folder, program, number, O_RDONLY, &foreign);
		struct metrics_header *header = NULL;

		if (foreign)
			continue;
		if (fd < 0)
			break;
		header = read_whole(fd, file_size(sum->table, sum->count));
		/* Gauges of a process that has ended say nothing any more. */
		if (header && fits(header, fingerprint, given->bytes + given_at))
			metrics_merge(sum, numbers_of(header), is_locked(fd));
		free(header);
		close(fd);
	}
	return OK;
}
