#include "ws/net/websocket.h"

#include <errno.h>
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log/log.h"
#include "domain/websocket/extension.h"
#include "domain/websocket/frame.h"
#include "domain/websocket/frame_reader.h"
#include "domain/websocket/handshake.h"
#include "ws/metrics/node_metrics.h"
#include "ws/net/inbound.h"
#include "ws/session/session_output.h"
#include "ws/subscribe/subscribe.h"

#define DESCRIPTORS_MORE 2048 /* than connections: for sockets that are not served yet, the database, the log */
#define READ_BUFFER 16384     /* bytes that are read at once; one for all connections */

struct websockets {
	struct lws_context *context;
	struct lws_vhost *vhost;
};

struct websocket {
	int fd;			 /* the wsi's; what a delivery looks at comes first */
	struct lws *wsi;	 /* borrowed */
	struct session *session; /* borrowed; NULL: there was no memory for it */
	struct buf pong;	 /* to the last ping, while the socket takes nothing */
	struct frame_reader reader;
};

/* What the kernel does not take the session keeps. */
static ssize_t websocket_write(void *socket, struct span bytes, bool *full)
{
	struct websocket *w = socket;
	ssize_t sent = send(w->fd, bytes.bytes, bytes.len, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return -1;
	sent = MAX(sent, 0);
	*full = (size_t)sent < bytes.len;
	if (*full)
		lws_callback_on_writable(w->wsi);
	return sent;
}

static int64_t websocket_queued(void *socket)
{
	return transport_queued(((struct websocket *)socket)->fd);
}

static void websocket_want_writable(void *socket)
{
	lws_callback_on_writable(((struct websocket *)socket)->wsi);
}

/* Of its own ways to close a socket, libwebsockets would wait in each for what is still to be written. */
static void websocket_shut(void *socket)
{
	shutdown(((struct websocket *)socket)->fd, SHUT_RDWR);
}

static const struct transport transport = {
	.write = websocket_write,
	.queued = websocket_queued,
	.want_writable = websocket_want_writable,
	.shut = websocket_shut,
};

/* Several pings may wait for one pong, to the last of them (RFC 6455, section 5.5.3). */
static void answer_ping(struct websocket *w, struct span payload)
{
	buf_clear(&w->pong);
	frame_add_pong(&w->pong, payload);
	if (!buf_ok(&w->pong))
		session_close(w->session, CLOSE_TRY_LATER, "try again later");
	else if (session_is_clear(w->session))
		session_write(w->session, &w->pong);
}

/*
 * Both sides have said that it is over, or the client has broken the rules and been told so: nothing comes behind that.
 * It is read on until the client closes too: a socket that is closed with something unread takes back what was sent.
 */
static void end_if_over(struct websocket *w)
{
	if (w->reader.part == FRAME_ENDED && session_is_over(w->session))
		shutdown(w->fd, SHUT_WR);
}

/* Not what it refuses: a message too large, a fault of ours. */
static bool is_good_order(unsigned code)
{
	return code == 0 || code == CLOSE_NORMAL || code == CLOSE_IDLE;
}

static void receive(struct websocket *w, char *bytes, size_t len)
{
	struct frame_piece piece;
	enum frame_event event;

	while ((event = frame_read(&w->reader, &bytes, &len, &piece)) != FRAME_NOTHING) {
		session_heard(w->session);
		switch (event) {
		case FRAME_NOTHING:
			break;
		case FRAME_PIECE:
			inbound_piece(w->session, &piece);
			break;
		case FRAME_PING:
			if (inbound_control(w->session))
				answer_ping(w, piece.bytes);
			break;
		case FRAME_PONG:
			session_ponged(w->session, piece.bytes);
			(void)inbound_control(w->session);
			break;
		case FRAME_CLOSE:
			if (is_good_order(piece.code))
				session_confirm_taken(w->session);
			session_close(w->session, piece.code, "");
			break;
		case FRAME_BREACH:
			session_close(w->session, piece.code, piece.reason);
			break;
		}
	}
	/* A client that has ended its side already is closed before its socket is looked at for writing. */
	if (w->session->state == SESSION_CLOSING && !w->session->outlet.ended)
		(void)subscribe_writable(w->session);
	end_if_over(w);
}

static void on_writable(struct websocket *w)
{
	/* Before what comes next, which may be much. */
	if (w->pong.len > 0)
		session_write(w->session, &w->pong);
	(void)subscribe_writable(w->session);
	end_if_over(w);
}

static void end(struct websocket *w)
{
	if (w->session)
		subscribe_end(w->session, false);
	buf_free(&w->pong);
	free(w);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct websocket *w = lws_get_opaque_user_data(wsi);

	(void)user;
	if (!w)
		return 0;
	switch ((int)reason) {
	case LWS_CALLBACK_RAW_RX:
		if (w->session)
			receive(w, in, len);
		return 0;
	case LWS_CALLBACK_RAW_WRITEABLE:
		if (w->session)
			on_writable(w);
		return 0;
	case LWS_CALLBACK_RAW_CLOSE:
		lws_set_opaque_user_data(wsi, NULL);
		end(w);
		return 0;
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{WEBSOCKET_PROTOCOL, on_event, 0, READ_BUFFER, 0, NULL, 0},
	{0},
};

static void on_log(int level, const char *line)
{
	size_t len = strcspn(line, "\n");
	char quoted[300];

	if (level & LLL_ERR)
		log_warning("libwebsockets: %s", log_quote(quoted, sizeof(quoted), line, len));
	else
		log_debug("libwebsockets: %s", log_quote(quoted, sizeof(quoted), line, len));
}

/*
 * As many descriptors as the connections need, and no more: libwebsockets has a table of so many. (Told a number
 * itself, it would search that table from its beginning for every event.)
 */
static enum err set_descriptors(size_t connections_max)
{
	struct rlimit limit;
	rlim_t wanted = (rlim_t)connections_max + DESCRIPTORS_MORE;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return ERR_SYSTEM;
	if (limit.rlim_max < wanted) {
		log_error("TIDINGS_CONNECTIONS_MAX=%d needs %d descriptors, and the limit is %d (ulimit -n, "
			  "LimitNOFILE=)",
			  (int)connections_max, (int)wanted, (int)limit.rlim_max);
		return ERR_SYSTEM;
	}
	limit.rlim_cur = wanted;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? OK : ERR_SYSTEM;
}

enum err websockets_new(struct websockets **w, uv_loop_t *loop, size_t connections_max)
{
	struct websockets *made;
	/* No pings of its own: the sessions' deadlines are on one wheel. */
	static const lws_retry_bo_t no_validity = {0};
	void *loops[] = {loop};
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = protocols,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DISABLE_IPV6,
		.foreign_loops = loops,
		.gid = -1,
		.uid = -1,
		.pt_serv_buf_size = READ_BUFFER,
		.retry_and_idle_policy = &no_validity,
		.vhost_name = "tidings",
	};

	if (set_descriptors(connections_max) != OK)
		return ERR_SYSTEM;
	lws_set_log_level(LLL_ERR | LLL_WARN, on_log);
	made = calloc(1, sizeof(*made));
	if (!made)
		return ERR_MEMORY;
	made->context = lws_create_context(&info);
	if (!made->context)
		log_error("libwebsockets does not start: is its libuv event library there (libwebsockets-evlib-uv)?");
	else
		made->vhost = lws_create_vhost(made->context, &info);
	if (!made->vhost) {
		websockets_free(&made);
		return ERR_SYSTEM;
	}
	log_notice("event loop=libuv libwebsockets=%s", websockets_library_version());
	*w = made;
	return OK;
}

const char *websockets_library_version(void)
{
	return lws_get_library_version();
}

void websockets_free(struct websockets **w)
{
	if (!*w)
		return;
	if ((*w)->context)
		lws_context_destroy((*w)->context);
	free(*w);
	*w = NULL;
}

/* False: it did not take the answer, which comes before all else. */
static bool answer(int fd, const struct arrival *a, struct span key)
{
	struct buf reply = BUF_EMPTY;
	bool good;

	handshake_add(&reply, key, a->echo_protocol, a->inflates ? EXTENSION_DEFLATE_AGREED : NULL, a->request_id);
	good = buf_ok(&reply) && send(fd, reply.bytes, reply.len, MSG_NOSIGNAL) == (ssize_t)reply.len;
	buf_free(&reply);
	return good;
}

void websocket_upgrade(struct node *n, int fd, const struct arrival *a, struct span key, struct buf *early)
{
	struct websocket *w = calloc(1, sizeof(*w));

	if (!w) {
		close(fd);
		return;
	}
	w->fd = fd;
	w->reader.inflates = a->inflates;
	/* It closes the socket when it fails. */
	w->wsi = lws_adopt_descriptor_vhost(n->websockets->vhost, LWS_ADOPT_SOCKET,
					    (lws_sock_file_fd_type){.sockfd = fd}, WEBSOCKET_PROTOCOL, NULL);
	if (!w->wsi) {
		log_warning("libwebsockets does not take a socket");
		free(w);
		return;
	}
	lws_set_opaque_user_data(w->wsi, w);
	if (answer(fd, a, key))
		w->session = arrival_begin(n, &transport, w, a);
	if (!w->session)
		shutdown(fd, SHUT_RDWR);
	else if (early->len > 0)
		receive(w, early->bytes, early->len);
}
