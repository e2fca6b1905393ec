/*
 * database - a node's connections to PostgreSQL: opens them, and tells the node's parts when one comes, goes or rings.
 *
 *	fetches, queries, acts	pipelines: node.h says what each is for
 *	listener		the doorbell
 *
 * Layer    ws.
 */
#pragma once

#include "base/defs.h"
#include "base/err.h"
#include "ws/node.h"

/*
 * They come up when the loop runs, and come again by themselves. All parts of the node are there already.
 *
 * ERR_CONFIG, ERR_MEMORY  as hosts_new(), pipeline_open(): logged
 */
enum err database_open(struct node *n) MUST_CHECK;

/* Whoever is still waited for is answered: with ERR_AWAY. */
void database_close(struct node *n);
