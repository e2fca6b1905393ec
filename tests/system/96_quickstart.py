"""etc/quickstart, as somebody uses it who has just got it: what it prints is done, Ctrl-C, and once more."""
import contextlib
import os
import re
import shlex
import signal
import subprocess

from harness import Client, Process, TOP, equal, free_port, test, wait_until


class Quickstart(Process):
    def __init__(self, s, state, port, ws_port):
        self.state = state
        env = {**{k: v for k, v in os.environ.items() if not k.startswith(("TIDINGS_", "PG"))}, "TIDINGS_PORT": str(port), "TIDINGS_WS_PORT": str(ws_port),
               "TIDINGS_STATE": str(state), "TIDINGS_BUILD": str(s.program("tidings-ws").parent)}
        # Where this runs behind a shell's `&`, Ctrl-C is ignored, and bash would inherit that.
        super().__init__(s._name("quickstart"), ["env", "--default-signal=INT", TOP / "etc" / "quickstart"], env, s.folder)
        try:
            wait_until(lambda: self.alive() and "Ctrl-C stops everything" in self.text(), "quickstart to be ready", 120)
        except BaseException:
            super().stop(60)
            raise

    def text(self):
        return self.log.read_text(errors="replace")

    def token(self, name):
        return re.search(rf"^\s*{name}=(\S+)$", self.text(), re.M)[1]

    def curl(self, n):
        """The n-th curl command that it prints, as a shell takes it."""
        commands = re.findall(r"^    curl (?:.*\\\n)*.*$", self.text(), re.M)
        env = {**os.environ, "USER_TOKEN": self.token("USER_TOKEN")}
        return subprocess.run(["sh", "-c", commands[n].replace("curl ", "curl -sS --fail-with-body ", 1)], env=env, capture_output=True, text=True, check=True).stdout

    def stop(self, seconds=60):
        self.signal(signal.SIGINT)
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            super().stop(seconds)
            raise
        for log, last in (("tidings-ws", "notice: stopped"), ("postgresql", "database system is shut down")):
            lines = (self.state / "log" / f"{log}.log").read_text(errors="replace").splitlines()
            assert last in lines[-1], f"{log} was not ended in order: {lines[-3:]}"


@test("quickstart: what it prints works, Ctrl-C ends all of it in order, and a second start has what was there")
def _(s):
    state, port, ws_port = s.folder / "quickstart", free_port(), free_port()
    for turn in (1, 2):
        quick = Quickstart(s, state, port, ws_port)
        with contextlib.ExitStack() as ended:
            ended.callback(quick.stop)
            client = shlex.split(re.search(r"-m websockets (.*)$", quick.text(), re.M)[1])[0].replace("$USER_TOKEN", quick.token("USER_TOKEN"))
            with Client(client) as listening:
                assert '"clients_notified":1' in quick.curl(0).replace(" ", ""), "reply"
                message = listening.next()
                equal((message["seq"], message["data"]["reason"]), (turn, "a first broadcast"), "message")
                assert '"total_connections":1' in quick.curl(1).replace(" ", ""), "/ws/status"
