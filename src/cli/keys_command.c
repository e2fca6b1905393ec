#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/command.h"
#include "domain/jose/jwk_set.h"

#define SECONDS_MAX "30" /* for all of it, names and TLS included */
#define STATUS_LEN 3	 /* bytes: of an HTTP status, which curl writes behind the body */

static const char usage[] =
	"usage: tidings keys fetch [--ca FILE] URL\n"
	"\n"
	"  URL         where an identity provider has its keys (jwks_uri): https alone\n"
	"  --ca FILE   certificates of an authority of your own\n"
	"\n"
	"Writes the file that TIDINGS_JWT_JWKS names, where there are keys that the programs can use;\n"
	"else the file stays as it is. They read it on SIGHUP. It takes curl.\n";

/* ---- fetching */

/* The child's number; -1: it could not be made. */
static pid_t start_curl(const char *url, const char *authorities, int output)
{
	/* The first keeps ~/.curlrc out. */
	const char *const argv[] = {"curl",	    "--disable",  "--silent",  "--show-error",
				    "--globoff",    "--proto",	  "=https",    "--disallow-username-in-url",
				    "--tlsv1.2",    "--max-time", SECONDS_MAX, "--write-out",
				    "%{http_code}", "--url",	  url,	       authorities ? "--cacert" : NULL,
				    authorities,    NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid = -1;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	errno = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return errno == 0 ? pid : -1;
}

/* ERR_TOO_LARGE: there is more than that. */
static enum err read_output(int fd, size_t bytes_max, struct buf *out)
{
	char bytes[4096];
	ssize_t n = 1;

	while (n != 0 && out->len <= bytes_max) {
		n = read(fd, bytes, sizeof(bytes));
		if (n < 0 && errno != EINTR)
			return ERR_SYSTEM;
		if (n > 0)
			buf_add(out, bytes, (size_t)n);
	}
	if (!buf_ok(out))
		return ERR_MEMORY;
	return out->len > bytes_max ? ERR_TOO_LARGE : OK;
}

/*
 *	output	out: what curl has written
 *	status	out: of its end
 *
 * ERR_SYSTEM     it could not be started, or read from: errno tells
 * ERR_TOO_LARGE  more than a set of keys may have
 */
static enum err run_curl(const char *url, const char *authorities, struct buf *output, int *status)
{
	enum err e = ERR_SYSTEM;
	pid_t pid = -1;
	int ends[2];
	int saved_errno = 0;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return ERR_SYSTEM;
	pid = start_curl(url, authorities, ends[1]);
	close(ends[1]);
	if (pid >= 0)
		e = read_output(ends[0], JWK_SET_BYTES_MAX + STATUS_LEN, output);
	saved_errno = errno;
	close(ends[0]); /* whoever has more to write ends by that */
	while (pid >= 0 && waitpid(pid, status, 0) < 0 && errno == EINTR)
		;
	errno = saved_errno;
	return e;
}

/*
 *	body	out: what is there
 *
 * False: it could not be fetched, and a complaint has said so.
 */
static bool fetch(const char *url, const char *authorities, struct buf *body)
{
	int status = -1;
	enum err e = run_curl(url, authorities, body, &status);
	const char *http_status = body->len >= STATUS_LEN ? body->bytes + body->len - STATUS_LEN : "";
	bool good = e == OK && WIFEXITED(status) && WEXITSTATUS(status) == 0 && strcmp(http_status, "200") == 0;

	if (e == ERR_SYSTEM)
		complain("curl, which fetches, could not be run: %s", strerror(errno));
	else if (e == ERR_TOO_LARGE)
		complain("%s has more than %d bytes", url, JWK_SET_BYTES_MAX);
	else if (e != OK)
		complain("%s", err_text(e));
	else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		complain("%s could not be fetched", url); /* why not, curl has said */
	else if (strcmp(http_status, "200") != 0)
		complain("%s answers with status %s, not 200", url, http_status);
	if (good)
		buf_cut(body, body->len - STATUS_LEN);
	return good;
}

/* ---- the command */

/* Whether the file has these bytes already. */
static bool has(const char *path, const struct buf *body)
{
	struct buf old = BUF_EMPTY;
	bool same = file_read(path, JWK_SET_BYTES_MAX, false, &old) == OK && old.len == body->len &&
		    memcmp(old.bytes, body->bytes, old.len) == 0;

	buf_free(&old);
	return same;
}

static int take_over(const struct config *c, const char *url, const struct buf *body)
{
	struct buf report = BUF_EMPTY, problem = BUF_EMPTY;
	struct jwk_set set = {0};
	enum err e = jwk_set_read(&set, url, (struct span){body->bytes, body->len}, c->jwt_algorithms, &problem);
	bool same = e == OK && has(c->jwt_jwks, body);

	if (e != OK) {
		complain("%s; %s stays as it is", e == ERR_CONFIG && buf_ok(&problem) ? problem.bytes : err_text(e),
			 c->jwt_jwks);
	} else if (!same) {
		e = file_replace(c->jwt_jwks, 0644, (struct span){body->bytes, body->len});
		if (e != OK)
			complain("%s cannot be written: %s", c->jwt_jwks,
				 e == ERR_SYSTEM ? strerror(errno) : err_text(e));
	}
	if (e == OK) {
		jwk_set_report(&set, "\n", &report);
		printf("%s\n%s: %s\n", buf_ok(&report) ? report.bytes : err_text(ERR_MEMORY), c->jwt_jwks,
		       same ? "unchanged" : "written");
	}
	jwk_set_free(&set);
	buf_free(&report);
	buf_free(&problem);
	return e == OK ? 0 : 1;
}

static int fetch_keys(const char *url, const char *authorities)
{
	struct buf body = BUF_EMPTY, problem = BUF_EMPTY;
	struct token_rules rules;
	struct config config;
	int answer = 1;

	read_config(&config);
	rules = token_rules_of(&config);
	if (!config.jwt_jwks) {
		complain("TIDINGS_JWT_JWKS is not set: it names the file that is written");
		return 2;
	}
	if (token_rules_check(&rules, &problem) != OK) {
		complain("%s", buf_ok(&problem) ? problem.bytes : err_text(ERR_MEMORY));
		buf_free(&problem);
		return 2;
	}
	if (fetch(url, authorities, &body))
		answer = take_over(&config, url, &body);
	buf_free(&body);
	return answer;
}

int keys_command(int argc, char **argv)
{
	static const struct option options[] = {
		{"ca", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *authorities = NULL;
	int option = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c') {
			authorities = optarg;
		} else if (option == 'h') {
			fputs(usage, stdout);
			return 0;
		} else {
			return 2;
		}
	}
	if (argc - optind != 2 || strcmp(argv[optind], "fetch") != 0) {
		fputs(usage, stderr);
		return 2;
	}
	if (strncasecmp(argv[optind + 1], "https://", strlen("https://")) != 0) {
		complain("%s is not fetched: keys come by https:// alone", argv[optind + 1]);
		return 2;
	}
	return fetch_keys(argv[optind + 1], authorities);
}
