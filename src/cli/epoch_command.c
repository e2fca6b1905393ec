#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "store/admin/numbering.h"

static int tell(const struct arguments *a, struct db *db, enum err e)
{
	if (e != OK)
		return command_failed(db, e);
	if (a->json)
		puts("{\"status\":\"done\"}");
	return EXIT_DONE;
}

int epoch_renew_command(const struct arguments *a)
{
	struct config config;
	struct db *db = NULL;
	int status = command_connect(&config, &db, NULL, "tidings epoch");

	if (status == EXIT_DONE)
		status = tell(a, db, numbering_renew(db));
	db_close(&db);
	return status;
}

int epoch_timeline_command(const struct arguments *a)
{
	bool by_timeline = strcmp(a->operands[0], "yes") == 0;
	struct config config;
	struct db *db = NULL;
	int status = EXIT_WRONG;

	if (!by_timeline && strcmp(a->operands[0], "no") != 0) {
		complain("yes or no, not %s", a->operands[0]);
		return status;
	}
	status = command_connect(&config, &db, NULL, "tidings epoch");
	if (status == EXIT_DONE)
		status = tell(a, db, numbering_by_timeline(db, by_timeline));
	db_close(&db);
	return status;
}
