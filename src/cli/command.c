#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log/log.h"
#include "cli/command.h"

static const char usage[] =
	"usage: tidings COMMAND [OPTION...]\n"
	"\n"
	"  token --user ID [--role ROLE] [--ttl SECONDS] [--kid KID] [--alg ALG] [--key FILE]\n"
	"                        print a token that lets this user in\n"
	"  migrate [--dir DIR]   bring the database's schema up to date\n"
	"  check [--dir DIR]     try the configuration, the keys, the database and its schema\n"
	"  keys fetch [--ca FILE] URL\n"
	"                        get an identity provider's keys, for TIDINGS_JWT_JWKS\n"
	"  epoch renew           after a restore: every client is told that it may have missed something\n"
	"  epoch timeline yes|no whether a failover does the same\n"
	"\n"
	"  --check-config        print the configuration and exit\n"
	"  --help, --version\n"
	"\n"
	"The configuration is the environment: see tidings.conf(5).\n";

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {{"token", token_command},
		{"migrate", migrate_command},
		{"check", check_command},
		{"epoch", epoch_command},
		{"keys", keys_command}};

void complain(const char *format, ...)
{
	va_list args;

	fputs("tidings: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void read_config(struct config *c)
{
	config_start(c, "tidings", usage, 0, NULL);
	log_open("tidings", LOG_OFF_, 0); /* what goes wrong is told by complain() */
}

int main(int argc, char **argv)
{
	struct config config;

	if (argc < 2) {
		fputs(usage, stderr);
		return 2;
	}
	log_open("tidings", LOG_OFF_, 0);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	if (argv[1][0] == '-') {
		config_start(&config, "tidings", usage, argc, argv);
		return 0;
	}
	complain("there is no command %s; see tidings --help", argv[1]);
	return 2;
}
