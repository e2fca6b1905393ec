#include "store/admin/sql_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define FILE_MAX (16 * 1024 * 1024) /* bytes */

static int is_sql(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return entry->d_name[0] != '.' && len > 4 && strcmp(entry->d_name + len - 4, ".sql") == 0;
}

static enum err load_file(struct sql_file *f, const char *folder, const char *name, struct buf *problem)
{
	struct buf path = BUF_EMPTY;
	enum err e = OK;

	buf_printf(&path, "%s/%s", folder, name);
	f->name = strdup(name);
	if (!f->name || !buf_ok(&path)) {
		e = ERR_MEMORY;
	} else if (file_read(path.bytes, FILE_MAX, false, &f->text) != OK) {
		buf_printf(problem, "%s cannot be read, is too large, or can be written by every user of this machine",
			   path.bytes);
		e = ERR_CONFIG;
	} else if (f->text.len == 0 || memchr(f->text.bytes, '\0', f->text.len)) {
		buf_printf(problem, "%s is not a text file", path.bytes);
		e = ERR_CONFIG;
	}
	buf_free(&path);
	return e;
}

enum err sql_files_load(struct sql_files *out, const char *folder, struct buf *problem)
{
	struct dirent **entries = NULL;
	int found = scandir(folder, &entries, is_sql, alphasort);
	enum err e = OK;

	*out = (struct sql_files){0};
	if (found < 0) {
		buf_printf(problem, "the folder %s cannot be read: %s", folder, strerror(errno));
		e = ERR_CONFIG;
	} else if (found == 0) {
		buf_printf(problem, "the folder %s has no SQL files in it", folder);
		e = ERR_CONFIG;
	} else {
		out->files = calloc((size_t)found, sizeof(*out->files));
		e = out->files ? OK : ERR_MEMORY;
	}
	for (int i = 0; i < found; i++) {
		if (e == OK)
			e = load_file(&out->files[out->count++], folder, entries[i]->d_name, problem);
		free(entries[i]);
	}
	free(entries);
	if (e != OK)
		sql_files_free(out);
	return e;
}

void sql_files_free(struct sql_files *files)
{
	for (size_t i = 0; i < files->count; i++) {
		free(files->files[i].name);
		buf_free(&files->files[i].text);
	}
	free(files->files);
	*files = (struct sql_files){0};
}
