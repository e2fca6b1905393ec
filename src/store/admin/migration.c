#include "store/admin/migration.h"

#include <stdbool.h>
#include <stdio.h>

#include "store/admin/schema_state.h"
#include "store/blocking/db_internal.h"

/* Any two constants that nobody else takes: "tidings" and "migrate" in ASCII, their first four bytes. */
static const struct statement lock = {"migration_lock", "SELECT pg_advisory_lock(1953064041, 1835624306)"};
static const struct statement unlock = {"migration_unlock", "SELECT pg_advisory_unlock(1953064041, 1835624306)"};
static const struct statement record = {"migration_record",
					"INSERT INTO tidings.migration (version, name, checksum) VALUES ($1::int, "
					"$2, encode(sha256($3::bytea), 'hex'))"};
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
/*
 * Names as regprocedure prints them depend on the search_path; a function may call one that is in a later file. What
 * tidings.applied() reads is its maker's: the owner's right to it is lost in a restore without rights.
 */
static const char code_begin[] = "SET LOCAL search_path = pg_catalog; SET LOCAL check_function_bodies = off;"
				 "GRANT SELECT ON tidings.migration, tidings.code TO tidings_owner;"
				 "SET LOCAL ROLE tidings_owner";
static const char code_end[] = "RESET ROLE; RESET search_path; RESET check_function_bodies";
static const char code_drop_stale[] =
	"RESET ROLE;"
	"DO $$ DECLARE stale regprocedure; BEGIN"
	" FOR stale IN SELECT p.oid::regprocedure FROM tidings.code c, unnest(c.functions) f, pg_proc p"
	"  WHERE p.oid = to_regprocedure(f)::oid AND p.xmin <> pg_current_xact_id()::xid LOOP"
	"  EXECUTE format('DROP FUNCTION %s', stale);"
	" END LOOP; END $$;"
	"SET LOCAL ROLE tidings_owner";

static enum err run_statement(struct db *db, const struct statement *s, struct buf *problem, const char *doing)
{
	PGresult *r = NULL;
	enum err e = db_query(db, s, 0, NULL, NULL, NULL, &r);

	PQclear(r);
	return schema_state_told(db, e, problem, doing);
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

/*
 * A step, which is a transaction of its own, but for those of a dry run: they are all in one.
 *
 *	settings	for this step alone
 */
static enum err begin_step(struct db *db, bool dry, const char *settings, struct buf *problem)
{
	enum err e = dry ? OK : db_run(db, "begin", "BEGIN");

	if (e == OK && *settings)
		e = db_run(db, "begin", settings);
	return schema_state_told(db, e, problem, "beginning a transaction");
}

/* After what was done since BEGIN. The first error is the one to tell; a connection that is gone has rolled back by itself. */
static enum err end_transaction(struct db *db, enum err e, struct buf *problem, const char *doing)
{
	if (e == OK)
		return schema_state_told(db, db_run(db, "commit", "COMMIT"), problem, doing);
	if (db_is_open(db) && db_run(db, "rollback", "ROLLBACK") != OK)
		buf_add_text(problem, " (and it could not be rolled back)");
	return e;
}

static enum err end_step(struct db *db, bool dry, enum err e, struct buf *problem, const char *doing)
{
	if (!dry)
		return end_transaction(db, e, problem, doing);
	return e == OK ? schema_state_told(db, db_run(db, "end of a step", code_end), problem, doing) : e;
}

/* Between BEGIN and COMMIT. */
static enum err run_file(struct db *db, const struct sql_file *f, struct buf *problem)
{
	enum err e = schema_state_told(db, db_run(db, f->name, f->text.bytes), problem, f->name);

	if (e == OK && !db_in_transaction(db)) {
		buf_printf(problem, "%s ended its transaction, which it must not do", f->name);
		return ERR_DATABASE;
	}
	return e;
}

static enum err apply_table(struct db *db, bool dry, const struct sql_file *f, size_t version, struct buf *problem)
{
	enum err e = begin_step(db, dry, "", problem);

	if (e != OK)
		return e;
	e = run_file(db, f, problem);
	/* The file may have taken another role; our table is its maker's. */
	if (e == OK)
		e = schema_state_told(db, db_run(db, "reset role", "RESET ROLE"), problem, f->name);
	if (e == OK)
		e = schema_state_told(db, record_one(db, f, version), problem, f->name);
	return end_step(db, dry, e, problem, f->name);
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

static enum err apply_code(const struct schema_files *m, struct db *db, bool dry, struct buf *problem)
{
	enum err e = begin_step(db, dry, code_begin, problem);

	for (size_t i = 0; e == OK && i < m->code.count; i++) {
		/* The last file has the grants, which name a function without its arguments: its former ones must be gone. */
		if (i + 1 == m->code.count)
			e = schema_state_told(db, db_run(db, "drop stale functions", code_drop_stale), problem,
					      "dropping former functions");
		if (e == OK)
			e = run_file(db, &m->code.files[i], problem);
	}
	/* The record of it is its maker's, like that of the tables. */
	if (e == OK)
		e = schema_state_told(db, db_run(db, "reset role", "RESET ROLE"), problem, "recording the code");
	if (e == OK)
		e = schema_state_told(db, record_code(db, &m->code_text), problem, "recording the code");
	return end_step(db, dry, e, problem, "the code");
}

static enum err apply_rule(struct db *db, bool dry, const struct sql_file *f, struct buf *problem)
{
	enum err e = begin_step(db, dry, "SET LOCAL ROLE tidings_owner", problem);

	if (e == OK)
		e = run_file(db, f, problem);
	return end_step(db, dry, e, problem, f->name);
}

static enum err apply_locked(const struct schema_files *m, struct db *db, bool dry, struct buf *report,
			     struct buf *problem)
{
	size_t applied = 0;
	bool own = true;
	bool there = false;
	enum err e = schema_state_exists(db, &there, problem);

	if (e == OK && !there)
		e = schema_state_told(db, db_run(db, "create tidings.migration", create), problem,
				      "creating the table tidings.migration");
	if (e == OK)
		e = schema_state_compare_tables(&m->tables, db, &applied, &own, problem);
	for (size_t i = applied; e == OK && i < m->tables.count; i++) {
		e = apply_table(db, dry, &m->tables.files[i], i + 1, problem);
		if (e == OK)
			buf_printf(report, "applied tables/%s\n", m->tables.files[i].name);
	}
	if (e == OK)
		e = schema_state_compare_code(m, db, own, &there, problem);
	if (e == OK && !there) {
		e = apply_code(m, db, dry, problem);
		if (e == OK)
			buf_add_text(report, "loaded code\n");
	}
	for (size_t i = 0; e == OK && i < m->rules.count; i++) {
		e = schema_state_find_rule(db, &m->rules.files[i], &there, problem);
		if (e != OK || there)
			continue;
		e = apply_rule(db, dry, &m->rules.files[i], problem);
		if (e == OK)
			buf_printf(report, "made rules/%s\n", m->rules.files[i].name);
	}
	return e;
}

enum err migration_apply(const struct schema_files *m, struct db *db, bool dry, struct buf *report, struct buf *problem)
{
	enum err e = OK;

	if (db_is_pooled(db)) {
		buf_add_text(problem, "migrating takes a connection to PostgreSQL itself, and this is a pooler");
		return ERR_CONFIG;
	}
	e = schema_state_check_encoding(db, problem);
	if (e == OK)
		e = run_statement(db, &lock, problem, "waiting for another migration");
	if (e == OK && dry)
		e = schema_state_told(db, db_run(db, "begin", "BEGIN"), problem, "beginning a transaction");
	if (e != OK)
		return e;
	e = apply_locked(m, db, dry, report, problem);
	if (dry && db_is_open(db)) {
		enum err back = schema_state_told(db, db_run(db, "rollback", "ROLLBACK"), problem, "taking it back");

		e = e == OK ? back : e;
	}
	if (db_is_open(db)) {
		enum err unlocked = run_statement(db, &unlock, problem, "ending the migration");

		if (e == OK)
			e = unlocked;
	}
	return e;
}
