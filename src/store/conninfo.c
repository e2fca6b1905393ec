#include "store/conninfo.h"

#include <assert.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define CONNECT_TIMEOUT_S "3"

static void add(struct conninfo *c, size_t *count, const char *keyword, const char *value)
{
	if (!value)
		return;
	assert(*count + 1 < CONNINFO_PARAMS_MAX);
	c->keywords[*count] = keyword;
	c->values[*count] = value;
	(*count)++;
}

/* What libpq itself takes for the name of a database has nothing to be wrong. */
static enum err check(const char *conninfo)
{
	PQconninfoOption *parsed;
	char *message = NULL;

	if (!strchr(conninfo, '=') && !strstr(conninfo, "://"))
		return OK;
	parsed = PQconninfoParse(conninfo, &message);
	PQfreemem(message);
	if (!parsed) {
		log_error("the database connection string is not valid");
		return ERR_CONFIG;
	}
	PQconninfoFree(parsed);
	return OK;
}

enum err conninfo_new(struct conninfo **out, const char *conninfo, const char *default_user,
		      const char *application_name, int64_t timeout_ms)
{
	struct conninfo *c = calloc(1, sizeof(*c));
	size_t count = 0;
	enum err e = ERR_MEMORY;

	if (!c)
		return ERR_MEMORY;
	c->text = strdup(conninfo);
	if (!c->text)
		goto out;
	if (default_user) {
		c->user = strdup(default_user);
		if (!c->user)
			goto out;
	}
	e = check(c->text);
	if (e != OK)
		goto out;
	snprintf(c->tcp_user_timeout_ms, sizeof(c->tcp_user_timeout_ms), "%" PRId64, timeout_ms);

	/* libpq lets a later parameter win, so defaults come before the operator's string. */
	add(c, &count, "user", c->user);
	add(c, &count, "application_name", application_name);
	add(c, &count, "connect_timeout", CONNECT_TIMEOUT_S);
	add(c, &count, "keepalives_idle", "10");
	add(c, &count, "keepalives_interval", "5");
	add(c, &count, "keepalives_count", "3");
	add(c, &count, "tcp_user_timeout", c->tcp_user_timeout_ms);
	add(c, &count, "dbname", c->text);
	add(c, &count, "client_encoding", "UTF8");
out:
	if (e != OK)
		conninfo_free(&c);
	*out = c;
	return e;
}

void conninfo_free(struct conninfo **out)
{
	struct conninfo *c = *out;

	if (!c)
		return;
	free(c->text);
	free(c->user);
	free(c);
	*out = NULL;
}
