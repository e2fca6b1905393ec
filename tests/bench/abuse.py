"""What an abuser says, as bytes for `ask`: abuse.py KEY_FILE FOLDER USER HOST OLD_CURSOR CONVERSATION

Each file of FOLDER is named after the kind of abuse and, behind a dot, after ask's option.
"""
import base64
import hashlib
import hmac
import json
import pathlib
import struct
import sys
import time
import zlib

TEXT, PING, PONG, CONTINUATION = 1, 9, 10, 0
NEVER_WHOLE = {"fin": False}
COMPRESSED = {"rsv1": True}

key_file, folder, user, host, old_cursor, conversation = sys.argv[1:]
folder = pathlib.Path(folder)


def part(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(key):
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps({"sub": user, "exp": int(time.time()) + 3600}).encode())
    return (signed + b"." + part(hmac.digest(key, signed, hashlib.sha256))).decode()


good, bad = token(pathlib.Path(key_file).read_bytes().strip()), token(b"another key")


def request(method, path, body=None, bearer=None, *headers):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    lines += [f"Authorization: Bearer {bearer}"] if bearer else []
    lines += [] if body is None else ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def upgrade(path, bearer=None, *headers):
    return request("GET", path, None, bearer, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *headers)


def frame(opcode, payload=b"", fin=True, rsv1=False):
    """Masked with zeros."""
    n = len(payload)
    length = bytes([0x80 | n]) if n < 126 else b"\xfe" + struct.pack("!H", n) if n < 65536 else b"\xff" + struct.pack("!Q", n)
    return bytes([opcode | 0x80 * fin | 0x40 * rsv1]) + length + bytes(4) + payload


def message(type, data=None, **more):
    return frame(TEXT, json.dumps({"type": type, **more, **({} if data is None else {"data": data})}).encode())


def deflated(payload):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


feedback = {"diagnosis_id": 9001, "feedback_id": 1, "rating": 5, "effectiveness": 0.5}
large = json.dumps({"type": "ping", "x": [0] * 20000}).encode()
files = {
    "nonreader.hello": upgrade(f"/ws/9001?cursor={old_cursor}", good), "nonreader.bytes": frame(PING),
    "catch-up.bytes": upgrade(f"/ws/9001?cursor={old_cursor}", good),
    "chat.hello": upgrade("/ws/chat", good),
    "chat.bytes": message("chat_message", {"conversation_id": conversation, "message": "x" * 200}),
    "critical.bytes": upgrade("/ws/notifications", good),
    "orders.bytes": request("POST", f"/ws/user/{user}/reconnect", b"", good),
    "reports.hello": upgrade("/ws/health", good), "reports.bytes": frame(PING),
    "polls.bytes": request("GET", "/poll/9001?timeout=0", None, good),
    "pings.hello": upgrade("/ws/9001", good), "pings.bytes": frame(PING, b"x") * 1000,
    "pongs.hello": upgrade("/ws/9001", good), "pongs.bytes": frame(PONG) * 1000,
    "fragments.hello": upgrade("/ws/9001", good) + frame(TEXT, b"x", **NEVER_WHOLE), "fragments.bytes": frame(CONTINUATION, **NEVER_WHOLE) * 1000,
    "strangers.bytes": upgrade("/ws/9001"),
    "heads.bytes": b"GET /ws/9001 HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 8000,
    "handshakes.hello": upgrade("/ws/9001"), "handshakes.bytes": frame(TEXT, b"x" * 16000, **NEVER_WHOLE),
    "subscribe.hello": upgrade("/ws/combined", good),
    "subscribe.bytes": message("subscribe", subscription="health_updates") + message("unsubscribe", subscription="health_updates"),
    "large.hello": upgrade("/ws/9001", good), "large.bytes": frame(TEXT, large) * 4,
    "halves.hello": upgrade("/ws/9001", good), "halves.bytes": frame(TEXT, b"x" * 60000, **NEVER_WHOLE),
    "bombs.hello": upgrade("/ws/9001", good, "Sec-WebSocket-Extensions: permessage-deflate"),
    "bombs.bytes": frame(TEXT, deflated(b"0" * 65000), **COMPRESSED) * 100,
    "too-large.bytes": request("POST", "/ws/broadcast-feedback-update", b"x" * 300000, good),
    "bad-json.bytes": request("POST", "/ws/broadcast-feedback-update", b"[" * 200000, good),
    "publish.bytes": request("POST", "/ws/broadcast-feedback-update", json.dumps({**feedback, "comment": "x" * 4000}).encode(), good),
    "topics.bytes": upgrade("/ws?topics=" + ",".join(f"made-up/{n}" for n in range(100)), good),
    "bad-tokens.bytes": request("POST", "/ws/broadcast-feedback-update", json.dumps(feedback).encode(), bad),
    "bad-connects.bytes": upgrade("/ws/9001", bad),
    # Of another user, who is measured.
    "act.hello": upgrade("/ws/health", good), "act.bytes": message("health_update", {"metric": "pulse", "value": 70, "unit": "bpm"}),
    "poll.bytes": request("GET", "/poll/9002?timeout=0", None, good),
    "order.bytes": request("POST", f"/ws/user/{user}/reconnect", b"", good),
}
folder.mkdir(exist_ok=True)
for name, data in files.items():
    (folder / name).write_bytes(data)
