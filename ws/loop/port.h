/*
 * port - a socket that clients, or the web server in front of them, connect to: a port, or a path on this machine.
 *
 * Layer    ws.
 */
#pragma once

#include <stdint.h>
#include <uv.h>

#include "base/defs.h"
#include "base/err.h"

struct port {
	uv_poll_t poll;
	int fd;		  /* -1: closed */
	int lock;	  /* held while the path is ours; -1: a port */
	const char *path; /* borrowed; NULL: a port */
};

/*
 * Binds it; who comes waits in the kernel until port_start().
 *
 *	address		an IP address
 *
 * ERR_SYSTEM  taken, or not allowed: logged
 */
enum err port_open(struct port *p, uv_loop_t *loop, const char *address, int64_t port) MUST_CHECK;

/*
 * The same on a path: for this process's user and group alone (0660). What a process that was killed has left there is
 * replaced. A file beside it, `<path>.lock`, is locked meanwhile, and stays.
 *
 *	path	outlives it
 */
enum err port_open_path(struct port *p, uv_loop_t *loop, const char *path) MUST_CHECK;

/* `on_ready` is called when somebody has come, until port_stop(). The handle's `data` is the caller's. */
void port_start(struct port *p, uv_poll_cb on_ready);
void port_stop(struct port *p);

/* Nobody can connect any more; a path is free again. The loop has to go on once before the struct goes. */
void port_close(struct port *p);
