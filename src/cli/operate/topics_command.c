#include "cli/command.h"
#include "cli/report.h"
#include "store/operation/overview.h"

int topics_command(const struct arguments *a)
{
	static const struct report_column columns[] = {
		{"topic", "TOPIC"}, {"clients", "CLIENTS"},   {"per_minute", "A MINUTE"},
		{"lag", "LAG"},	    {"last_seq", "LAST SEQ"}, {"newest_at", "NEWEST"},
	};
	const char *by = arguments_value(a, "by");
	int64_t limit = 20;
	struct buf json = BUF_EMPTY;
	struct config config;
	struct db *db = NULL;
	int status = EXIT_WRONG;

	if (!arguments_number(a, "limit", 1, 10000, &limit))
		return status;
	/* It looks at every topic: a million takes seconds. */
	status = command_connect_patiently(&config, &db, "tidings_status", "tidings topics");
	if (status == EXIT_DONE) {
		enum err e = overview_topics(db, by ? by : "rate", limit, &json);

		status = e == OK ? report_table(&json, a->json, columns, ARRAY_LEN(columns), "there are no topics")
				 : command_failed(db, e);
	}
	buf_free(&json);
	db_close(&db);
	return status;
}
