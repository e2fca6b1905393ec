#include "store/admin/migration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/admin/sql_files.h"
#include "store/blocking/db_internal.h"

#define DIGITS 3
#define CHECKSUM_SIZE 65

struct migrations {
	struct sql_files tables; /* a file's number is its place in the list, from 1 */
	struct sql_files code;
	struct sql_files rules;
	struct buf code_text; /* all of code/, one after the other */
};

static const struct statement encoding = {"migration_encoding", "SELECT getdatabaseencoding()"};
static const struct statement exists = {"migration_exists", "SELECT to_regclass('tidings.migration') IS NOT NULL"};
static const struct statement list = {"migration_list",
				      "SELECT version, name, checksum FROM tidings.migration ORDER BY version"};
/* The programs' roles see no table, and what is in these two by tidings.applied(). */
static const struct statement may_read = {"migration_may_read",
					  "SELECT has_table_privilege('tidings.migration', 'SELECT')"};
static const struct statement list_applied = {
	"migration_list_applied",
	"SELECT version, name, checksum FROM tidings.applied() WHERE version > 0 ORDER BY version"};
static const struct statement checksum = {"migration_checksum", "SELECT encode(sha256($1::bytea), 'hex')"};
/* Any two constants that nobody else takes: "tidings" and "migrate" in ASCII, their first four bytes. */
static const struct statement lock = {"migration_lock", "SELECT pg_advisory_lock(1953064041, 1835624306)"};
static const struct statement unlock = {"migration_unlock", "SELECT pg_advisory_unlock(1953064041, 1835624306)"};
static const struct statement record = {"migration_record",
					"INSERT INTO tidings.migration (version, name, checksum) VALUES ($1::int, "
					"$2, encode(sha256($3::bytea), 'hex'))"};
static const struct statement code_checksum = {"code_checksum", "SELECT checksum FROM tidings.code"};
static const struct statement code_applied = {"code_applied",
					      "SELECT checksum FROM tidings.applied() WHERE version = 0"};
static const struct statement rule_exists = {"rule_exists", "SELECT EXISTS (SELECT FROM pg_proc WHERE pronamespace = "
							    "to_regnamespace('tidings') AND proname = $1)"};
/* What this transaction has made or replaced is of its xid. */
static const struct statement code_record = {
	"code_record", "INSERT INTO tidings.code (checksum, functions) "
		       "SELECT encode(sha256($1::bytea), 'hex'), array_agg(p.oid::regprocedure::text) FROM pg_proc p "
		       "WHERE p.pronamespace = 'tidings'::regnamespace AND p.xmin = pg_current_xact_id()::xid "
		       "ON CONFLICT (one) DO UPDATE SET checksum = excluded.checksum, functions = excluded.functions, "
		       "loaded_at = now()"};
static const char create[] = "CREATE SCHEMA IF NOT EXISTS tidings;"
			     "CREATE TABLE tidings.migration ("
			     "	version int PRIMARY KEY,"
			     "	name text NOT NULL,"
			     "	checksum text NOT NULL," /* SHA-256 of the file, in hex */
			     "	applied_at timestamptz NOT NULL DEFAULT now()"
			     ");"
			     "CREATE TABLE tidings.code ("
			     "	one boolean PRIMARY KEY DEFAULT true CHECK (one),"
			     "	checksum text NOT NULL," /* SHA-256 of all of code/, in hex */
			     "	functions text[] NOT NULL,"
			     "	loaded_at timestamptz NOT NULL DEFAULT now()"
			     ")";
/* Names as regprocedure prints them depend on the search_path; a function may call one that is in a later file. */
static const char code_begin[] = "BEGIN; SET LOCAL search_path = pg_catalog; SET LOCAL check_function_bodies = off;"
				 "SET LOCAL ROLE tidings_owner";
static const char code_drop_stale[] =
	"RESET ROLE;"
	"DO $$ DECLARE stale regprocedure; BEGIN"
	" FOR stale IN SELECT p.oid::regprocedure FROM tidings.code c, unnest(c.functions) f, pg_proc p"
	"  WHERE p.oid = to_regprocedure(f)::oid AND p.xmin <> pg_current_xact_id()::xid LOOP"
	"  EXECUTE format('DROP FUNCTION %s', stale);"
	" END LOOP; END $$";

/* --- the files --- */

static bool well_named(const char *name)
{
	return strspn(name, "0123456789") == DIGITS && name[DIGITS] == '_' && strlen(name) > DIGITS + 1 + 4;
}

static enum err check_numbers(const struct sql_files *tables, struct buf *problem)
{
	for (size_t i = 0; i < tables->count; i++) {
		const char *name = tables->files[i].name;

		if (!well_named(name)) {
			buf_printf(problem, "tables/%s is not named like 001_name.sql", name);
			return ERR_CONFIG;
		}
		if (strtoul(name, NULL, 10) != i + 1) {
			buf_printf(problem, "tables/%s is where %03zu should be: a number is missing or there twice",
				   name, i + 1);
			return ERR_CONFIG;
		}
	}
	return OK;
}

static enum err load_folder(struct sql_files *out, const char *folder, const char *name, struct buf *problem)
{
	struct buf path = BUF_EMPTY;
	enum err e = OK;

	buf_printf(&path, "%s/%s", folder, name);
	e = buf_ok(&path) ? sql_files_load(out, path.bytes, problem) : ERR_MEMORY;
	buf_free(&path);
	return e;
}

enum err migrations_load(struct migrations **out, const char *folder, struct buf *problem)
{
	struct migrations *m = calloc(1, sizeof(*m));
	enum err e = m ? OK : ERR_MEMORY;

	if (e == OK)
		e = load_folder(&m->tables, folder, "tables", problem);
	if (e == OK)
		e = check_numbers(&m->tables, problem);
	if (e == OK)
		e = load_folder(&m->code, folder, "code", problem);
	if (e == OK)
		e = load_folder(&m->rules, folder, "rules", problem);
	for (size_t i = 0; e == OK && i < m->code.count; i++)
		buf_add(&m->code_text, m->code.files[i].text.bytes, m->code.files[i].text.len);
	if (e == OK && !buf_ok(&m->code_text))
		e = ERR_MEMORY;
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
	sql_files_free(&m->tables);
	sql_files_free(&m->code);
	sql_files_free(&m->rules);
	buf_free(&m->code_text);
	free(m);
	*out = NULL;
}

/* --- the database --- */

static enum err told(const struct db *db, enum err e, struct buf *problem, const char *doing)
{
	if (e != OK)
		buf_printf(problem, "%s failed: %s", doing, db_problem(db));
	return e;
}

static enum err run_statement(struct db *db, const struct statement *s, struct buf *problem, const char *doing)
{
	PGresult *r = NULL;
	enum err e = db_query(db, s, 0, NULL, NULL, NULL, &r);

	PQclear(r);
	return told(db, e, problem, doing);
}

/* What clients write in any language has to fit, and the files are UTF-8 themselves. */
static enum err check_encoding(struct db *db, struct buf *problem)
{
	PGresult *r = NULL;
	enum err e =
		told(db, db_query(db, &encoding, 0, NULL, NULL, NULL, &r), problem, "reading the database's encoding");

	if (e == OK && strcmp(PQgetvalue(r, 0, 0), "UTF8") != 0) {
		buf_printf(problem,
			   "the database's encoding is %s, and UTF8 is needed: createdb -E UTF8 -T template0 NAME",
			   PQgetvalue(r, 0, 0));
		e = ERR_CONFIG;
	}
	PQclear(r);
	return e;
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
static enum err compare_one(const struct sql_files *tables, struct db *db, const PGresult *rows, int i,
			    struct buf *problem)
{
	unsigned long version = strtoul(PQgetvalue(rows, i, 0), NULL, 10);
	const char *name = PQgetvalue(rows, i, 1);
	char of_file[CHECKSUM_SIZE] = "";
	enum err e = OK;

	if (version != (unsigned long)i + 1) {
		buf_printf(problem, "the database lacks migration %03d, though it has a later one", i + 1);
		return ERR_CONFLICT;
	}
	if (i == 0 && strcmp(name, tables->files[0].name) != 0) {
		buf_printf(
			problem,
			"the schema of this database began with %s, before the first release, and cannot be brought up "
			"to date: save what you need of it, DROP SCHEMA tidings CASCADE, and migrate again",
			name);
		return ERR_CONFLICT;
	}
	if ((size_t)i >= tables->count) {
		buf_printf(problem, "the database has migration %s, which is newer than this program", name);
		return ERR_CONFLICT;
	}
	e = checksum_of(db, &tables->files[i].text, of_file, problem);
	if (e != OK)
		return e;
	if (strcmp(of_file, PQgetvalue(rows, i, 2)) != 0) {
		buf_printf(problem, "%s has changed since it was applied to this database", tables->files[i].name);
		return ERR_CONFLICT;
	}
	return OK;
}

/* Whether this login reads the tables themselves. */
static enum err find_right(struct db *db, bool *may, struct buf *problem)
{
	PGresult *result = NULL;
	enum err e = told(db, db_query(db, &may_read, 0, NULL, NULL, NULL, &result), problem, "asking for rights");

	if (e == OK)
		*may = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
	PQclear(result);
	return e;
}

/*
 *	applied		out: so many of the files, from the first on, are in the database
 *	own		out: this login reads the tables themselves
 */
static enum err compare_tables(const struct sql_files *tables, struct db *db, size_t *applied, bool *own,
			       struct buf *problem)
{
	PGresult *rows = NULL;
	bool there = false;
	enum err e = table_exists(db, &there, problem);

	*applied = 0;
	if (e == OK && there)
		e = find_right(db, own, problem);
	if (e != OK || !there)
		return e;
	e = told(db, db_query(db, *own ? &list : &list_applied, 0, NULL, NULL, NULL, &rows), problem,
		 "reading the table tidings.migration");
	for (int i = 0; e == OK && i < PQntuples(rows); i++)
		e = compare_one(tables, db, rows, i, problem);
	if (e == OK)
		*applied = (size_t)PQntuples(rows);
	PQclear(rows);
	return e;
}

/*	current		out: the database has this code, and no other */
static enum err compare_code(const struct migrations *m, struct db *db, bool own, bool *current, struct buf *problem)
{
	char of_files[CHECKSUM_SIZE] = "";
	PGresult *rows = NULL;
	enum err e = checksum_of(db, &m->code_text, of_files, problem);

	if (e == OK)
		e = told(db, db_query(db, own ? &code_checksum : &code_applied, 0, NULL, NULL, NULL, &rows), problem,
			 "reading the table tidings.code");
	if (e == OK)
		*current = PQntuples(rows) == 1 && strcmp(PQgetvalue(rows, 0, 0), of_files) == 0;
	PQclear(rows);
	return e;
}

/* authorize.sql makes tidings.authorize(). */
static enum err find_rule(struct db *db, const struct sql_file *rule, bool *there, struct buf *problem)
{
	struct buf name = BUF_EMPTY;
	PGresult *result = NULL;
	enum err e = OK;

	buf_add(&name, rule->name, strlen(rule->name) - strlen(".sql"));
	if (!buf_ok(&name))
		return ERR_MEMORY;
	e = told(db, db_query(db, &rule_exists, 1, (const char *const[]){name.bytes}, NULL, NULL, &result), problem,
		 rule->name);
	if (e == OK)
		*there = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
	PQclear(result);
	buf_free(&name);
	return e;
}

enum err migrations_compare(const struct migrations *m, struct db *db, struct buf *pending, struct buf *problem)
{
	size_t applied = 0;
	bool current = false;
	bool own = true;
	enum err e = check_encoding(db, problem);

	if (e == OK)
		e = compare_tables(&m->tables, db, &applied, &own, problem);
	for (size_t i = applied; e == OK && i < m->tables.count; i++)
		buf_printf(pending, "tables/%s\n", m->tables.files[i].name);
	if (e == OK && applied > 0)
		e = compare_code(m, db, own, &current, problem);
	if (e == OK && !current)
		buf_add_text(pending, "code\n");
	for (size_t i = 0; e == OK && i < m->rules.count; i++) {
		bool there = false;

		e = find_rule(db, &m->rules.files[i], &there, problem);
		if (e == OK && !there)
			buf_printf(pending, "rules/%s\n", m->rules.files[i].name);
	}
	return e;
}

static enum err record_one(struct db *db, const struct sql_file *f, size_t version)
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

/* After what was done since BEGIN. The first error is the one to tell; a connection that is gone has rolled back by itself. */
static enum err end_transaction(struct db *db, enum err e, struct buf *problem, const char *doing)
{
	if (e == OK)
		return told(db, db_run(db, "commit", "COMMIT"), problem, doing);
	if (db_is_open(db) && db_run(db, "rollback", "ROLLBACK") != OK)
		buf_add_text(problem, " (and it could not be rolled back)");
	return e;
}

/* Between BEGIN and COMMIT. */
static enum err run_file(struct db *db, const struct sql_file *f, struct buf *problem)
{
	enum err e = told(db, db_run(db, f->name, f->text.bytes), problem, f->name);

	if (e == OK && !db_in_transaction(db)) {
		buf_printf(problem, "%s ended its transaction, which it must not do", f->name);
		return ERR_DATABASE;
	}
	return e;
}

static enum err apply_table(struct db *db, const struct sql_file *f, size_t version, struct buf *problem)
{
	enum err e = told(db, db_run(db, "begin", "BEGIN"), problem, "beginning a transaction");

	if (e != OK)
		return e;
	e = run_file(db, f, problem);
	/* The file may have taken another role; our table is its maker's. */
	if (e == OK)
		e = told(db, db_run(db, "reset role", "RESET ROLE"), problem, f->name);
	if (e == OK)
		e = told(db, record_one(db, f, version), problem, f->name);
	return end_transaction(db, e, problem, f->name);
}

static enum err record_code(struct db *db, const struct buf *text)
{
	const int lengths[] = {(int)text->len};
	const int formats[] = {1};
	PGresult *r = NULL;
	enum err e = db_query(db, &code_record, 1, (const char *const[]){text->bytes}, lengths, formats, &r);

	PQclear(r);
	return e;
}

static enum err apply_code(const struct migrations *m, struct db *db, struct buf *problem)
{
	enum err e = told(db, db_run(db, "begin", code_begin), problem, "beginning a transaction");

	for (size_t i = 0; e == OK && i < m->code.count; i++)
		e = run_file(db, &m->code.files[i], problem);
	if (e == OK)
		e = told(db, db_run(db, "drop stale functions", code_drop_stale), problem, "dropping former functions");
	if (e == OK)
		e = told(db, record_code(db, &m->code_text), problem, "recording the code");
	return end_transaction(db, e, problem, "the code");
}

static enum err apply_rule(struct db *db, const struct sql_file *f, struct buf *problem)
{
	enum err e = told(db, db_run(db, "begin", "BEGIN; SET LOCAL ROLE tidings_owner"), problem,
			  "beginning a transaction");

	if (e == OK)
		e = run_file(db, f, problem);
	return end_transaction(db, e, problem, f->name);
}

static enum err apply_locked(const struct migrations *m, struct db *db, struct buf *report, struct buf *problem)
{
	size_t applied = 0;
	bool own = true;
	bool there = false;
	enum err e = table_exists(db, &there, problem);

	if (e == OK && !there)
		e = told(db, db_run(db, "create tidings.migration", create), problem,
			 "creating the table tidings.migration");
	if (e == OK)
		e = compare_tables(&m->tables, db, &applied, &own, problem);
	for (size_t i = applied; e == OK && i < m->tables.count; i++) {
		e = apply_table(db, &m->tables.files[i], i + 1, problem);
		if (e == OK)
			buf_printf(report, "applied tables/%s\n", m->tables.files[i].name);
	}
	if (e == OK)
		e = compare_code(m, db, own, &there, problem);
	if (e == OK && !there) {
		e = apply_code(m, db, problem);
		if (e == OK)
			buf_add_text(report, "loaded code\n");
	}
	for (size_t i = 0; e == OK && i < m->rules.count; i++) {
		e = find_rule(db, &m->rules.files[i], &there, problem);
		if (e != OK || there)
			continue;
		e = apply_rule(db, &m->rules.files[i], problem);
		if (e == OK)
			buf_printf(report, "made rules/%s\n", m->rules.files[i].name);
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
	e = check_encoding(db, problem);
	if (e == OK)
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
