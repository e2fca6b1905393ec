/* As who migrates: what waits is nobody's business but the operator's. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/report.h"
#include "store/operation/outbox_admin.h"

int outbox_list_command(const struct arguments *a)
{
	static const struct report_column columns[] = {
		{"id", "ID"},	       {"kind", "KIND"},	 {"topic", "TOPIC"},
		{"deliver_at", "DUE"}, {"attempts", "ATTEMPTS"}, {"failed_at", "GIVEN UP"},
		{"error", "ERROR"},
	};
	int64_t limit = 100;
	struct buf json = BUF_EMPTY;
	struct config config;
	struct db *db = NULL;
	int status = EXIT_WRONG;

	if (!arguments_number(a, "limit", 1, 100000, &limit))
		return status;
	status = command_connect(&config, &db, NULL, "tidings outbox");
	if (status == EXIT_DONE) {
		enum err e = outbox_admin_list(db, arguments_value(a, "failed"), limit, &json);

		status = e == OK ? report_table(&json, a->json, columns, ARRAY_LEN(columns), "nothing waits")
				 : command_failed(db, e);
	}
	buf_free(&json);
	db_close(&db);
	return status;
}

/* Of the ids, each once. */
static int64_t count_ids(const struct arguments *a)
{
	int64_t count = 0;

	for (size_t i = 0; i < a->count; i++) {
		size_t k = 0;

		while (strcmp(a->operands[k], a->operands[i]) != 0)
			k++;
		count += k == i;
	}
	return count;
}

static int order(const struct arguments *a, enum outbox_order what, const char *done_word)
{
	bool all = arguments_value(a, "all");
	struct config config;
	struct db *db = NULL;
	int64_t done = 0;
	int status = EXIT_WRONG;

	if (all == (a->count > 0)) {
		complain("what? Ids of tidings outbox list, or --all");
		return status;
	}
	status = command_connect(&config, &db, NULL, "tidings outbox");
	if (status == EXIT_DONE) {
		enum err e =
			outbox_admin_order(db, what, all ? NULL : (const char *const *)a->operands, a->count, &done);

		if (e != OK)
			status = command_failed(db, e);
		else
			printf(a->json ? "{\"%s\":%lld}\n" : "%s: %lld\n", done_word, (long long)done);
		if (e == OK && !all && done < count_ids(a)) {
			complain("%lld of these were not given up, or are not there; see tidings outbox list --failed",
				 (long long)(count_ids(a) - done));
			status = EXIT_NOT_FOUND;
		}
	}
	db_close(&db);
	return status;
}

int outbox_retry_command(const struct arguments *a)
{
	return order(a, OUTBOX_RETRY, "relayed again");
}

int outbox_drop_command(const struct arguments *a)
{
	return order(a, OUTBOX_DROP, "dropped");
}
