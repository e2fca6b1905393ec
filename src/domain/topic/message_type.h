/*
 * message_type - the types of messages: those that the server says itself, and those that a client wants.
 *
 * A client takes the server's own for its word on what the client has and what it missed, so no publisher may use them for a
 * message of a topic. /docs lists them under "Publish".
 *
 * A client that names the types that it wants (`?types=a,b`, `"types":["a","b"]`) gets messages of these types alone.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/defs.h"
#include "base/err.h"

#define MESSAGE_TYPES_MAX 20
/* What a list of them has to be, for whoever gave another. */
#define MESSAGE_TYPES_SENTENCE "must be 1 to 20 different types, of 1 to 128 characters each"

bool message_type_is_own(const char *type);

/* The types that a client wants: opaque, counted by its references. */
struct message_types;

/*
 * One more, which begins the list where that is NULL.
 *
 *	types	in and out: NULL, or one that nobody else refers to; to be let go on an error too
 *
 * ERR_INPUT  not text of 1 to 128 characters, there already, or one more than MESSAGE_TYPES_MAX
 */
enum err message_types_add(struct message_types **types, struct span name) MUST_CHECK;

/* Of names joined by commas, as a query has them once it is decoded. */
enum err message_types_of_list(struct message_types **types, struct span list) MUST_CHECK;

/* NULL is nothing to refer to. */
struct message_types *message_types_ref(struct message_types *types);
void message_types_unref(struct message_types **types);

/* The same as a JSON array. Lent; NULL where `types` is. */
const char *message_types_json(const struct message_types *types);

/*
 * Is it one of these? NULL wants all of them.
 *
 *	message	`{"type":…}`, with or without its seq in front, as tidings.message has it
 */
bool message_types_have(const struct message_types *types, struct span message);
