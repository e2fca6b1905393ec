#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/command.h"
#include "domain/caller/user_id.h"

#define KEY_FILE_MAX 16384  /* bytes */
#define TTL_MAX_S 315360000 /* ten years */
#define TTL_DEFAULT_S 3600

static const char usage[] =
	"usage: tidings token --user ID [--role user|clinician|service|admin] [--ttl SECONDS]\n"
	"                     [--kid KID] [--alg ALG] [--key FILE]\n"
	"\n"
	"  --user ID       whom the token is for\n"
	"  --role ROLE     user, clinician, service or admin (user)\n"
	"  --ttl SECONDS   how long it is good for (3600)\n"
	"  --kid KID       the key to sign with, and to name in the token (default)\n"
	"  --alg ALG       the algorithm (the first of TIDINGS_JWT_ALGORITHMS that there is a key for)\n"
	"  --key FILE      sign with this private key in PEM, not with a secret of TIDINGS_JWT_KEYS\n";

struct arguments {
	const char *kid;	    /* NULL: the default */
	const char *alg;	    /* NULL: the first that fits */
	const char *key_file;	    /* NULL: a secret */
	struct token_claims claims; /* expires_s is the time to live until `now` is known */
};

static bool parse_role(const char *text, enum role *role)
{
	for (int r = ROLE_USER; r <= ROLE_ADMIN; r++) {
		if (strcmp(text, role_text((enum role)r)) == 0) {
			*role = (enum role)r;
			return true;
		}
	}
	return false;
}

static bool parse_ttl(const char *text, int64_t *seconds)
{
	char *end = NULL;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*seconds = strtoll(text, &end, 10);
	return errno == 0 && *end == '\0' && *seconds >= 1 && *seconds <= TTL_MAX_S;
}

/* 0: go on; else as a command. */
static int take_argument(struct arguments *a, int option)
{
	switch (option) {
	case 'u':
		if (!user_id_valid(optarg, strlen(optarg))) {
			complain("--user must be 1 to %d bytes of UTF-8 without control characters", USER_ID_MAX);
			return 2;
		}
		memcpy(a->claims.user_id, optarg, strlen(optarg) + 1);
		return 0;
	case 'r':
		if (!parse_role(optarg, &a->claims.role)) {
			complain("--role must be user, clinician, service or admin");
			return 2;
		}
		return 0;
	case 't':
		if (!parse_ttl(optarg, &a->claims.expires_s)) {
			complain("--ttl must be a whole number of seconds from 1 to %d", TTL_MAX_S);
			return 2;
		}
		return 0;
	case 'k':
		a->kid = optarg;
		return 0;
	case 'a':
		a->alg = optarg;
		return 0;
	case 'f':
		a->key_file = optarg;
		return 0;
	case 'h':
		fputs(usage, stdout);
		exit(0);
	default: /* getopt has complained */
		return 2;
	}
}

static int take_arguments(struct arguments *a, int argc, char **argv)
{
	static const struct option options[] = {
		{"user", required_argument, NULL, 'u'}, {"role", required_argument, NULL, 'r'},
		{"ttl", required_argument, NULL, 't'},	{"kid", required_argument, NULL, 'k'},
		{"alg", required_argument, NULL, 'a'},	{"key", required_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},	{NULL, 0, NULL, 0},
	};
	int option = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		int answer = take_argument(a, option);

		if (answer != 0)
			return answer;
	}
	if (optind < argc || a->claims.user_id[0] == '\0') {
		fputs(usage, stderr);
		return 2;
	}
	return 0;
}

static int print_token(const struct arguments *a, const struct token_keys *keys, const char *private_key_pem)
{
	struct token_claims claims = a->claims;
	struct buf token = BUF_EMPTY;
	int64_t now_s = clock_wall_us() / 1000000;
	enum err e = OK;

	claims.expires_s += now_s;
	e = token_make(keys, a->kid, a->alg, private_key_pem, &claims, now_s, &token);
	if (e == OK)
		puts(token.bytes);
	else if (e == ERR_NOT_FOUND)
		complain("there is no secret %s in TIDINGS_JWT_KEYS to sign with; --key takes a private key",
			 a->kid ? a->kid : "default");
	else if (e == ERR_CONFIG)
		complain("TIDINGS_JWT_ROLES has no name for the role %s", role_text(claims.role));
	else if (e == ERR_INPUT && private_key_pem)
		complain("%s is not a private key in PEM for %s", a->key_file,
			 a->alg ? a->alg : "TIDINGS_JWT_ALGORITHMS");
	else
		complain("the token could not be made: %s", err_text(e));
	buf_free(&token);
	return e == OK ? 0 : 1;
}

int token_command(int argc, char **argv)
{
	struct arguments a = {.claims.expires_s = TTL_DEFAULT_S};
	struct buf private_key = BUF_EMPTY;
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;
	struct token_rules rules;
	struct config config;
	int answer = take_arguments(&a, argc, argv);

	if (answer != 0)
		return answer;
	read_config(&config);
	rules = token_rules_of(&config);
	answer = 1;
	if (token_keys_load(&keys, config.jwt_keys, &rules, &problem) != OK) {
		complain("%s", buf_ok(&problem) && problem.len > 0 ? problem.bytes : err_text(ERR_MEMORY));
		goto out;
	}
	if (a.key_file) {
		enum err e = file_read(a.key_file, KEY_FILE_MAX, true, &private_key);

		if (e != OK) {
			complain("the private key %s cannot be used: %s", a.key_file,
				 e == ERR_SYSTEM      ? strerror(errno)
				 : e == ERR_FORBIDDEN ? "every user of this machine can read it"
						      : err_text(e));
			goto out;
		}
	}
	answer = print_token(&a, keys, private_key.bytes);
out:
	token_keys_free(&keys);
	if (private_key.bytes)
		explicit_bzero(private_key.bytes, private_key.size);
	buf_free(&private_key);
	buf_free(&problem);
	return answer;
}
