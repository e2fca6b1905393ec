#include "store/wire/notice.h"

#include <string.h>

/* Its message is in the server's language, and its SQLSTATE any warning's: the function that says it has had one name since 9.1. */
bool notice_is_unreplicated(const PGresult *notice)
{
	const char *function = PQresultErrorField(notice, PG_DIAG_SOURCE_FUNCTION);

	return function && strcmp(function, "SyncRepWaitForLSN") == 0;
}
