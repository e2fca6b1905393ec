#include "cli/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log/log.h"

#define PATIENCE_MS 60000

void read_config(struct config *c)
{
	config_start(c, "tidings", "", 0, NULL);
	log_open("tidings", LOG_OFF_, 0); /* what goes wrong is told by complain() */
}

int command_failed(const struct db *db, enum err e)
{
	const char *problem = db && e != ERR_NOT_FOUND && e != ERR_FORBIDDEN ? db_problem(db) : "";

	complain("%s", *problem ? problem : err_text(e));
	if (e == ERR_AWAY || e == ERR_BUSY)
		return EXIT_AWAY;
	if (e == ERR_UNKNOWN)
		return EXIT_UNKNOWN;
	if (e == ERR_NOT_FOUND)
		return EXIT_NOT_FOUND;
	return e == ERR_CONFIG ? EXIT_WRONG : EXIT_FAILED;
}

static int connect_for(const struct config *c, struct db **db, const char *role, const char *name, int64_t timeout_ms)
{
	enum err e = db_open(db, c->database, role, name, timeout_ms);

	return e == OK ? EXIT_DONE : command_failed(*db, e);
}

int command_connect(struct config *c, struct db **db, const char *role, const char *name)
{
	read_config(c);
	return connect_for(c, db, role, name, c->database_timeout_ms);
}

int command_connect_patiently(struct config *c, struct db **db, const char *role, const char *name)
{
	read_config(c);
	return connect_for(c, db, role, name, MAX(c->database_timeout_ms, PATIENCE_MS));
}

enum err command_read_input(const char *path, size_t bytes_max, struct buf *out)
{
	bool by_stdin = strcmp(path, "-") == 0;
	FILE *f = by_stdin ? stdin : fopen(path, "re");
	enum err e = f ? OK : ERR_SYSTEM;
	char chunk[4096];
	size_t len = 0;

	while (e == OK && (len = fread(chunk, 1, sizeof(chunk), f)) > 0) {
		buf_add(out, chunk, len);
		if (out->len > bytes_max)
			e = ERR_TOO_LARGE;
	}
	explicit_bzero(chunk, sizeof(chunk)); /* a token may come this way */
	if (e == OK && ferror(f))
		e = ERR_SYSTEM;
	if (e == OK && !buf_ok(out))
		e = ERR_MEMORY;
	if (e == ERR_SYSTEM)
		complain("%s cannot be read", by_stdin ? "stdin" : path);
	else if (e == ERR_TOO_LARGE)
		complain("%s is over %zu bytes", by_stdin ? "stdin" : path, bytes_max);
	else if (e != OK)
		complain("%s", err_text(e));
	if (f && f != stdin)
		(void)fclose(f);
	return e;
}
