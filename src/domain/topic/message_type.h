/*
 * message_type - the types of messages that the server says itself, about the connection.
 *
 * A client takes them for the server's word on what it has and what it missed, so no publisher may use them for a
 * message of a topic. /docs lists them under "Publish".
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>

bool message_type_is_own(const char *type);
