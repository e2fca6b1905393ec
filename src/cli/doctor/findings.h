/*
 * findings - what the doctor has found, a line for each thing that it has looked at.
 *
 *	server: ok
 *	sidecar: none lives: systemctl start tidings-ws
 *
 * Layer    cli.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/defs.h"

enum finding {
	FINDING_OK,
	FINDING_NOTE,	/* worth knowing, and no fault */
	FINDING_HIDDEN, /* this user may not look at it */
	FINDING_WRONG
};

struct findings {
	bool as_json;
	bool wrong, hidden;
	struct buf json; /* owned: as_json's, so far */
};

/*
 *	about	what was looked at
 *	problem	a sentence without its full stop; of FINDING_OK not looked at
 */
void findings_add(struct findings *f, const char *about, enum finding finding, const char *problem, ...) PRINTF(4, 5);

/* Prints what has not been. The exit status. */
int findings_end(struct findings *f);
