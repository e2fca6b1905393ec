/*
 * reload - what SIGHUP reads again: the file of settings, and the keys; by a thread, since files may take their time.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/process/settings_file.h"
#include "ws/node.h"

struct reload {
	struct node *node;	    /* borrowed */
	struct settings_file *file; /* owned; NULL: there is none */
	struct token_keys *keys;    /* owned: what the thread has read; NULL: nothing usable */
	uv_work_t work;
	bool under_way, again;
};

/*
 *	n	borrowed, for as long as it lives
 *	c	the config of n: borrowed, changed by each reload
 *
 * ERR_CONFIG  the file cannot be read: logged
 */
enum err reload_init(struct reload *r, struct node *n, struct config *c) MUST_CHECK;
void reload_end(struct reload *r);

/* Takes what is usable over, a moment later. What is not is logged, and the old stays. */
void reload_begin(struct reload *r);
