/*
 * live_subscriptions - what a live client subscribes to, and gives up.
 *
 * Layer    ws.
 */
#pragma once

#include "domain/input/client_message.h"
#include "ws/session/session.h"

/* The topic that a client means: one of its own streams, or a topic by its name. False: there is no such. */
bool live_find_topic(const struct session *s, const char *name, char topic[TOPIC_NAME_MAX + 1]);

/* As the client asked by that name. False: no memory. */
bool live_subscribe(struct session *s, const char *name, const struct selected *wanted, const char *correlation);

void live_on_subscribe(struct session *s, const struct client_message *m);
void live_on_unsubscribe(struct session *s, const struct client_message *m);

/* Of a topic's message: its client has it, and all before it. */
void live_on_ack(struct session *s, const struct client_message *m);

/* Answers each who asked for it. */
void live_say_subscribed(struct subscription *sub);
void live_refuse_askers(const struct subscription *sub, bool forbidden);

/* It is no more; nobody is told. */
void live_end_subscription(struct subscription *sub);
