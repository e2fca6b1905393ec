#include "base/err.h"

const char *err_text(enum err e)
{
	switch (e) {
	case OK:
		return "ok";
	case ERR_MEMORY:
		return "out of memory";
	case ERR_INPUT:
		return "malformed input";
	case ERR_TOO_LARGE:
		return "too large";
	case ERR_UNAUTHORIZED:
		return "not authenticated";
	case ERR_FORBIDDEN:
		return "not allowed";
	case ERR_NOT_FOUND:
		return "not found";
	case ERR_CONFLICT:
		return "contradicts what is there";
	case ERR_EVICTED:
		return "no longer kept";
	case ERR_LIMIT:
		return "over a limit";
	case ERR_AWAY:
		return "database away";
	case ERR_BUSY:
		return "database busy";
	case ERR_UNKNOWN:
		return "database away, and what it did is unknown";
	case ERR_DATABASE:
		return "database error";
	case ERR_SYSTEM:
		return "system error";
	case ERR_CONFIG:
		return "wrong configuration";
	case ERR_FIELD:
		return "wrong field";
	case ERR_SETTLED:
		return "settled already";
	}
	return "unknown error";
}

int err_exit_status(enum err e)
{
	if (e == OK)
		return 0;
	return e == ERR_CONFIG ? 2 : 1;
}
