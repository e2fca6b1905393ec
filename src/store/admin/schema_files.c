#include "store/admin/schema_files.h"

#include <stdlib.h>
#include <string.h>

#define DIGITS 3

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

enum err schema_files_load(struct schema_files **out, const char *folder, struct buf *problem)
{
	struct schema_files *m = calloc(1, sizeof(*m));
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
		schema_files_free(&m);
	*out = m;
	return e;
}

void schema_files_free(struct schema_files **out)
{
	struct schema_files *m = *out;

	if (!m)
		return;
	sql_files_free(&m->tables);
	sql_files_free(&m->code);
	sql_files_free(&m->rules);
	buf_free(&m->code_text);
	free(m);
	*out = NULL;
}
