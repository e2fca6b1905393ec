/*
 * deliveries - what has left for clients and what they have confirmed, and is not written down yet: how far each topic has come, messages
 * for one user alone one by one, and how far each device has come.
 *
 * What is not written down, for want of memory or in a crash, may be sent twice (same seq), never lost.
 *
 * Layer    ws.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "domain/fanout/hub.h"

struct flush;
struct delivered;
struct confirmed;
struct subscription;

struct deliveries {
	struct delivered *by_topic; /* owned */
	struct buf sent;	    /* of messages for one user alone */
	struct confirmed *devices;  /* owned */
};

void deliveries_forget(struct deliveries *d);
bool deliveries_are_none(const struct deliveries *d);

/* The topic's delivered_seq has grown, or what is confirmed of that. */
void deliveries_add(struct deliveries *d, const struct hub_topic *topic);

/* A message for one user alone has left for that user. */
void deliveries_add_private(struct deliveries *d, const struct hub_topic *topic, uint64_t seq);

/* The device that a subscription is of has confirmed all up to `seq`. */
void deliveries_add_device(struct deliveries *d, const struct subscription *sub, uint64_t seq);

/* How many there are of each. */
size_t deliveries_topics(const struct deliveries *d);
size_t deliveries_private(const struct deliveries *d);
size_t deliveries_devices(const struct deliveries *d);

/* Into arrays that have room for them. What they point to is lent until deliveries_forget(). */
void deliveries_take(const struct deliveries *d, struct flush *f);
