#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "store/admin/numbering.h"

static const char usage[] =
	"usage: tidings epoch renew\n"
	"       tidings epoch timeline yes|no\n"
	"\n"
	"  renew      after a restore, before the programs start: every client is told that it may have missed\n"
	"             something\n"
	"  timeline   whether a failover does the same: yes, unless the standbys are synchronous\n"
	"\n"
	"TIDINGS_DATABASE names who migrates.\n";

enum order { RENEW, TIMELINE_YES, TIMELINE_NO };

static bool read_order(int argc, char **argv, enum order *order)
{
	if (argc == 2 && strcmp(argv[1], "renew") == 0)
		*order = RENEW;
	else if (argc == 3 && strcmp(argv[1], "timeline") == 0 && strcmp(argv[2], "yes") == 0)
		*order = TIMELINE_YES;
	else if (argc == 3 && strcmp(argv[1], "timeline") == 0 && strcmp(argv[2], "no") == 0)
		*order = TIMELINE_NO;
	else
		return false;
	return true;
}

int epoch_command(int argc, char **argv)
{
	enum order order = RENEW;
	struct config config;
	struct db *db = NULL;
	enum err e = OK;

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(usage, stdout);
		return 0;
	}
	if (!read_order(argc, argv, &order)) {
		fputs(usage, stderr);
		return 2;
	}
	read_config(&config);
	e = db_open(&db, config.database, NULL, "tidings epoch", config.database_timeout_ms);
	if (e == OK)
		e = order == RENEW ? numbering_renew(db) : numbering_by_timeline(db, order == TIMELINE_YES);
	if (e != OK)
		complain("%s", db ? db_problem(db) : err_text(e));
	db_close(&db);
	return e == OK ? 0 : 1;
}
