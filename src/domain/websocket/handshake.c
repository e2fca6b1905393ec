#include "domain/websocket/handshake.h"

#include <openssl/evp.h>

#define SHA1_BYTES 20
#define ACCEPT_SIZE 29 /* of 20 bytes in base64, with its NUL */

/* SHA-1 is what RFC 6455 asks for here: it proves that we speak WebSocket, and keeps no secret. */
static bool accept_of(char out[ACCEPT_SIZE], struct span key)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	unsigned char digest[SHA1_BYTES];
	struct buf text = BUF_EMPTY;
	bool good;

	buf_add(&text, key.bytes, key.len);
	buf_add_text(&text, guid);
	good = buf_ok(&text) && EVP_Digest(text.bytes, text.len, digest, NULL, EVP_sha1(), NULL) == 1;
	buf_free(&text);
	if (good)
		EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
	return good;
}

void handshake_add(struct buf *out, struct span key, const char *protocol, const char *extensions,
		   const char *request_id)
{
	char accept[ACCEPT_SIZE];

	if (!accept_of(accept, key)) {
		out->failed = true;
		return;
	}
	buf_printf(out,
		   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		   "Sec-WebSocket-Accept: %s\r\n",
		   accept);
	if (protocol)
		buf_printf(out, "Sec-WebSocket-Protocol: %s\r\n", protocol);
	if (extensions)
		buf_printf(out, "Sec-WebSocket-Extensions: %s\r\n", extensions);
	if (request_id)
		buf_printf(out, "X-Request-Id: %s\r\n", request_id);
	buf_add_text(out, "\r\n");
}
