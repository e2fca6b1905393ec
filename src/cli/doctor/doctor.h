/*
 * doctor - the parts of an installation that are looked at, each by itself.
 *
 * Layer    cli.
 */
#pragma once

#include <stdbool.h>

#include "base/defs.h"
#include "base/process/config.h"
#include "cli/doctor/findings.h"

/* The keys, what this login may open, the sidecar of this machine. */
void doctor_machine(const struct config *c, struct findings *f);

/*
 * Every login, the server, the roles, the schema, the clocks, the way of notifications, the work.
 *
 *	directory	the SQL files of `tidings migrate`
 */
void doctor_database(const struct config *c, const char *directory, struct findings *f);

/* Whether the web server at that address hands each kind of request on to whom it is for. False: nobody is there. */
bool doctor_web(const char *url, struct findings *f);

/*
 * What Prometheus would be told, by the sidecar of this machine and by the web server.
 *
 *	web_url	NULL: there is no web server
 */
void doctor_metrics(const struct config *c, const char *web_url, struct findings *f);
