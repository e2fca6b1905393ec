/*
 * link_internal - the connection itself, for files of this folder only.
 *
 * Layer    store.
 */
#pragma once

#include <libpq-fe.h>

#include "store/link.h"

/* Lent, valid until the next call that gets the link; NULL when down. */
PGconn *link_connection(const struct link *l);

/* Sends what was asked, and drops the link when no answer comes in time; false: it came. */
void link_await(struct link *l, bool answer);

/* A pooler answered (store/hello.h). Of a link that is up. */
bool link_is_pooled(const struct link *l);
