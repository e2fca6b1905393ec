/*
 * err - the one error type: what went wrong in the world, never what the programmer got wrong (that is an assert).
 *
 * On any error nothing has changed, unless a function says otherwise.
 *
 * Layer    base.
 */
#pragma once

enum err {
	OK = 0,
	ERR_MEMORY,	  /* no memory */
	ERR_INPUT,	  /* malformed input of a client, a token or a file */
	ERR_TOO_LARGE,	  /* over a configured limit */
	ERR_UNAUTHORIZED, /* no, bad or expired token */
	ERR_FORBIDDEN,	  /* known, but not allowed */
	ERR_NOT_FOUND,	  /* no such thing */
	ERR_CONFLICT,	  /* contradicts what is there already */
	ERR_EVICTED,	  /* was there, and is no longer kept */
	ERR_LIMIT,	  /* over a rate or a count */
	ERR_AWAY,	  /* the database cannot be reached, and nothing was done; trying again later may help */
	ERR_UNKNOWN,	  /* the database did not say whether it has done what was asked, or may yet lose it */
	ERR_BUSY,	  /* the database has undone it because of what others were doing: trying again soon may help */
	ERR_DATABASE,	  /* the database refused the statement: our fault or the schema's */
	ERR_SYSTEM,	  /* a system call failed: errno tells */
	ERR_CONFIG,	  /* the configuration is wrong */
	ERR_FIELD,	  /* one field of an input is wrong: the text beside it begins with its name */
	ERR_SETTLED,	  /* was decided, or taken back, before */
};

/* A few plain words for a log line. Lent: static. */
const char *err_text(enum err e);

/* What a program that ends with it says to who started it: 0, 2 for ERR_CONFIG (starting it again is of no use), 1. */
int err_exit_status(enum err e);
