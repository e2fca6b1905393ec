#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/process/http_probe.h"
#include "cli/doctor/doctor.h"
#include "domain/caller/token.h"

#define DESCRIPTORS_MORE 2048 /* as ws/net/websocket.c needs them, beside those of connections */
#define WAIT_MS 2000

static const char *own_name(void)
{
	const struct passwd *user = getpwuid(geteuid());

	return user ? user->pw_name : "this user";
}

static const char *advice_on_keys(const char *problem)
{
	if (strstr(problem, "every user"))
		return "chmod 600, and chown to the user of the programs";
	if (strstr(problem, "has no key") || strstr(problem, "No such file"))
		return "tidings keys new default makes one";
	return "see TIDINGS_JWT_KEYS and TIDINGS_JWT_JWKS in tidings.conf(5), and tidings keys list";
}

static void look_at_keys(const struct config *c, struct findings *f)
{
	struct token_rules rules = token_rules_of(c);
	struct token_keys *keys = NULL;
	struct buf problem = BUF_EMPTY;

	if (access(c->jwt_keys, R_OK | X_OK) != 0 && errno == EACCES)
		findings_add(f, "keys", FINDING_HIDDEN, "%s may not read %s", own_name(), c->jwt_keys);
	else if (c->jwt_jwks && access(c->jwt_jwks, R_OK) != 0 && errno == EACCES)
		findings_add(f, "keys", FINDING_HIDDEN, "%s may not read %s", own_name(), c->jwt_jwks);
	else if (token_keys_load(&keys, c->jwt_keys, &rules, &problem) == OK)
		findings_add(f, "keys", FINDING_OK, "ok");
	else
		findings_add(f, "keys", FINDING_WRONG, "%s: %s", problem.len > 0 ? problem.bytes : err_text(ERR_MEMORY),
			     advice_on_keys(problem.len > 0 ? problem.bytes : ""));
	token_keys_free(&keys);
	buf_free(&problem);
}

static void look_at_descriptors(const struct config *c, struct findings *f)
{
	rlim_t needed = (rlim_t)c->connections_max + DESCRIPTORS_MORE;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max != RLIM_INFINITY && limit.rlim_max < needed)
		findings_add(f, "descriptors", FINDING_WRONG,
			     "a sidecar that is started from here may open %llu files, and "
			     "TIDINGS_CONNECTIONS_MAX=%lld needs "
			     "%llu: ulimit -Hn, or LimitNOFILE= of its unit",
			     (unsigned long long)limit.rlim_max, (long long)c->connections_max,
			     (unsigned long long)needed);
	else
		findings_add(f, "descriptors", FINDING_OK, "ok");
}

static void look_for_sidecar(const struct config *c, struct findings *f)
{
	struct http_probe probe;
	bool by_path = c->ws_socket && *c->ws_socket;

	http_probe_init(&probe, c->ws_socket, c->ws_address, c->ws_port);
	if (http_probe_run(&probe, WAIT_MS) == OK && probe.ready)
		findings_add(f, "sidecar here", FINDING_OK, "ok");
	else if (probe.fd < 0 && by_path && access(c->ws_socket, R_OK | W_OK) != 0 && errno == EACCES)
		findings_add(f, "sidecar here", FINDING_HIDDEN,
			     "%s may not connect to %s: users of the group tidings-web may", own_name(), c->ws_socket);
	else if (by_path)
		findings_add(f, "sidecar here", FINDING_WRONG,
			     "none that is ready answers on %s: is tidings-ws started, with the same "
			     "TIDINGS_WS_SOCKET, and what does "
			     "its log say",
			     c->ws_socket);
	else
		findings_add(f, "sidecar here", FINDING_WRONG,
			     "none that is ready answers on %s port %lld: is tidings-ws started, with the same "
			     "TIDINGS_WS_ADDRESS and "
			     "TIDINGS_WS_PORT, and what does its log say",
			     c->ws_address, (long long)c->ws_port);
	http_probe_close(&probe);
}

void doctor_machine(const struct config *c, struct findings *f)
{
	look_at_keys(c, f);
	look_at_descriptors(c, f);
	look_for_sidecar(c, f);
}
