#include "cli/command.h"
#include "cli/report.h"
#include "store/operation/overview.h"

int connections_command(const struct arguments *a)
{
	static const struct report_column columns[] = {
		{"connection_id", "CONNECTION"}, {"user_id", "USER"},  {"transport", "TRANSPORT"},
		{"connected_at", "CONNECTED"},	 {"topics", "TOPICS"},
	};
	int64_t limit = 100;
	struct buf json = BUF_EMPTY;
	struct config config;
	struct db *db = NULL;
	int status = EXIT_WRONG;

	if (!arguments_number(a, "limit", 1, 100000, &limit))
		return status;
	status = command_connect(&config, &db, "tidings_publisher", "tidings connections");
	if (status == EXIT_DONE) {
		enum err e =
			overview_connections(db, arguments_value(a, "user"), arguments_value(a, "topic"), limit, &json);

		status = e == OK ? report_table(&json, a->json, columns, ARRAY_LEN(columns), "nobody is connected")
				 : command_failed(db, e);
	}
	buf_free(&json);
	db_close(&db);
	return status;
}
