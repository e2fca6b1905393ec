#include "store/admin/schema_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/blocking/db_internal.h"

#define CHECKSUM_SIZE 65

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
static const struct statement code_checksum = {"code_checksum", "SELECT checksum FROM tidings.code"};
static const struct statement code_applied = {"code_applied",
					      "SELECT checksum FROM tidings.applied() WHERE version = 0"};
static const struct statement rule_exists = {"rule_exists", "SELECT EXISTS (SELECT FROM pg_proc WHERE pronamespace = "
							    "to_regnamespace('tidings') AND proname = $1)"};

enum err schema_state_told(const struct db *db, enum err e, struct buf *problem, const char *doing)
{
	if (e != OK)
		buf_printf(problem, "%s failed: %s", doing, db_problem(db));
	return e;
}

enum err schema_state_check_encoding(struct db *db, struct buf *problem)
{
	PGresult *r = NULL;
	enum err e = schema_state_told(db, db_query(db, &encoding, 0, NULL, NULL, NULL, &r), problem,
				       "reading the database's encoding");

	if (e == OK && strcmp(PQgetvalue(r, 0, 0), "UTF8") != 0) {
		buf_printf(problem,
			   "the database's encoding is %s, and UTF8 is needed: createdb -E UTF8 -T template0 NAME",
			   PQgetvalue(r, 0, 0));
		e = ERR_CONFIG;
	}
	PQclear(r);
	return e;
}

enum err schema_state_exists(struct db *db, bool *there, struct buf *problem)
{
	PGresult *r = NULL;
	enum err e = db_query(db, &exists, 0, NULL, NULL, NULL, &r);

	if (e == OK)
		*there = strcmp(PQgetvalue(r, 0, 0), "t") == 0;
	PQclear(r);
	return schema_state_told(db, e, problem, "looking for the table tidings.migration");
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
	return schema_state_told(db, e, problem, "computing a checksum");
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
	enum err e = schema_state_told(db, db_query(db, &may_read, 0, NULL, NULL, NULL, &result), problem,
				       "asking for rights");

	if (e == OK)
		*may = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
	PQclear(result);
	return e;
}

enum err schema_state_compare_tables(const struct sql_files *tables, struct db *db, size_t *applied, bool *own,
				     struct buf *problem)
{
	PGresult *rows = NULL;
	bool there = false;
	enum err e = schema_state_exists(db, &there, problem);

	*applied = 0;
	if (e == OK && there)
		e = find_right(db, own, problem);
	if (e != OK || !there)
		return e;
	e = schema_state_told(db, db_query(db, *own ? &list : &list_applied, 0, NULL, NULL, NULL, &rows), problem,
			      "reading the table tidings.migration");
	for (int i = 0; e == OK && i < PQntuples(rows); i++)
		e = compare_one(tables, db, rows, i, problem);
	if (e == OK)
		*applied = (size_t)PQntuples(rows);
	PQclear(rows);
	return e;
}

enum err schema_state_compare_code(const struct schema_files *m, struct db *db, bool own, bool *current,
				   struct buf *problem)
{
	char of_files[CHECKSUM_SIZE] = "";
	PGresult *rows = NULL;
	enum err e = checksum_of(db, &m->code_text, of_files, problem);

	if (e == OK)
		e = schema_state_told(db,
				      db_query(db, own ? &code_checksum : &code_applied, 0, NULL, NULL, NULL, &rows),
				      problem, "reading the table tidings.code");
	if (e == OK)
		*current = PQntuples(rows) == 1 && strcmp(PQgetvalue(rows, 0, 0), of_files) == 0;
	PQclear(rows);
	return e;
}

enum err schema_state_find_rule(struct db *db, const struct sql_file *rule, bool *there, struct buf *problem)
{
	struct buf name = BUF_EMPTY;
	PGresult *result = NULL;
	enum err e = OK;

	buf_add(&name, rule->name, strlen(rule->name) - strlen(".sql"));
	if (!buf_ok(&name))
		return ERR_MEMORY;
	e = schema_state_told(db, db_query(db, &rule_exists, 1, (const char *const[]){name.bytes}, NULL, NULL, &result),
			      problem, rule->name);
	if (e == OK)
		*there = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
	PQclear(result);
	buf_free(&name);
	return e;
}

enum err schema_state_compare(const struct schema_files *m, struct db *db, struct buf *pending, struct buf *problem)
{
	size_t applied = 0;
	bool current = false;
	bool own = true;
	enum err e = schema_state_check_encoding(db, problem);

	if (e == OK)
		e = schema_state_compare_tables(&m->tables, db, &applied, &own, problem);
	for (size_t i = applied; e == OK && i < m->tables.count; i++)
		buf_printf(pending, "tables/%s\n", m->tables.files[i].name);
	if (e == OK && applied > 0)
		e = schema_state_compare_code(m, db, own, &current, problem);
	if (e == OK && !current)
		buf_add_text(pending, "code\n");
	for (size_t i = 0; e == OK && i < m->rules.count; i++) {
		bool there = false;

		e = schema_state_find_rule(db, &m->rules.files[i], &there, problem);
		if (e == OK && !there)
			buf_printf(pending, "rules/%s\n", m->rules.files[i].name);
	}
	return e;
}
