/*
 * The set of an identity provider's keys, into the file that TIDINGS_JWT_JWKS names: where there are keys that the programs
 * can use; else the file stays as it is. The program curl fetches it: what comes from a network that is not one's own is
 * read in a process of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/report.h"
#include "domain/caller/key_ring.h"
#include "domain/jose/jwk_set.h"
#include "domain/text/json.h"

#define SECONDS_MAX "30" /* for all of it, names and TLS included */
#define STATUS_LEN 3	 /* bytes: of an HTTP status, which curl writes behind the body */

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

/* {"file":…,"written":…,"keys":[{"kid":…,"alg":…},{"kid":…,"fault":…}]} */
static int tell_json(const char *path, bool written, const struct jwk_set *set)
{
	struct buf json = BUF_EMPTY;
	int status = EXIT_DONE;

	buf_add_text(&json, "{\"file\":");
	json_add_string(&json, path, strlen(path));
	buf_printf(&json, ",\"written\":%s,\"keys\":[", written ? "true" : "false");
	for (size_t i = 0; i < set->count; i++) {
		const struct jwk *key = &set->keys[i];
		const char *what = key->fault ? key->fault : key->alg;

		buf_add_text(&json, i > 0 ? ",{\"kid\":" : "{\"kid\":");
		json_add_string(&json, key->kid, strlen(key->kid));
		buf_add_text(&json, key->fault ? ",\"fault\":" : ",\"alg\":");
		json_add_string(&json, what, strlen(what));
		buf_add_text(&json, "}");
	}
	buf_add_text(&json, "]}");
	status = report_json(&json);
	buf_free(&json);
	return status;
}

static int tell(const char *path, bool written, const struct jwk_set *set)
{
	struct buf report = BUF_EMPTY;
	int status = EXIT_DONE;

	jwk_set_report(set, "\n", &report);
	buf_printf(&report, "\n%s: %s", path, written ? "written" : "unchanged");
	if (!buf_ok(&report))
		status = command_failed(NULL, ERR_MEMORY);
	else if (puts(report.bytes) < 0)
		status = EXIT_FAILED;
	buf_free(&report);
	return status;
}

/* A key that the folder of keys has too, by kid and algorithm: programs would refuse both. NULL: there is none. */
static const struct jwk *find_in_folder(const struct config *c, const struct jwk_set *set)
{
	const struct jwk *twin = NULL;

	for (size_t i = 0; !twin && i < set->count; i++) {
		const struct jwk *key = &set->keys[i];
		struct buf path = BUF_EMPTY;

		if (key->fault || !key_ring_kid_valid(key->kid))
			continue;
		buf_printf(&path, "%s/%s.%s", c->jwt_keys, key->kid, key->alg);
		if (buf_ok(&path) && access(path.bytes, F_OK) == 0)
			twin = key;
		buf_free(&path);
	}
	return twin;
}

static int take_over(const struct config *c, const char *url, const struct buf *body, bool as_json)
{
	struct buf problem = BUF_EMPTY;
	int status = EXIT_FAILED;
	struct jwk_set set = {0};
	enum err e = jwk_set_read(&set, url, (struct span){body->bytes, body->len}, c->jwt_algorithms, &problem);
	const struct jwk *twin = e == OK ? find_in_folder(c, &set) : NULL;
	bool same = e == OK && has(c->jwt_jwks, body);

	if (twin) {
		complain("%s has a key of the kid %s for %s, and so has TIDINGS_JWT_KEYS; %s stays as it is", url,
			 twin->kid, twin->alg, c->jwt_jwks);
		e = ERR_CONFIG;
	} else if (e != OK) {
		complain("%s; %s stays as it is", e == ERR_CONFIG && buf_ok(&problem) ? problem.bytes : err_text(e),
			 c->jwt_jwks);
	} else if (!same) {
		e = file_replace(c->jwt_jwks, 0644, (struct span){body->bytes, body->len});
		if (e != OK)
			complain("%s cannot be written: %s", c->jwt_jwks,
				 e == ERR_SYSTEM ? strerror(errno) : err_text(e));
	}
	if (e == OK)
		status = as_json ? tell_json(c->jwt_jwks, !same, &set) : tell(c->jwt_jwks, !same, &set);
	jwk_set_free(&set);
	buf_free(&problem);
	return status;
}

int keys_fetch_command(const struct arguments *a)
{
	const char *url = a->operands[0];
	struct buf body = BUF_EMPTY, problem = BUF_EMPTY;
	struct token_rules rules;
	struct config config;
	int status = EXIT_FAILED;

	if (strncasecmp(url, "https://", strlen("https://")) != 0) {
		complain("%s is not fetched: keys come by https:// alone", url);
		return EXIT_WRONG;
	}
	read_config(&config);
	rules = token_rules_of(&config);
	if (!config.jwt_jwks) {
		complain("TIDINGS_JWT_JWKS is not set: it names the file that is written");
		return EXIT_WRONG;
	}
	if (token_rules_check(&rules, &problem) != OK) {
		complain("%s", buf_ok(&problem) ? problem.bytes : err_text(ERR_MEMORY));
		status = EXIT_WRONG;
	} else if (fetch(url, arguments_value(a, "ca"), &body)) {
		status = take_over(&config, url, &body, a->json);
	}
	buf_free(&body);
	buf_free(&problem);
	return status;
}
