"""
websocket - a WebSocket (RFC 6455) on a socket of the standard library: what listening takes, and no more. It offers no extension.

	socket = WebSocket(server, "/ws?topics=a", token, 5)
	socket.receive(25)	the next text; None: nothing came for 25 s
	socket.send("ping")
"""
from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import socket
import ssl
import struct
import time
from typing import TYPE_CHECKING, List, Optional, Tuple

from .subscription import Problem, closed, refusal

if TYPE_CHECKING:
    from .client import Server

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
CONTROL = 8  # an opcode of this or above
MESSAGE_MAX = 64 << 20  # bytes: no message of the server's is near it


class WebSocket:
    def __init__(self, server: "Server", path: str, token: Optional[str], timeout: float):
        connection = server.open(timeout)
        key = base64.b64encode(os.urandom(16)).decode()
        try:
            connection.request("GET", server.path + path, headers={
                "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": key, "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Protocol": "tidings" + (f", bearer.{token}" if token else "")})
            self._socket = connection.sock
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reply = connection.getresponse()
            if reply.status != 101:
                body = reply.read(65536)
                try:
                    problem = json.loads(body)
                except ValueError:
                    problem = None
                raise refusal(reply.status, {k.lower(): v for k, v in reply.getheaders()}, problem)
            digest = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
            if reply.headers.get("Sec-WebSocket-Accept") != digest:
                raise Problem("broken", "what answered is no WebSocket server")
            # What came right behind the head is in the reply's buffer; all else is read from the socket.
            self._socket.settimeout(0)
            try:
                self._buffer = bytes(reply.fp.peek())
            except (BlockingIOError, ssl.SSLWantReadError):
                self._buffer = b""
            self._socket.settimeout(timeout)
        except (OSError, http.client.HTTPException) as e:
            connection.close()
            raise Problem("broken", str(e) or type(e).__name__) from e
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._parts: List[bytes] = []

    def receive(self, timeout: float) -> Optional[str]:
        """Raises Problem when it ends."""
        until = time.monotonic() + timeout
        while True:
            frame = self._frame(until)
            if frame is None:
                return None
            is_last, opcode, payload = frame
            if opcode == PING:
                self._write(PONG, payload)
            elif opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
                try:
                    self._write(CLOSE, payload[:2])
                except Problem:
                    pass  # it has gone already
                raise Closed(code, payload[2:].decode(errors="replace"))
            elif opcode < CONTROL:
                self._parts.append(payload)
                if sum(map(len, self._parts)) > MESSAGE_MAX:
                    raise Problem("broken", "a message is too large")
                if is_last:
                    text, self._parts = b"".join(self._parts), []
                    return text.decode(errors="replace")

    def send(self, text: str) -> None:
        self._write(TEXT, text.encode())

    def close(self) -> None:
        """For good, from any thread: a receive() that waits ends."""
        try:
            self._write(CLOSE, struct.pack("!H", 1000))
            self._socket.shutdown(socket.SHUT_RDWR)
        except (Problem, OSError):
            pass
        self._connection.close()

    def _frame(self, until: float) -> Optional[Tuple[bool, int, bytes]]:
        """None: it is not whole yet. What has come of it is kept."""
        while True:
            size = self._size()
            if size and len(self._buffer) >= size[0] + size[1]:
                begin, length = size
                first, payload = self._buffer[0], self._buffer[begin:begin + length]
                self._buffer = self._buffer[begin + length:]
                return bool(first & 0x80), first & 0x0F, payload
            left = until - time.monotonic()
            if left <= 0:
                return None
            try:
                self._socket.settimeout(left)
                data = self._socket.recv(65536)
            except socket.timeout:
                return None
            except (OSError, ValueError) as e:
                raise Problem("broken", str(e) or type(e).__name__) from e
            if not data:
                raise Problem("broken", "the server closed without a word")
            self._buffer += data

    def _size(self) -> Optional[Tuple[int, int]]:
        """Bytes of the head and of the payload of the frame that the buffer begins with."""
        if len(self._buffer) < 2:
            return None
        second = self._buffer[1]
        if second & 0x80:
            raise Problem("broken", "a server's frame is masked")
        if second < 126:
            return 2, second
        size = 2 if second == 126 else 8
        if len(self._buffer) < 2 + size:
            return None
        length = int.from_bytes(self._buffer[2:2 + size], "big")
        if length > MESSAGE_MAX:
            raise Problem("broken", "a message is too large")
        return 2 + size, length

    def _write(self, opcode: int, payload: bytes) -> None:
        head = bytes([0x80 | opcode])
        head += bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 126]) + struct.pack("!H", len(payload))
        mask = os.urandom(4)
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        try:
            self._socket.sendall(head + mask + masked)
        except OSError as e:
            raise Problem("broken", str(e) or type(e).__name__) from e


class Closed(Problem):
    """The server closed in form."""

    def __init__(self, code: int, reason: str):
        meaning = closed(code, reason)
        super().__init__(meaning.kind, meaning.message, wait=meaning.wait)
        self.code, self.reason = code, reason
