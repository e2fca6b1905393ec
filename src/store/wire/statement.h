/*
 * statement - SQL that is sent with its parameters apart: a named constant beside the one function that sends it.
 *
 * A function of ours that threads and the loop both call has one text for both.
 *
 * Layer    store.
 */
#pragma once

struct statement {
	const char *name; /* as prepared, and in the log */
	const char *sql;  /* parameters as $1, $2, … with a cast where the server cannot know the type */
};

/* Those of the users $1, a text[], who are not in tidings.app_user, or not active. */
#define SQL_WITHDRAWN_USERS \
	"SELECT w.id FROM unnest($1::text[], tidings.user_active($1)) AS w(id, active) WHERE NOT w.active"
