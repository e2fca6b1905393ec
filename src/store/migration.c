#include "store/migration.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "store/db_internal.h"

#define FILE_MAX (16 * 1024 * 1024) /* bytes */
#define DIGITS 3
#define CHECKSUM_SIZE 65

struct file {
	char *name;	 /* owned: 001_schema.sql; its number is its place in the list, from 1 */
	struct buf text; /* UTF-8, without NUL */
};

struct migrations {
	struct file *files;
	size_t count;
};

static const struct db_statement exists = {"migration_exists", "SELECT to_regclass('tidings.migration') IS NOT NULL"};
static const struct db_statement list = {"migration_list",
					 "SELECT version, name, checksum FROM tidings.migration ORDER BY version"};
static const struct db_statement checksum = {"migration_checksum", "SELECT encode(sha256($1::bytea), 'hex')"};
/* Any two constants that nobody else takes: "tidings" and "migrate" in ASCII, their first four bytes. */
static const struct db_statement lock = {"migration_lock", "SELECT pg_advisory_lock(1953064041, 1835624306)"};
static const struct db_statement unlock = {"migration_unlock", "SELECT pg_advisory_unlock(1953064041, 1835624306)"};
static const struct db_statement record = {"migration_record",
					   "INSERT INTO tidings.migration (version, name, checksum) VALUES ($1::int, "
					   "$2, encode(sha256($3::bytea), 'hex'))"};
static const char create[] = "CREATE SCHEMA IF NOT EXISTS tidings;"
			     "CREATE TABLE tidings.migration ("
			     "	version int PRIMARY KEY,"
			     "	name text NOT NULL,"
			     "	checksum text NOT NULL," /* SHA-256 of the file, in hex */
			     "	applied_at timestamptz NOT NULL DEFAULT now()"
			     ")";

/* --- the files --- */

static int is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* 001_name.sql; a name that starts otherwise is not ours. */
static int is_ours(const struct dirent *entry)
{
	return is_digit(entry->d_name[0]);
}

static bool well_named(const char *name)
{
	size_t digits = 0;
	size_t len = strlen(name);

	while (is_digit(name[digits]))
		digits++;
	return digits == DIGITS && name[digits] == '_' && len > DIGITS + 1 + 4 && strcmp(name + len - 4, ".sql") == 0;
}

static enum err load_file(struct file *f, const char *directory, const char *name, size_t number, struct buf *problem)
{
	struct buf path = BUF_EMPTY;
	enum err e = OK;

	buf_printf(&path, "%s/%s", directory, name);
	f->name = strdup(name);
	if (!f->name || !buf_ok(&path)) {
		e = ERR_MEMORY;
		goto out;
	}
	e = ERR_CONFIG;
	if (!well_named(name)) {
		buf_printf(problem, "%s is not named like 001_name.sql", path.bytes);
		goto out;
	}
	if (strtoul(name, NULL, 10) != number) {
		buf_printf(problem, "%s is where migration %03zu should be: a number is missing or there twice",
			   path.bytes, number);
		goto out;
	}
	if (file_read(path.bytes, FILE_MAX, false, &f->text) != OK) {
		buf_printf(problem, "%s cannot be read, is too large, or can be written by every user of this machine",
			   path.bytes);
		goto out;
	}
	if (memchr(f->text.bytes, '\0', f->text.len)) {
		buf_printf(problem, "%s is not a text file", path.bytes);
		goto out;
	}
	e = OK;
out:
	buf_free(&path);
	return e;
}

enum err migrations_load(struct migrations **out, const char *directory, struct buf *problem)
{
	struct dirent **entries = NULL;
	int found = scandir(directory, &entries, is_ours, alphasort);
	struct migrations *m = calloc(1, sizeof(*m));
	enum err e = m ? OK : ERR_MEMORY;

	if (found < 0) {
		buf_printf(problem, "the folder of migrations %s cannot be read: %s", directory, strerror(errno));
		e = ERR_CONFIG;
	} else if (found == 0) {
		buf_printf(problem, "the folder %s has no migrations in it", directory);
		e = ERR_CONFIG;
	}
	if (e == OK) {
		m->files = calloc((size_t)found, sizeof(*m->files));
		e = m->files ? OK : ERR_MEMORY;
	}
	for (int i = 0; i < found; i++) {
		if (e == OK)
			e = load_file(&m->files[m->count++], directory, entries[i]->d_name, (size_t)i + 1, problem);
		free(entries[i]);
	}
	free(entries);
	if (e != OK)
		migrations_free(&m);
	*out = m;
	return e;
}

void migrations_free(struct migrations **out)
{
	struct migrations *m = *out;

	if (!m)
		return;
	for (size_t i = 0; i < m->count; i++) {
		free(m->files[i].name);
		buf_free(&m->files[i].text);
	}
	free(m->files);
	free(m);
	*out = NULL;
}

size_t migrations_count(const struct migrations *m)
{
	return m->count;
}

/* --- the database --- */

static enum err told(const struct db *db, enum err e, struct buf *problem, const char *doing)
{
	if (e != OK)
		buf_printf(problem, "%s failed: %s", doing, db_problem(db));
	return e;
}

static enum err run_statement(struct db *db, const struct db_statement *s, struct buf *problem, const char *doing)
{
	PGresult *r = NULL;
	enum err e = db_query(db, s, 0, NULL, NULL, NULL, &r);

	PQclear(r);
	return told(db, e, problem, doing);
}

static enum err table_exists(struct db *db, bool *there, struct buf *problem)
{
	PGresult *r = NULL;
	enum err e = db_query(db, &exists, 0, NULL, NULL, NULL, &r);

	if (e == OK)
		*there = strcmp(PQgetvalue(r, 0, 0), "t") == 0;
	PQclear(r);
	return told(db, e, problem, "looking for the table tidings.migration");
}

static enum err checksum_of(struct db *db, const struct buf *text, char out[CHECKSUM_SIZE], struct buf *problem)
{
	const char *const values[] = {text->bytes};
	const int lengths[] = {(int)text->len};
	const int formats[] = {1};
	PGresult *r = NULL;
	enum err e = db_query(db, &checksum, 1, values, lengths, formats, &r);

	if (e == OK)
		snprintf(out, CHECKSUM_SIZE, "%s", PQgetvalue(r, 0, 0));
	PQclear(r);
	return told(db, e, problem, "computing a checksum");
}

/* Row `i` of what is recorded against the file that should be there. */
static enum err compare_one(const struct migrations *m, struct db *db, const PGresult *rows, int i, struct buf *problem)
{
	unsigned long version = strtoul(PQgetvalue(rows, i, 0), NULL, 10);
	const char *name = PQgetvalue(rows, i, 1);
	char of_file[CHECKSUM_SIZE] = "";
	enum err e = OK;

	if (version != (unsigned long)i + 1) {
		buf_printf(problem, "the database lacks migration %03d, though it has a later one", i + 1);
		return ERR_CONFLICT;
	}
	if ((size_t)i >= m->count) {
		buf_printf(problem, "the database has migration %s, which is newer than this program", name);
		return ERR_CONFLICT;
	}
	e = checksum_of(db, &m->files[i].text, of_file, problem);
	if (e != OK)
		return e;
	if (strcmp(of_file, PQgetvalue(rows, i, 2)) != 0) {
		buf_printf(problem, "%s has changed since it was applied to this database", m->files[i].name);
		return ERR_CONFLICT;
	}
	return OK;
}

enum err migrations_compare(const struct migrations *m, struct db *db, size_t *applied, struct buf *problem)
{
	PGresult *rows = NULL;
	bool there = false;
	enum err e = table_exists(db, &there, problem);

	if (e != OK)
		return e;
	if (!there) {
		*applied = 0;
		return OK;
	}
	e = told(db, db_query(db, &list, 0, NULL, NULL, NULL, &rows), problem, "reading the table tidings.migration");
	for (int i = 0; e == OK && i < PQntuples(rows); i++)
		e = compare_one(m, db, rows, i, problem);
	if (e == OK)
		*applied = (size_t)PQntuples(rows);
	PQclear(rows);
	return e;
}

static enum err record_one(struct db *db, const struct file *f, size_t version)
{
	char number[24];
	const char *const values[] = {number, f->name, f->text.bytes};
	const int lengths[] = {0, 0, (int)f->text.len};
	const int formats[] = {0, 0, 1};
	PGresult *r = NULL;
	enum err e = OK;

	snprintf(number, sizeof(number), "%zu", version);
	e = db_query(db, &record, ARRAY_LEN(values), values, lengths, formats, &r);
	PQclear(r);
	return e;
}

/* Between BEGIN and COMMIT. */
static enum err run_and_record(struct db *db, const struct file *f, size_t version, struct buf *problem)
{
	enum err e = db_run(db, f->name, f->text.bytes);

	if (e == OK && !db_in_transaction(db)) {
		buf_printf(problem, "%s ended its transaction, which a migration must not do", f->name);
		return ERR_DATABASE;
	}
	/* The file may have taken another role; our table is its maker's. */
	if (e == OK)
		e = db_run(db, "reset role", "RESET ROLE");
	if (e == OK)
		e = record_one(db, f, version);
	return told(db, e, problem, f->name);
}

static enum err apply_one(struct db *db, const struct file *f, size_t version, struct buf *problem)
{
	enum err e = told(db, db_run(db, "begin", "BEGIN"), problem, "beginning a transaction");

	if (e != OK)
		return e;
	e = run_and_record(db, f, version, problem);
	if (e == OK)
		return told(db, db_run(db, "commit", "COMMIT"), problem, f->name);
	/* The first error is the one to tell; a connection that is gone has rolled back by itself. */
	if (db_is_open(db) && db_run(db, "rollback", "ROLLBACK") != OK)
		buf_add_text(problem, " (and it could not be rolled back)");
	return e;
}

static enum err apply_locked(const struct migrations *m, struct db *db, struct buf *report, struct buf *problem)
{
	size_t applied = 0;
	bool there = false;
	enum err e = table_exists(db, &there, problem);

	if (e == OK && !there)
		e = told(db, db_run(db, "create tidings.migration", create), problem,
			 "creating the table tidings.migration");
	if (e == OK)
		e = migrations_compare(m, db, &applied, problem);
	for (size_t i = applied; e == OK && i < m->count; i++) {
		e = apply_one(db, &m->files[i], i + 1, problem);
		if (e == OK)
			buf_printf(report, "applied %s\n", m->files[i].name);
	}
	return e;
}

enum err migrations_apply(const struct migrations *m, struct db *db, struct buf *report, struct buf *problem)
{
	enum err e = OK;

	if (db_is_pooled(db)) {
		buf_add_text(problem, "migrating takes a connection to PostgreSQL itself, and this is a pooler");
		return ERR_CONFIG;
	}
	e = run_statement(db, &lock, problem, "waiting for another migration");
	if (e != OK)
		return e;
	e = apply_locked(m, db, report, problem);
	if (db_is_open(db)) {
		enum err unlocked = run_statement(db, &unlock, problem, "ending the migration");

		if (e == OK)
			e = unlocked;
	}
	return e;
}
