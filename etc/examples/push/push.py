#!/usr/bin/python3
"""
Wakes phones whose app sleeps, by Firebase Cloud Messaging (HTTP v1): there is a notification. README.md tells how to run it.

A row of push.waiting is one notification for one phone. It is locked while it is sent, and deleted when the service has taken it: so nothing is lost,
whenever this is stopped or killed; what is sent twice, killed in between, the phone shows as one. The push says nothing of what the notification says.
"""
import json
import os
import pathlib
import random
import select
import sys
import time

import httpx
import jwt
import psycopg

DATABASE = os.environ.get("PUSH_DATABASE", "dbname=tidings user=push_sender")
ACCOUNT_FILE = pathlib.Path(os.environ.get("PUSH_ACCOUNT_FILE", "service-account.json"))
FCM_URL = os.environ.get("PUSH_FCM_URL", "https://fcm.googleapis.com")

TITLE = "You have a new notification"
SHOWN_AS = "tidings"  # a phone shows the newest with this name alone, and one that was off gets the newest alone
ANSWER_S = 10
POLL_S = 5  # where a NOTIFY was lost, or another one of this died with a row in its hands
RETRY_S = 2
PAUSE_MAX_S = 60
BACKOFF_MAX_S = 3600

NEXT = """select w.notification_id, w.device_id, w.attempts, d.token, push.seen(w.notification_id)
    from push.waiting w left join push.device d on d.id = w.device_id
    where w.next_at <= clock_timestamp() order by w.next_at limit 1 for update of w skip locked"""
IDLE = "select extract(epoch from min(next_at) - clock_timestamp())::float8 from push.waiting where next_at > clock_timestamp()"
DONE = "delete from push.waiting where notification_id = %s and device_id = %s"
GONE = "delete from push.device where id = %s"
LATER = """update push.waiting set attempts = attempts + 1, next_at = clock_timestamp() + make_interval(secs => %s)
    where notification_id = %s and device_id = %s"""


class Gone(Exception):
    """The app is no longer on that phone."""


class Failed(Exception):
    """It was not taken. retry_s: the service wants no sooner attempt."""

    def __init__(self, why, retry_s=0):
        super().__init__(why)
        self.retry_s = retry_s


def log(text):
    print(text, file=sys.stderr, flush=True)


def backoff(attempts, most):
    return min(2 ** min(attempts, 12) * random.uniform(1, 1.5), most)


class Fcm:
    """The service: asked as whom the account's file names, and left alone for as long as it is busy."""

    def __init__(self, account):
        self.email, self.key, self.token_url = account["client_email"], account["private_key"], account["token_uri"]
        self.url = f"{FCM_URL}/v1/projects/{account['project_id']}/messages:send"
        self.http = httpx.Client(timeout=ANSWER_S)
        self.bearer, self.bearer_until = None, 0
        self.busy_until, self.failures = 0, 0

    def rest(self):
        time.sleep(max(0, self.busy_until - time.monotonic()))

    def send(self, token, notification):
        """Returns when the service has taken it. Raises Gone or Failed."""
        message = {
            "token": token,
            "notification": {"title": TITLE},
            "data": {"notification_id": str(notification)},
            "android": {"priority": "HIGH", "collapse_key": SHOWN_AS, "notification": {"tag": SHOWN_AS}},
            "apns": {"headers": {"apns-priority": "10", "apns-collapse-id": SHOWN_AS}},
        }
        reply = self._post(self.url, json={"message": message}, headers={"Authorization": f"Bearer {self._bearer()}"})
        if reply.status_code == 200:
            return
        code = self._code(reply)
        if reply.status_code == 404 and code == "UNREGISTERED":
            raise Gone
        if reply.status_code == 401:
            self.bearer = None
        raise Failed(f"{reply.status_code} {code}")

    def _post(self, url, **what):
        try:
            reply = self.http.post(url, **what)
        except httpx.TransportError as e:
            raise self._busy(type(e).__name__) from None
        if reply.status_code == 429 or reply.status_code >= 500:
            seconds = reply.headers.get("Retry-After", "")
            raise self._busy(str(reply.status_code), int(seconds) if seconds.isdecimal() else 0)
        self.failures = 0
        return reply

    def _busy(self, why, retry_s=0):
        """The same service would refuse the next one, too."""
        self.busy_until = time.monotonic() + max(retry_s, backoff(self.failures, PAUSE_MAX_S))
        self.failures += 1
        return Failed(why, retry_s)

    def _bearer(self):
        if self.bearer is None or time.monotonic() > self.bearer_until:
            now = int(time.time())
            claims = {"iss": self.email, "scope": "https://www.googleapis.com/auth/firebase.messaging", "aud": self.token_url, "iat": now, "exp": now + 3600}
            form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": jwt.encode(claims, self.key, "RS256")}
            reply = self._post(self.token_url, data=form)
            if reply.status_code != 200:
                raise self._busy(f"no access token: {reply.status_code}")
            answer = reply.json()
            self.bearer, self.bearer_until = answer["access_token"], time.monotonic() + answer["expires_in"] - 60
        return self.bearer

    @staticmethod
    def _code(reply):
        """What the service calls the error; its words may quote the phone's token."""
        try:
            error = reply.json()["error"]
            return next((d["errorCode"] for d in error.get("details", []) if "errorCode" in d), error["status"])
        except (ValueError, KeyError, TypeError):
            return ""


def push_next(connection, fcm):
    """Deals with one that is due. False: none is."""
    with connection.transaction():
        row = connection.execute(NEXT).fetchone()
        if row is None:
            return False
        notification, device, attempts, token, seen = row
        if token is not None and not seen:
            try:
                fcm.send(token, notification)
                log(f"notification {notification}: pushed to device {device}")
            except Gone:
                log(f"device {device} is gone")
                connection.execute(GONE, [device])
            except Failed as why:
                wait_s = max(why.retry_s, backoff(attempts, BACKOFF_MAX_S))
                log(f"notification {notification}, device {device}: {why}; again in {wait_s:.0f} s")
                connection.execute(LATER, [wait_s, notification, device])
                return True
        connection.execute(DONE, [notification, device])
        return True


def serve(fcm):
    rings = []
    with psycopg.connect(DATABASE, autocommit=True) as connection:
        connection.add_notify_handler(rings.append)
        connection.execute("listen push")
        while True:
            fcm.rest()
            rings.clear()
            if push_next(connection, fcm):
                continue
            wait_s = connection.execute(IDLE).fetchone()[0]
            # One may have been read behind the answer.
            if not rings and not connection.pgconn.notifies():
                select.select([connection], [], [], min(POLL_S, POLL_S if wait_s is None else wait_s))


def main():
    try:
        fcm = Fcm(json.loads(ACCOUNT_FILE.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as e:
        sys.exit(f"PUSH_ACCOUNT_FILE: {ACCOUNT_FILE} is no service account's key: {type(e).__name__}")
    while True:
        try:
            serve(fcm)
        except psycopg.OperationalError as why:
            log("database: " + str(why).partition("\n")[0])
            time.sleep(RETRY_S)


try:
    main()
except KeyboardInterrupt:
    sys.exit(130)
