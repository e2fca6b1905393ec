#include "base/metrics/process_usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* NUL-terminated; false: it is not there. */
static bool read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	if (len < 0)
		return false;
	text[len] = '\0';
	return true;
}

/* proc(5): the second number of statm. */
static int64_t resident_bytes(void)
{
	char text[128];
	const char *second = read_text("/proc/self/statm", text, sizeof(text)) ? strchr(text, ' ') : NULL;

	return second ? strtoll(second, NULL, 10) * sysconf(_SC_PAGESIZE) : 0;
}

/* The folder's size is their number, from Linux 6.2 on. */
static int64_t open_descriptors(void)
{
	struct stat folder;
	int64_t count = 0;
	DIR *entries;

	if (stat("/proc/self/fd", &folder) == 0 && folder.st_size > 0)
		return folder.st_size;
	entries = opendir("/proc/self/fd");
	if (!entries)
		return 0;
	for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries))
		count += entry->d_name[0] != '.';
	closedir(entries);
	return count - 1; /* the folder's own */
}

static int64_t us_of(struct timeval t)
{
	return (int64_t)t.tv_sec * 1000000 + t.tv_usec;
}

void process_usage_read(struct process_usage *u)
{
	struct rusage usage;
	struct rlimit limit;

	*u = (struct process_usage){.resident_bytes = resident_bytes(), .descriptors = open_descriptors()};
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		u->cpu_us = us_of(usage.ru_utime) + us_of(usage.ru_stime);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		u->descriptors_max = (int64_t)limit.rlim_cur;
}
