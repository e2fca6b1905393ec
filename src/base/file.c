#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file may change while it is read, so the limit is on what comes, not on what stat() said. */
static enum err read_all(int fd, size_t bytes_max, size_t expected, struct buf *out)
{
	size_t start = out->len;
	char *room = buf_reserve(out, expected + 1);
	size_t used = 0;
	enum err e = OK;

	if (!room)
		return ERR_MEMORY;
	while (used <= expected) {
		ssize_t n = read(fd, room + used, expected + 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			e = ERR_SYSTEM;
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	if (e == OK && used > bytes_max)
		e = ERR_TOO_LARGE;
	out->len = e == OK ? start + MIN(used, expected) : start;
	out->bytes[out->len] = '\0';
	return e;
}

enum err file_read(const char *path, size_t bytes_max, bool secret, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	mode_t forbidden = S_IWOTH | (secret ? S_IROTH : 0);
	struct stat st = {0};
	enum err e = OK;
	int saved_errno = 0;

	if (fd < 0)
		return errno == ENOENT ? ERR_NOT_FOUND : ERR_SYSTEM;
	if (fstat(fd, &st) != 0) {
		e = ERR_SYSTEM;
	} else if (!S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		e = ERR_SYSTEM;
	} else if (st.st_mode & forbidden) {
		e = ERR_FORBIDDEN;
	} else if ((uintmax_t)st.st_size > bytes_max) {
		e = ERR_TOO_LARGE;
	} else {
		e = read_all(fd, bytes_max, (size_t)st.st_size, out);
	}
	saved_errno = errno;
	close(fd);
	errno = saved_errno;
	return e;
}

static bool write_all(int fd, struct span bytes)
{
	size_t written = 0;

	while (written < bytes.len) {
		ssize_t n = write(fd, bytes.bytes + written, bytes.len - written);

		if (n < 0 && errno != EINTR)
			return false;
		written += n > 0 ? (size_t)n : 0;
	}
	return true;
}

/* A name in a folder lasts once the folder is written. */
static bool sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash == path ? 1 : (size_t)(slash - path);
	char *folder = slash ? strndup(path, len) : strdup(".");
	int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	bool good = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	free(folder);
	return good;
}

enum err file_replace(const char *path, mode_t mode, struct span bytes)
{
	struct buf name = BUF_EMPTY;
	bool good = false;
	int fd = -1, saved_errno = 0;

	buf_printf(&name, "%s.XXXXXX", path);
	if (!buf_ok(&name))
		return ERR_MEMORY;
	fd = mkostemp(name.bytes, O_CLOEXEC);
	good = fd >= 0 && fchmod(fd, mode) == 0 && write_all(fd, bytes) && fsync(fd) == 0;
	saved_errno = errno;
	if (fd >= 0 && close(fd) != 0 && good) {
		good = false;
		saved_errno = errno;
	}
	if (good && rename(name.bytes, path) != 0) {
		good = false;
		saved_errno = errno;
	}
	if (fd >= 0 && !good)
		unlink(name.bytes);
	buf_free(&name);
	errno = saved_errno;
	return good && sync_folder(path) ? OK : ERR_SYSTEM;
}
