"""Publishers that repeat what they got no answer to, under the same Idempotency-Key, and remember what was acknowledged."""
import http.client
import random
import subprocess
import threading
import time
from dataclasses import dataclass

REPEAT_S = 0.1
ANSWER_S = 15


@dataclass
class Acknowledged:
    topic: int  # a diagnosis
    to_user: str | None
    asked: float  # when it was first sent
    seq: int | None = None


class Publisher(threading.Thread):
    """POSTs to one diagnosis after the other, one message at a time."""

    def __init__(self, stack, number, seed):
        super().__init__(daemon=True, name=f"publisher {number}")
        self.stack, self.number, self.random = stack, number, random.Random(seed)
        self.over = threading.Event()
        self.acknowledged = {}
        self.times = []  # of each acknowledgement
        self.faults = []
        self.repeats = 0
        self.longest_s = 0.0  # from a message's first try to its 200

    def run(self):
        n = 0
        while not self.over.is_set():
            n += 1
            self.publish(f"{self.number}-{n}")
            self.over.wait(self.random.expovariate(1 / self.stack.pause_s))

    def publish(self, key, topic=None, to_user=None):
        topic = topic or self.random.choice(self.stack.diagnoses)
        if to_user is None and self.random.random() < 0.05:
            to_user = self.random.choice(self.stack.users)
        size = int(self.random.paretovariate(0.7)) * 50 % 40000
        body = {"diagnosis_id": topic, "old_data": {}, "new_data": {"x": "x" * size}, "reason": key}
        if to_user:
            body["to_user_id"] = to_user
        asked = time.monotonic()
        while True:
            reply = self.post(body, key)
            if reply and reply.status == 200:
                self.acknowledged[key] = Acknowledged(topic, to_user, asked, reply.json["seq"])
                self.times.append(time.monotonic())
                self.longest_s = max(self.longest_s, self.times[-1] - asked)
                return
            # 500 is the web server's, of a program that ended under it.
            if reply and reply.status not in (500, 502, 503, 504):
                self.faults.append(f"{key}: {reply}")
                return
            self.repeats += 1
            if self.stack.given_up.is_set():
                self.faults.append(f"{key} was never acknowledged")
                return
            time.sleep(REPEAT_S)

    def post(self, body, key):
        api = self.random.choice(self.stack.webs).api
        try:
            return api.request("POST", "/ws/broadcast-recommendation-update", body, self.stack.service(), {"Idempotency-Key": key}, ANSWER_S)
        except (OSError, http.client.HTTPException):
            return None


class Application(threading.Thread):
    """Publishes from transactions of its own, of which some are rolled back and some stay open for a while."""

    def __init__(self, stack, seed):
        super().__init__(daemon=True, name="application")
        self.stack, self.random = stack, random.Random(seed)
        self.over = threading.Event()
        self.acknowledged, self.rolled_back, self.unknown = {}, set(), {}

    def run(self):
        n = 0
        while not self.over.is_set():
            n += 1
            self.transaction(n)
            self.over.wait(self.random.expovariate(1 / (5 * self.stack.pause_s)))

    def transaction(self, n):
        calls = {f"sql-{n}-{i}": self.random.choice(self.stack.diagnoses) for i in range(self.random.randint(1, 3))}
        end = "commit" if self.random.random() < 0.8 else "rollback"
        asked = time.monotonic()
        psql = subprocess.Popen(["psql", "-qXAt", "-v", "ON_ERROR_STOP=1"], env=self.stack.psql_env("postgres", "tidings"), text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        lines = ["begin;", *(f"select tidings.publish('diagnosis/{topic}', 'chaos', json_build_object('key', '{key}'));" for key, topic in calls.items())]
        hold = self.random.choice((0, 0, 0, 1.5))
        try:
            psql.stdin.write("\n".join(lines) + "\n")
            psql.stdin.flush()
            self.over.wait(hold)
            out, _ = psql.communicate(f"{end};\nselect 'ended';\n", timeout=60)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            psql.kill()
            out, _ = psql.communicate()
        committed = {key: Acknowledged(topic, None, asked) for key, topic in calls.items()}
        if end == "rollback":
            self.rolled_back.update(calls)
        elif "ended" in out:
            self.acknowledged.update(committed)
        else:
            self.unknown.update(committed)
