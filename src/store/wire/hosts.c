#include "store/wire/hosts.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log/log.h"

#define CONNECT_MS 3000
#define CONNECT_LEAST_S 2 /* libpq's manual, connect_timeout */
#define CONNECT_MOST_S 3600

/* The elements of "a,b"; each is a text of its own. */
struct list {
	char *texts; /* owned */
	size_t count;
	const char **items; /* owned; lent from texts */
	bool complete;	    /* none is empty */
};

struct hosts {
	atomic_size_t owners;
	char *conninfo; /* owned */
	struct list names, addresses, ports;
	char default_port[8];
	size_t count;
	int64_t connect_ms;
	atomic_size_t first;
	atomic_uint_fast64_t left;
	atomic_bool away;
};

/* What libpq itself takes for the name of a database has nothing to be wrong. */
static enum err check(const char *conninfo)
{
	PQconninfoOption *parsed = NULL;
	char *message = NULL;

	if (!strchr(conninfo, '=') && !strstr(conninfo, "://"))
		return OK;
	errno = 0;
	parsed = PQconninfoParse(conninfo, &message);
	PQfreemem(message);
	if (!parsed && errno == ENOMEM)
		return ERR_MEMORY;
	if (!parsed) {
		log_error("the database connection string is not valid");
		return ERR_CONFIG;
	}
	PQconninfoFree(parsed);
	return OK;
}

static enum err list_read(struct list *l, const char *text)
{
	size_t count = 1;

	l->complete = true;
	if (!text || !text[0])
		return OK;
	l->texts = strdup(text);
	for (const char *at = text; (at = strchr(at, ',')); at++)
		count++;
	l->items = calloc(count, sizeof(*l->items));
	if (!l->texts || !l->items)
		return ERR_MEMORY;
	for (char *at = l->texts; at;) {
		const char *item = strsep(&at, ",");

		l->complete = l->complete && item[0];
		l->items[l->count++] = item;
	}
	return OK;
}

static void list_free(struct list *l)
{
	free(l->texts);
	free(l->items);
	*l = (struct list){0};
}

static const char *list_get(const struct list *l, size_t index)
{
	if (l->count == 0)
		return NULL;
	return l->items[l->count == 1 ? 0 : index];
}

/* "a:1,b": the port of b is libpq's own. */
static void fill_in(struct list *l, const char *item)
{
	for (size_t i = 0; i < l->count; i++)
		if (!l->items[i][0])
			l->items[i] = item;
	l->complete = true;
}

/* NULL: there is none. */
static const PQconninfoOption *find(const PQconninfoOption *options, const char *keyword)
{
	for (; options && options->keyword; options++)
		if (strcmp(options->keyword, keyword) == 0)
			return options;
	return NULL;
}

static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
	const PQconninfoOption *option = find(options, keyword);

	return option ? option->val : NULL;
}

static const char *default_port(const PQconninfoOption *options)
{
	const PQconninfoOption *port = find(options, "port");

	return port ? port->compiled : "";
}

/*
 * What libpq makes of string, environment and service file together, without connecting: it looks at the target last, and
 * refuses this one. NULL: no memory.
 */
static PQconninfoOption *resolve(const char *conninfo)
{
	const char *const keywords[] = {"dbname", "target_session_attrs", NULL};
	const char *const values[] = {conninfo, "none", NULL};
	PGconn *refused = PQconnectStartParams(keywords, values, 1);
	const char *why = PQerrorMessage(refused);
	PQconninfoOption *options = NULL;

	/* What there was memory for would be taken for all: of the first a message there always is, the second says nothing. */
	errno = 0;
	if (why[0] && !strstr(why, "out of memory"))
		options = PQconninfo(refused);
	PQfinish(refused);
	if (errno == ENOMEM) {
		PQconninfoFree(options);
		options = NULL;
	}
	return options;
}

/* Empty: 0, which is for ever. */
static int64_t connect_ms(const char *connect_timeout)
{
	long seconds = connect_timeout ? strtol(connect_timeout, NULL, 10) : 0;

	if (!connect_timeout)
		return CONNECT_MS;
	if (seconds <= 0)
		return CONNECT_MOST_S * INT64_C(1000);
	return MIN(MAX(seconds, CONNECT_LEAST_S), CONNECT_MOST_S) * INT64_C(1000);
}

static enum err read_hosts(struct hosts *h)
{
	PQconninfoOption *options = resolve(h->conninfo);
	enum err e = !options ? ERR_MEMORY : list_read(&h->names, value_of(options, "host"));

	if (e == OK)
		e = list_read(&h->addresses, value_of(options, "hostaddr"));
	if (e == OK)
		e = list_read(&h->ports, value_of(options, "port"));
	snprintf(h->default_port, sizeof(h->default_port), "%s", default_port(options));
	fill_in(&h->ports, h->default_port);
	h->connect_ms = connect_ms(value_of(options, "connect_timeout"));
	PQconninfoFree(options);
	if (e != OK)
		return e;
	h->count = MAX(MAX(h->names.count, h->addresses.count), 1);
	/* What libpq takes an empty one for, or refuses, is its own business. */
	if (!h->names.complete || !h->addresses.complete || (h->names.count > 0 && h->names.count != h->count) ||
	    (h->addresses.count > 0 && h->addresses.count != h->count) ||
	    (h->ports.count > 1 && h->ports.count != h->count)) {
		list_free(&h->names);
		list_free(&h->addresses);
		list_free(&h->ports);
		h->count = 1;
	}
	return OK;
}

enum err hosts_new(struct hosts **out, const char *conninfo)
{
	struct hosts *h = calloc(1, sizeof(*h));
	enum err e = OK;

	*out = NULL;
	if (!h)
		return ERR_MEMORY;
	atomic_init(&h->owners, 1);
	h->conninfo = strdup(conninfo);
	e = h->conninfo ? check(conninfo) : ERR_MEMORY;
	if (e == OK)
		e = read_hosts(h);
	if (e != OK) {
		hosts_free(&h);
		return e;
	}
	*out = h;
	return OK;
}

struct hosts *hosts_share(struct hosts *h)
{
	atomic_fetch_add(&h->owners, 1);
	return h;
}

void hosts_free(struct hosts **out)
{
	struct hosts *h = *out;

	*out = NULL;
	if (!h || atomic_fetch_sub(&h->owners, 1) > 1)
		return;
	list_free(&h->names);
	list_free(&h->addresses);
	list_free(&h->ports);
	free(h->conninfo);
	free(h);
}

const char *hosts_conninfo(const struct hosts *h)
{
	return h->conninfo;
}

int64_t hosts_connect_ms(const struct hosts *h)
{
	return h->connect_ms;
}

size_t hosts_count(const struct hosts *h)
{
	return h->count;
}

struct host hosts_get(const struct hosts *h, size_t index)
{
	return (struct host){
		.name = list_get(&h->names, index),
		.address = list_get(&h->addresses, index),
		.port = list_get(&h->ports, index),
	};
}

size_t hosts_first(const struct hosts *h)
{
	return atomic_load(&h->first);
}

void hosts_pass(struct hosts *h, size_t index)
{
	/* Somebody else may have passed it meanwhile. */
	(void)atomic_compare_exchange_strong(&h->first, &index, (index + 1) % h->count);
}

bool hosts_set_away(struct hosts *h, bool away)
{
	return atomic_exchange(&h->away, away) != away;
}

uint64_t hosts_left(const struct hosts *h)
{
	return atomic_load(&h->left);
}

void hosts_leave(struct hosts *h, size_t index, uint64_t left)
{
	uint_fast64_t seen = left;

	hosts_pass(h, index);
	(void)atomic_compare_exchange_strong(&h->left, &seen, seen + 1);
}
