#!/usr/bin/python3
"""
An assistant that takes part in chats: it reads its inbox by long-poll, and answers by POST. README.md tells how to run it.

Every message is answered, once, whenever this is stopped or killed. The cursor is written down after the answer was taken, so nothing is
passed over; and the Idempotency-Key of an answer is made from what it answers, so an answer that was given before this knew is no second one.
"""
import base64
import http.client
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

URL = os.environ.get("TIDINGS_URL", "http://localhost:8000")
TOKEN_FILE = pathlib.Path(os.environ.get("ASSISTANT_TOKEN_FILE", "token"))
CURSOR_FILE = pathlib.Path(os.environ.get("ASSISTANT_CURSOR_FILE", "cursor"))
NAME = os.environ.get("ASSISTANT_NAME", "ai_assistant")

POLL_S = 25
ANSWER_S = 30
RETRY_S = 2
MESSAGE_MAX = 4000


def answer(text):
    """What to say to that. Here is the place for a model."""
    return f"You said: {text}"


class Refused(Exception):
    """The server will not have it, now or later."""


def log(text):
    print(text, file=sys.stderr, flush=True)


def token():
    return TOKEN_FILE.read_text().strip()  # each time: it may be renewed while this runs


def user_id():
    claims = token().split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"])


def request(path, body=None, timeout=ANSWER_S, **headers):
    """The answer's JSON. While the server is away, or busy, or wants another token, it is asked again."""
    data = None if body is None else json.dumps(body).encode()
    while True:
        wait = RETRY_S
        try:
            all_headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json", **headers}
            with urllib.request.urlopen(urllib.request.Request(URL + path, data, all_headers), timeout=timeout) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as e:
            if e.code < 500 and e.code not in (401, 408, 429):
                raise Refused(f"{e.code} {e.read(500).decode(errors='replace')}") from None
            log(f"{path}: {e}")
            seconds = e.headers.get("Retry-After", "")
            wait = int(seconds) if seconds.isdecimal() else RETRY_S
        except (OSError, http.client.HTTPException, ValueError) as e:
            log(f"{path}: {e}")
        time.sleep(wait)


def read_cursor():
    try:
        return CURSOR_FILE.read_text().strip()
    except FileNotFoundError:
        return ""


def keep_cursor(cursor):
    new = CURSOR_FILE.with_suffix(".new")
    with open(new, "w") as f:
        f.write(cursor + "\n")
        f.flush()
        os.fsync(f.fileno())
    new.replace(CURSOR_FILE)


def handle(message, me):
    said = message["data"]
    if message["type"] != "chat_message" or str(said["user_id"]) == me:
        return  # somebody types; or these are our own words
    body = {"conversation_id": said["conversation_id"], "message": answer(said["message"])[:MESSAGE_MAX], "sender": NAME}
    try:
        request("/ws/broadcast-chat-message", body, **{"Idempotency-Key": f"answer-{said['message_id']}"})
    except Refused as why:
        # The conversation is gone; or a model that never says the same twice has answered this before (422, Idempotency-Key).
        log(f"no answer to message {said['message_id']}: {why}")


def main():
    me = user_id()
    topic = f"chats/{me}"
    cursor = read_cursor()
    while True:
        query = urllib.parse.urlencode({"topics": topic, "cursor": cursor, "timeout": POLL_S} if cursor else {"topics": topic})
        reply = request(f"/poll?{query}", timeout=POLL_S + ANSWER_S)
        epoch = reply["cursor"].rpartition("-")[0]
        stored = [m["seq"] for m in reply["messages"] if "seq" in m]
        if not reply["recovered"]:
            log(f"messages are lost: {reply['topics'][topic].get('missed', 'how many is not known')}")
        if not cursor and stored:
            keep_cursor(f"{epoch}-{stored[0] - 1}")  # what waits is given once to who has no cursor
        for message in reply["messages"]:
            handle(message, me)
            if "seq" in message:
                keep_cursor(f"{epoch}-{message['seq']}")
        if reply["cursor"] != cursor:
            cursor = reply["cursor"]
            keep_cursor(cursor)


try:
    main()
except Refused as why:
    sys.exit(f"the inbox is refused: {why}")
except KeyboardInterrupt:
    sys.exit(130)
