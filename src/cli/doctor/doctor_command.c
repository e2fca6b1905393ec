#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/doctor/doctor.h"

/* A line for each name or value that is wrong. */
static bool read_settings(struct config *c, struct findings *f)
{
	struct buf problems = BUF_EMPTY;
	enum err e = config_read(c, environ, &problems);
	const char *line = problems.bytes;

	if (e == OK)
		findings_add(f, "configuration", FINDING_OK, "ok");
	while (e != OK && line && *line) {
		size_t len = strcspn(line, "\n");

		findings_add(f, "configuration", FINDING_WRONG, "%.*s; see tidings.conf(5)", (int)len, line);
		line += len + (line[len] == '\n');
	}
	buf_free(&problems);
	return e == OK;
}

int doctor_command(const struct arguments *a)
{
	const char *directory = arguments_value(a, "dir"), *url = arguments_value(a, "url");
	struct findings findings = {.as_json = a->json};
	struct config config;

	if (read_settings(&config, &findings)) {
		doctor_machine(&config, &findings);
		doctor_database(&config, directory ? directory : TIDINGS_SQL_DIR, &findings);
		if (url)
			doctor_metrics(&config, doctor_web(url, &findings) ? url : NULL, &findings);
	}
	return findings_end(&findings);
}
