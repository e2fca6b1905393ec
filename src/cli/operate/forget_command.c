/* As who migrates: no program may erase a user. A mistyped id costs somebody else everything, so it is asked first. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/report.h"
#include "domain/caller/user_id.h"
#include "store/operation/user_admin.h"

static int ask(const char *user)
{
	char answer[8] = "";

	if (!isatty(STDIN_FILENO)) {
		complain("--yes? What is erased about %s cannot be brought back", user);
		return EXIT_WRONG;
	}
	fprintf(stderr, "Erase what is kept about %s? It cannot be brought back. (yes/no) ", user);
	if (fgets(answer, sizeof(answer), stdin) && strcmp(answer, "yes\n") == 0)
		return EXIT_DONE;
	complain("nothing was erased");
	return EXIT_FAILED;
}

int forget_command(const struct arguments *a)
{
	static const struct report_column columns[] = {
		{"kind", "KIND"}, {"deleted", "DELETED"}, {"anonymised", "ANONYMISED"}};
	const char *user = a->operands[0];
	struct buf json = BUF_EMPTY;
	struct config config;
	struct db *db = NULL;
	int64_t erased = 0;
	int status = EXIT_WRONG;

	if (!user_id_valid(user, strlen(user))) {
		complain("that is not the id of a user");
		return status;
	}
	status = arguments_value(a, "yes") ? EXIT_DONE : ask(user);
	/* Millions of readings take longer than a program may. */
	if (status == EXIT_DONE)
		status = command_connect_patiently(&config, &db, NULL, "tidings forget");
	if (status == EXIT_DONE) {
		enum err e = user_admin_forget(db, user, &json, &erased);

		status =
			e == OK ? report_table(&json, a->json, columns, ARRAY_LEN(columns), "") : command_failed(db, e);
	}
	if (status == EXIT_DONE && erased == 0) {
		complain("nothing was kept about %s", user);
		status = EXIT_NOT_FOUND;
	}
	buf_free(&json);
	db_close(&db);
	return status;
}
