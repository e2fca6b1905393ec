#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/websocket/handshake.h"

static const struct span key = {"dGhlIHNhbXBsZSBub25jZQ==", 24};

/* RFC 6455, section 1.3. */
static void answers_the_key_of_the_rfc_as_it_says(void **state)
{
	struct buf reply = BUF_EMPTY;

	(void)state;
	handshake_add(&reply, key, NULL, NULL, NULL);
	assert_string_equal(reply.bytes,
			    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
			    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
	buf_free(&reply);
}

static void names_the_subprotocol_the_extensions_and_the_request_where_there_are_some(void **state)
{
	struct buf reply = BUF_EMPTY;

	(void)state;
	handshake_add(&reply, key, "bearer.abc", "permessage-deflate", "a-1");
	assert_non_null(strstr(reply.bytes,
			       "=\r\nSec-WebSocket-Protocol: bearer.abc\r\n"
			       "Sec-WebSocket-Extensions: permessage-deflate\r\nX-Request-Id: a-1\r\n\r\n"));
	buf_free(&reply);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_the_key_of_the_rfc_as_it_says),
		cmocka_unit_test(names_the_subprotocol_the_extensions_and_the_request_where_there_are_some),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
