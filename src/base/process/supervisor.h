/*
 * supervisor - tells who supervises this program how it is: systemd, Type=notify (sd_notify(3)).
 *
 * Layer    base.
 * Threads  any.
 */
#pragma once

#include <stdint.h>

#define SUPERVISOR_READY "READY=1"	 /* whoever comes now is served */
#define SUPERVISOR_ALIVE "WATCHDOG=1"	 /* at least as often as supervisor_interval_ms() says */
#define SUPERVISOR_STOPPING "STOPPING=1" /* nobody new is served */
#define SUPERVISOR_STATUS "STATUS="	 /* what follows in the line is shown with the program */

/* One message, of one line or more of these, to the socket in NOTIFY_SOCKET; nothing where there is none. Never waits. */
void supervisor_tell(const char *state);

/* Half of the time after which the supervisor takes a program that is silent for one that hangs; 0: never. */
int64_t supervisor_interval_ms(void);
