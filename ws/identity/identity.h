/*
 * identity - who a session is: looks at its token, and counts it among its user's connections.
 *
 * A user may come so often (TIDINGS_CONNECT_RATE): a connect, or a poll that the database is asked for, is one, and one more
 * for every 16 topics; a poll that goes on from memory is an eighth. Services and admins are not limited. All who bring no
 * token, or a bad one, have one rate together (TIDINGS_STRANGER_RATE): so they leave a node time for the others.
 *
 * Layer    ws.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ws/session/session.h"

/*
 * The session is this user's from now on, and charged as what goes on from memory. False: it is being closed; a token that is
 * none is 401 or 1008, a user with as many connections as allowed 429 or 1008, one who comes too often 429 or 1013.
 *
 *	what			it asked for: for the log
 *	connections_max		of this user on this node, of its kind; 0: unlimited. Where topics are listened to, services and
 *				admins have no such limit
 */
bool identity_take(struct session *s, const char *what, const char *token, size_t len,
		   size_t connections_max) MUST_CHECK;

/* The session ends: it is no connection of its user's any more. */
void identity_leave(struct session *s);

/*
 * What a client costs, in parts of RATE_ONE, before anything is made for it. One that brings no token: as much as what goes on
 * from memory, or, where it is to say who it is, all; one that brings a bad token, all; others are charged by their users' names,
 * and here it is 0. A kind that lets nobody in without a token costs nothing either: 401 is cheap.
 *
 *	token	NULL: none
 */
int64_t identity_stranger_cost(const struct node *n, const char *token, const struct session_kind *kind);

/* False: too many such have come, and this one has to wait. */
bool identity_take_stranger(struct node *n, int64_t cost) MUST_CHECK;

/* The database is going to be asked for the session: charges its user, or the strangers, for the rest. */
void identity_charge(const struct session *s);

/* A topic more on an open connection: as much as one more in a request. False: the user, or the strangers, have to wait. */
bool identity_take_topic(const struct session *s) MUST_CHECK;

/* What coming has cost besides, in parts of RATE_ONE. */
void identity_charge_more(struct node *n, const char *user_id, int64_t cost);

/*
 * A newer token of the same user: the session lasts as long as that.
 *
 *	detail	out: static: a sentence for the client, when not OK
 *
 * ERR_UNAUTHORIZED  it is not one
 * ERR_MEMORY        nobody knows
 */
enum err identity_renew(struct session *s, const char *what, const char *token, size_t len,
			const char **detail) MUST_CHECK;

/* Whether the user has to be in tidings.app_user, and active (TIDINGS_REQUIRE_USER). Services and admins need no
 * account. */
bool identity_needs_account(const struct session *s);
