/* What `tidings` is told to do goes to its verb. */
#include <stdio.h>
#include <string.h>

#include "base/log/log.h"
#include "cli/command.h"
#include "cli/verbs.h"

/* For config_start(), which prints it. */
static const char *help(void)
{
	static struct buf text;

	verbs_add_help(&text);
	return buf_ok(&text) ? text.bytes : "no memory\n";
}

/* What was printed has to arrive: a full disk is told. */
static int end(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	complain("what was printed could not be written");
	return status == EXIT_DONE ? EXIT_FAILED : status;
}

static int print(struct buf *text, FILE *to)
{
	fputs(buf_ok(text) && text->len > 0 ? text->bytes : "no memory\n", to);
	buf_free(text);
	return to == stdout ? end(EXIT_DONE) : EXIT_WRONG;
}

static int run(const struct verb *verb, int argc, char **argv)
{
	struct arguments arguments;
	struct buf text = BUF_EMPTY;

	switch (arguments_read(&arguments, verb, argc, argv)) {
	case ARGUMENTS_GOOD:
		return end(verb->run(&arguments));
	case ARGUMENTS_HELP:
		verbs_add_help_of_one(&text, verb);
		return print(&text, stdout);
	case ARGUMENTS_WRONG:
		break;
	}
	return EXIT_WRONG;
}

int main(int argc, char **argv)
{
	const struct verb *verb = NULL;
	struct buf text = BUF_EMPTY;
	struct config config;
	int words = 0;

	log_open("tidings", LOG_OFF_, 0);
	if (argc < 2) {
		verbs_add_help(&text);
		return print(&text, stderr);
	}
	if (strcmp(argv[1], "--complete") == 0) { /* for a shell: etc/bash-completion/tidings */
		verbs_complete(&text, argc - 2, argv + 2);
		return text.len > 0 ? print(&text, stdout) : EXIT_DONE;
	}
	verb = verbs_find(argc - 1, argv + 1, &words);
	if (verb)
		return run(verb, argc - words, argv + words);
	if (argv[1][0] == '-') {
		config_start(&config, "tidings", help(), argc, argv);
		return EXIT_DONE;
	}
	if (!verbs_is_first_word(argv[1])) {
		complain("there is no verb %s; see tidings --help", argv[1]);
		return EXIT_WRONG;
	}
	verbs_add_help_of(&text, argv[1]);
	return print(&text, argc > 2 && strcmp(argv[2], "--help") == 0 ? stdout : stderr);
}
