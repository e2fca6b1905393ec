#include "ws/server.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "domain/frame.h"

#define RX_BUFFER 1024	     /* bytes a connection holds for reading; a longer message comes in pieces */
#define TX_PACKET 65536	     /* bytes of one write to the kernel */
#define HEADER_DATA 4096     /* for the request that the door makes */
#define REQUEST_BUFFER 16384 /* for its answer, which may repeat a token */

/* Who is being upgraded: libwebsockets calls back from inside server_upgrade(). */
static const struct arrival *arriving;

static struct node *node_of(struct lws *wsi)
{
	return lws_context_user(lws_get_context(wsi));
}

static int add_headers(const struct arrival *a, struct lws_process_html_args *args)
{
	int room = args->max_len, len;

	if (!a || !a->echo_protocol)
		return 0;
	len = lws_snprintf(args->p, (size_t)room, "Sec-WebSocket-Protocol: %s\r\n", a->echo_protocol);
	if (len >= room - 1)
		return -1;
	args->p += len;
	return 0;
}

/*
 * On an upgraded connection bytes go out as they are: they are whole frames already, the close frame too
 * (libwebsockets 4.1 with its libuv loop, as Debian builds it, drops a connection before it has sent its own). They go
 * straight to the kernel: on its way there lws_write() looks at much that a fan-out finds in no cache. What the kernel
 * does not take libwebsockets keeps, so that nothing it says itself comes in between.
 */
static ssize_t websocket_write(void *socket, struct span bytes, bool *full)
{
	size_t sent = 0;

	*full = false;
	if (!lws_partial_buffered(socket)) {
		ssize_t took = send(lws_get_socket_fd(socket), bytes.bytes, bytes.len, MSG_NOSIGNAL);

		if (took < 0 && errno != EAGAIN && errno != EINTR)
			return -1;
		sent = (size_t)MAX(took, 0);
	}
	if (sent < bytes.len) {
		if (lws_write(socket, (unsigned char *)bytes.bytes + sent, bytes.len - sent, LWS_WRITE_HTTP) < 0)
			return -1;
		*full = lws_partial_buffered(socket);
	}
	return (ssize_t)bytes.len;
}

static void websocket_want_writable(void *socket)
{
	lws_callback_on_writable(socket);
}

/* Of its own ways to close a socket, libwebsockets would wait in each for what is still to be written. */
static void websocket_shut(void *socket)
{
	shutdown(lws_get_socket_fd(socket), SHUT_RDWR);
}

static const struct transport transport = {
	.name = "websocket",
	.write = websocket_write,
	.want_writable = websocket_want_writable,
	.shut = websocket_shut,
};

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct session **slot = user;

	switch ((int)reason) {
	case LWS_CALLBACK_HTTP:
		return -1;
	case LWS_CALLBACK_ADD_HEADERS:
		return add_headers(arriving, in);
	case LWS_CALLBACK_ESTABLISHED:
		if (!arriving)
			return -1;
		*slot = stages_begin(node_of(wsi), &transport, wsi, arriving);
		return *slot ? 0 : -1;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		stages_writable(*slot);
		return 0;
	case LWS_CALLBACK_RECEIVE:
		stages_receive(*slot,
			       &(struct piece){
				       .bytes = {in, len},
				       .first = lws_is_first_fragment(wsi),
				       .last = lws_is_final_fragment(wsi) && lws_remaining_packet_payload(wsi) == 0,
				       .binary = lws_frame_is_binary(wsi),
				       .packed = (lws_get_reserved_bits(wsi) & FRAME_COMPRESSED) != 0,
			       });
		return 0;
	case LWS_CALLBACK_RECEIVE_PONG:
		session_heard(*slot);
		return 0;
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		/* An answer to ours ends it; the client's own is answered by libwebsockets. */
		return session_close_sent(*slot) ? -1 : 0;
	case LWS_CALLBACK_CLOSED:
		if (*slot)
			stages_end(*slot);
		*slot = NULL;
		return 0;
	default:
		return 0;
	}
}

/*
 * permessage-deflate, as far as libwebsockets has to know of it: that it may be agreed to, and so RSV1 may be set. Its
 * own one (4.1) ends the program by an assertion on a small message that stands for a certain number of bytes; and what
 * we send is compressed already.
 */
static int on_extension(struct lws_context *context, const struct lws_extension *extension, struct lws *wsi,
			enum lws_extension_callback_reasons reason, void *user, void *in, size_t len)
{
	static const struct lws_ext_options options[] = {
		{"server_no_context_takeover", EXTARG_NONE},
		{"client_no_context_takeover", EXTARG_NONE},
		{0},
	};

	(void)context;
	(void)extension;
	(void)wsi;
	(void)user;
	(void)len;
	if (reason == LWS_EXT_CB_CONSTRUCT)
		*(const struct lws_ext_options **)in = options;
	return 0;
}

static const struct lws_extension extensions[] = {
	{"permessage-deflate", on_extension, "permessage-deflate"},
	{0},
};

static const struct lws_protocols protocols[] = {
	{SERVER_PROTOCOL, on_event, sizeof(struct session *), RX_BUFFER, 0, NULL, TX_PACKET},
	{0},
};

static void on_log(int level, const char *line)
{
	size_t len = strcspn(line, "\n");
	char quoted[300];

	/* It calls the ordinary way of adopting a socket with its first bytes an error. */
	if (strstr(line, "calling service"))
		return;
	if (level & LLL_ERR)
		log_warning("libwebsockets: %s", log_quote(quoted, sizeof(quoted), line, len));
	else
		log_debug("libwebsockets: %s", log_quote(quoted, sizeof(quoted), line, len));
}

enum err server_new(struct node *n)
{
	/* No pings of its own: the sessions' deadlines are on one wheel. */
	static const lws_retry_bo_t no_validity = {0};
	void *loops[] = {n->loop};
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = protocols,
		.extensions = n->deflater ? extensions : NULL,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DISABLE_IPV6,
		.foreign_loops = loops,
		.gid = -1,
		.uid = -1,
		.user = n,
		.max_http_header_data = HEADER_DATA,
		.pt_serv_buf_size = REQUEST_BUFFER,
		.retry_and_idle_policy = &no_validity,
		.timeout_secs = 10,
		.vhost_name = "tidings",
	};

	lws_set_log_level(LLL_ERR | LLL_WARN, on_log);
	n->lws = lws_create_context(&info);
	if (!n->lws) {
		log_error("libwebsockets does not start: is its libuv event library there (libwebsockets-evlib-uv)?");
		return ERR_SYSTEM;
	}
	n->vhost = lws_create_vhost(n->lws, &info);
	if (!n->vhost) {
		lws_context_destroy(n->lws);
		n->lws = NULL;
		return ERR_SYSTEM;
	}
	log_notice("event loop=libuv libwebsockets=%s", lws_get_library_version());
	return OK;
}

void server_free(struct node *n)
{
	if (n->lws)
		lws_context_destroy(n->lws);
	n->lws = NULL;
}

void server_upgrade(struct node *n, int fd, const struct arrival *a, struct span request)
{
	arriving = a;
	/* It closes the socket when it fails. */
	if (!lws_adopt_socket_vhost_readbuf(n->vhost, fd, request.bytes, request.len))
		log_debug("an upgrade failed");
	arriving = NULL;
}
