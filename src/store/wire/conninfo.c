#include "store/wire/conninfo.h"

#include <libpq-fe.h>

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct conninfo *c, size_t *count, const char *keyword, const char *value)
{
	if (!value)
		return;
	assert(*count + 1 < CONNINFO_PARAMS_MAX);
	c->keywords[*count] = keyword;
	c->values[*count] = value;
	(*count)++;
}

void conninfo_set_host(struct conninfo *c, size_t index, const char *address)
{
	struct host host = hosts_get(c->hosts, index);
	size_t count = c->shared;

	add(c, &count, "host", host.name);
	add(c, &count, "hostaddr", address ? address : host.address);
	add(c, &count, "port", host.port);
	c->keywords[count] = NULL;
	c->values[count] = NULL;
}

enum err conninfo_new(struct conninfo **out, struct hosts *hosts, const char *default_user,
		      const char *application_name, int64_t timeout_ms)
{
	struct conninfo *c = calloc(1, sizeof(*c));

	*out = NULL;
	if (!c)
		return ERR_MEMORY;
	c->hosts = hosts_share(hosts);
	if (default_user) {
		c->user = strdup(default_user);
		if (!c->user) {
			conninfo_free(&c);
			return ERR_MEMORY;
		}
	}
	snprintf(c->tcp_user_timeout_ms, sizeof(c->tcp_user_timeout_ms), "%" PRId64, timeout_ms);
	snprintf(c->connect_timeout_s, sizeof(c->connect_timeout_s), "%" PRId64, hosts_connect_ms(hosts) / 1000);

	/* libpq lets a later parameter win, so defaults come before the operator's string. */
	add(c, &c->shared, "user", c->user);
	add(c, &c->shared, "application_name", application_name);
	add(c, &c->shared, "keepalives_idle", "5");
	add(c, &c->shared, "keepalives_interval", "2");
	add(c, &c->shared, "keepalives_count", "2");
	add(c, &c->shared, "tcp_user_timeout", c->tcp_user_timeout_ms);
	add(c, &c->shared, "dbname", hosts_conninfo(hosts));
	add(c, &c->shared, "connect_timeout", c->connect_timeout_s);
	add(c, &c->shared, "client_encoding", "UTF8");
	conninfo_set_host(c, 0, NULL);
	*out = c;
	return OK;
}

void conninfo_free(struct conninfo **out)
{
	struct conninfo *c = *out;

	if (!c)
		return;
	hosts_free(&c->hosts);
	free(c->user);
	free(c);
	*out = NULL;
}

int conninfo_library_version(void)
{
	return PQlibVersion();
}
