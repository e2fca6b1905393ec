#include "base/process/settings_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log/log.h"

#define FILE_MAX (256 * 1024) /* bytes */
#define PREFIX "TIDINGS_"

/* What the file had at one time. */
struct version {
	char **entries; /* owned: NAME=value, NULL at the end; only ours */
	size_t count;
	struct version *before; /* owned */
};

struct settings_file {
	struct config *config; /* borrowed */
	struct version *start; /* owned */
	struct version *taken; /* owned: those that have changed something, the last one first; NULL: none */
};

/* What of the file is still to be read. */
struct line_reader {
	const char *at, *end;
	int line;
};

static void version_free(struct version **v)
{
	if (!*v)
		return;
	for (size_t i = 0; i < (*v)->count; i++)
		free((*v)->entries[i]);
	free((*v)->entries);
	free(*v);
	*v = NULL;
}

/* The next byte; -1: there is none. */
static int next(struct line_reader *r)
{
	if (r->at == r->end)
		return -1;
	r->line += *r->at == '\n';
	return (unsigned char)*r->at++;
}

static bool is_at_line_end(const struct line_reader *r)
{
	return r->at == r->end || *r->at == '\n';
}

static void skip_line(struct line_reader *r)
{
	while (!is_at_line_end(r))
		next(r);
}

/* What is in quotes, behind the first of them. False: there is no second one. */
static bool read_quoted(struct line_reader *r, char quote, struct buf *value)
{
	for (int c = next(r); c >= 0; c = next(r)) {
		char byte = (char)c;

		if (byte == quote)
			return true;
		if (quote == '"' && byte == '\\' && r->at < r->end && strchr("\"\\$`\n", *r->at)) {
			byte = (char)next(r);
			if (byte == '\n')
				continue;
		}
		buf_add(value, &byte, 1);
	}
	return false;
}

/* Up to the end of the line; blanks before that are not part of it. False: a quote is missing. */
static bool read_value(struct line_reader *r, struct buf *value)
{
	size_t len = value->len;

	while (!is_at_line_end(r)) {
		char byte = (char)next(r);

		if (byte == '\'' || byte == '"') {
			if (!read_quoted(r, byte, value))
				return false;
			len = value->len;
			continue;
		}
		if (byte == '\\' && r->at < r->end) {
			byte = (char)next(r);
			if (byte == '\n')
				continue;
			buf_add(value, &byte, 1);
			len = value->len;
			continue;
		}
		buf_add(value, &byte, 1);
		if (byte != ' ' && byte != '\t' && byte != '\r')
			len = value->len;
	}
	buf_cut(value, len);
	return true;
}

/* False: it is none. */
static bool read_name(struct line_reader *r, struct buf *name)
{
	const char *start = r->at;

	while (r->at < r->end && (isalnum((unsigned char)*r->at) || *r->at == '_'))
		next(r);
	if (r->at == start || r->at == r->end || *r->at != '=')
		return false;
	next(r);
	buf_add(name, start, (size_t)(r->at - start));
	return true;
}

/*
 *	entry	taken, where OK
 */
static enum err version_add(struct version *v, struct buf *entry)
{
	char **more = NULL;

	if (!buf_ok(entry))
		return ERR_MEMORY;
	if (strncmp(entry->bytes, PREFIX, strlen(PREFIX)) != 0) {
		buf_free(entry);
		return OK;
	}
	more = reallocarray(v->entries, v->count + 2, sizeof(*more));
	if (!more)
		return ERR_MEMORY;
	v->entries = more;
	v->entries[v->count++] = entry->bytes;
	v->entries[v->count] = NULL;
	*entry = BUF_EMPTY;
	return OK;
}

static enum err parse(struct line_reader *r, struct version *v, struct buf *problem)
{
	enum err e = OK;

	while (e == OK && r->at < r->end) {
		struct buf entry = BUF_EMPTY;
		int line = r->line;

		if (isspace((unsigned char)*r->at)) {
			next(r);
		} else if (*r->at == '#' || *r->at == ';') {
			skip_line(r);
		} else if (!read_name(r, &entry) || !read_value(r, &entry)) {
			buf_printf(problem, "line %d is not NAME=value", line);
			e = ERR_CONFIG;
		} else {
			e = version_add(v, &entry);
		}
		buf_free(&entry);
	}
	return e;
}

/*
 *	problem	out: why not
 */
static enum err version_read(struct version **out, const char *path, struct buf *problem)
{
	struct version *v = calloc(1, sizeof(*v));
	struct buf text = BUF_EMPTY;
	enum err e = ERR_MEMORY;

	if (v)
		v->entries = calloc(1, sizeof(*v->entries));
	if (v && v->entries)
		e = file_read(path, FILE_MAX, false, &text);
	if (e == ERR_FORBIDDEN)
		buf_add_text(problem, "it can be written by every user of this machine");
	else if (e == ERR_TOO_LARGE)
		buf_add_text(problem, "it is too large");
	else if (e == ERR_SYSTEM || e == ERR_NOT_FOUND)
		buf_add_text(problem, strerror(errno));
	if (e == OK && text.len > 0 && memchr(text.bytes, '\0', text.len)) {
		buf_add_text(problem, "it is no text");
		e = ERR_CONFIG;
	}
	if (e == OK && text.len > 0)
		e = parse(&(struct line_reader){text.bytes, text.bytes + text.len, 1}, v, problem);
	buf_free(&text);
	if (e == OK)
		*out = v;
	else
		version_free(&v);
	return e == OK || e == ERR_MEMORY ? e : ERR_CONFIG;
}

static void log_problem(const char *path, const struct buf *problem)
{
	log_error("the settings in %s, named by TIDINGS_ENVIRONMENT_FILE, cannot be read: %s", path,
		  buf_ok(problem) && problem->bytes ? problem->bytes : err_text(ERR_MEMORY));
}

enum err settings_file_open(struct settings_file **out, struct config *c)
{
	struct settings_file *f = NULL;
	struct buf problem = BUF_EMPTY;
	enum err e = OK;

	*out = NULL;
	if (!c->environment_file)
		return OK;
	f = calloc(1, sizeof(*f));
	if (!f)
		return ERR_MEMORY;
	f->config = c;
	e = version_read(&f->start, c->environment_file, &problem);
	if (e == OK)
		*out = f;
	else
		log_problem(c->environment_file, &problem);
	if (e != OK)
		free(f);
	buf_free(&problem);
	return e;
}

void settings_file_close(struct settings_file **out)
{
	struct settings_file *f = *out;

	if (!f)
		return;
	while (f->taken) {
		struct version *before = f->taken->before;

		version_free(&f->taken);
		f->taken = before;
	}
	version_free(&f->start);
	free(f);
	*out = NULL;
}

/* The environment's entries that the file has nothing to do with, and then its own: borrowed, in an array of the caller's. */
static char **environment_with(const struct settings_file *f, const struct version *v)
{
	size_t count = 0;
	char **all = NULL;

	while (environ[count])
		count++;
	all = calloc(count + v->count + 1, sizeof(*all));
	if (!all)
		return NULL;
	count = 0;
	for (char **entry = environ; *entry; entry++)
		if (!config_value(f->start->entries, *entry) && !config_value(v->entries, *entry))
			all[count++] = *entry;
	memcpy(all + count, v->entries, v->count * sizeof(*all));
	return all;
}

static void log_lines(const char *path, struct buf *problems)
{
	char *rest = problems->bytes, *line = NULL;

	if (!buf_ok(problems) || !rest) {
		log_error("the settings in %s are not read again: no memory", path);
		return;
	}
	while ((line = strsep(&rest, "\n")))
		if (*line)
			log_error("the settings in %s are not read again: %s", path, line);
}

void settings_file_reload(struct settings_file *f)
{
	struct version *v = NULL;
	struct buf problems = BUF_EMPTY;
	struct config next_config;
	char **environment = NULL;
	const char *path = f ? f->config->environment_file : NULL;

	if (!f)
		return;
	if (version_read(&v, path, &problems) == OK)
		environment = environment_with(f, v);
	if (!environment) {
		log_problem(path, &problems);
	} else if (config_read(&next_config, environment, &problems) != OK) {
		log_lines(path, &problems);
	} else if (config_take_over(f->config, &next_config, f->start->entries, v->entries)) {
		v->before = f->taken;
		f->taken = v;
		v = NULL;
	}
	version_free(&v);
	free(environment);
	buf_free(&problems);
}
