#include "cli/doctor/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/report.h"
#include "cli/text/plain.h"
#include "domain/text/json.h"

static void add_json(struct findings *f, const char *about, enum finding finding, const char *problem)
{
	static const char *const words[] = {[FINDING_OK] = "ok",
					    [FINDING_NOTE] = "note",
					    [FINDING_HIDDEN] = "not looked at",
					    [FINDING_WRONG] = "wrong"};

	buf_printf(&f->json, "%s{\"check\":", f->json.len > 0 ? "," : "[");
	json_add_string(&f->json, about, strlen(about));
	buf_printf(&f->json, ",\"result\":\"%s\"", words[finding]);
	if (finding != FINDING_OK) {
		buf_add_text(&f->json, ",\"problem\":");
		json_add_string(&f->json, problem, strlen(problem));
	}
	buf_add_text(&f->json, "}");
}

void findings_add(struct findings *f, const char *about, enum finding finding, const char *problem, ...)
{
	static const char *const before[] = {[FINDING_OK] = "",
					     [FINDING_NOTE] = "note: ",
					     [FINDING_HIDDEN] = "not looked at: ",
					     [FINDING_WRONG] = ""};
	char sentence[1024] = "ok";
	struct buf line = BUF_EMPTY;
	va_list args;

	if (finding != FINDING_OK) {
		va_start(args, problem);
		vsnprintf(sentence, sizeof(sentence), problem, args);
		va_end(args);
	}
	f->wrong = f->wrong || finding == FINDING_WRONG;
	f->hidden = f->hidden || finding == FINDING_HIDDEN;
	if (f->as_json) {
		add_json(f, about, finding, sentence);
		return;
	}
	plain_add_lines(&line, sentence);
	printf("%s: %s%s\n", about, before[finding], line.len > 0 && buf_ok(&line) ? line.bytes : "no memory");
	buf_free(&line);
	fflush(stdout); /* what comes next may take its time */
}

int findings_end(struct findings *f)
{
	int status = EXIT_DONE;

	if (f->as_json) {
		buf_add_text(&f->json, "]");
		status = report_json(&f->json);
	}
	buf_free(&f->json);
	if (status != EXIT_DONE || f->wrong)
		return EXIT_FAILED;
	return f->hidden ? EXIT_HIDDEN : EXIT_DONE;
}
