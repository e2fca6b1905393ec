/*
 * close_code - why a WebSocket is closed (RFC 6455, section 7.4; spec section 4).
 *
 * Layer    domain.
 */
#pragma once

enum close_code {
	CLOSE_NORMAL = 1000,
	CLOSE_IDLE = 1001,
	CLOSE_PROTOCOL = 1002,	  /* a frame that RFC 6455 does not allow */
	CLOSE_UNSUPPORTED = 1003, /* a binary frame */
	CLOSE_UNREADABLE = 1007,  /* not UTF-8, or compressed and damaged */
	CLOSE_POLICY = 1008,
	CLOSE_TOO_BIG = 1009,
	CLOSE_FAULT = 1011, /* ours */
	CLOSE_RESTART = 1012,
	CLOSE_TRY_LATER = 1013,
};
