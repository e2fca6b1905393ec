/*
 * peer - where a request comes from.
 *
 * Layer    domain.
 */
#pragma once

#include <stdbool.h>

/* An IP address of this machine's own: the loopback. False: another, or none. */
bool peer_is_loopback(const char *address);
