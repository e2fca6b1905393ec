"""The FastCGI programs end and come back under load."""
import contextlib
import ctypes
import importlib
import os
import pathlib
import resource
import shlex
import signal
import socket
import subprocess
import sys
import threading

from harness import Lock, descendants, equal, is_running, test, wait_until

outage = importlib.import_module("85_outage")


@test("SIGTERM of broadcast.fcgi under load: what was accepted is finished, and nothing is lost")
def _(s):
    d = s.diagnosis()
    with s.connect(d) as client:
        reader = outage.Reader(client)
        load = outage.Load(s, d, 8)
        try:
            for _n in range(3):
                before = load.seen(200)
                wait_until(lambda: load.seen(200) > before + 100, "the load to run")
                pids = s.web1.programs("broadcast.fcgi")
                assert pids, "broadcast.fcgi is not running"
                for pid in pids:
                    os.kill(pid, signal.SIGTERM)
                wait_until(lambda: not set(pids) & set(s.web1.programs("broadcast.fcgi")), "broadcast.fcgi to end")
            before = load.seen(200)
            wait_until(lambda: load.seen(200) > before + 100, "broadcasts to be taken again")
        finally:
            load.end()
        last = s.recommend(d, "last")["seq"]
        wait_until(lambda: last in reader.messages, "the last message")
        reader.end()
    equal(load.odd[:3], [], "replies that are neither 200 nor a proper 503")
    equal({q for q, why in load.acknowledged.items() if reader.messages.get(q) != why}, set(), "acknowledged, and not delivered")
    equal(len(load.acknowledged), last - 1, "published, and not acknowledged: one that was accepted got no answer; acknowledged")


@test("SIGTERM of status.fcgi and history.fcgi: they are there again")
def _(s):
    d = s.diagnosis()
    s.recommend(d)
    for name, path in (("status.fcgi", "/ws/status"), ("history.fcgi", f"/ws/history/{d}")):
        s.api.get(path, s.token()).want(200)
        pids = s.web1.programs(name)
        assert pids, f"{name} is not running"
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not set(pids) & set(s.web1.programs(name)), f"{name} to end")
        wait_until(lambda: s.api.get(path, s.token()).status == 200, f"{path} to be answered")


@test("SIGTERM of the web server: its programs end with it")
def _(s):
    d = s.diagnosis()
    with s.web() as web:
        s.recommend(d, api=web.api)
        pids = [p for name in ("broadcast.fcgi", "status.fcgi", "history.fcgi") for p in web.programs(name)]
        assert len(pids) >= 3, pids
    wait_until(lambda: not any(os.path.exists(f"/proc/{p}") and "fcgi" in open(f"/proc/{p}/cmdline").read() for p in pids), "the programs to end")


class Supervisor:
    """The socket that systemd would give to a program of Type=notify."""

    def __init__(self, s):
        self.path = s.folder / s._name("notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(20)
        self.socket.bind(str(self.path))

    def told(self):
        return self.socket.recv(100).decode()

    def told_until(self, last):
        said = [self.told()]
        while said[-1] != last:
            said.append(self.told())
        return said


@test("a FastCGI program tells systemd when it serves and when it goes")
def _(s):
    supervisor = Supervisor(s)
    with s.web(NOTIFY_SOCKET=supervisor.path) as web:
        pids = [web.programs(f"{p}.fcgi")[0] for p in ("api", "broadcast", "live", "status", "history")]
        equal({supervisor.told() for _p in pids}, {"READY=1"}, "as they begin")
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
            # The next one may say that it serves.
            assert "STOPPING=1" in supervisor.told_until("STOPPING=1")


def setting(pid, name):
    """In the environment that the process was started with."""
    return dict(v.split(b"=", 1) for v in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if v).get(name.encode())


@test("kill -9 of the web server alone: its programs finish what they have in hand, and go; a new one in its folder starts its own, with its own settings",
      allow="child|signal|gw_backend|socket|database")
def _(s):
    # They stayed, unsupervised and with old settings, and the next web server used them.
    d = s.diagnosis()
    web = s.start_web(TIDINGS_DATABASE_TIMEOUT=60000)
    programs, busy = descendants(web.pid), web.programs("broadcast.fcgi")
    lost = []

    def publish():
        try:
            s.recommend(d, "in hand", api=web.api)
        except OSError as e:
            lost.append(e)

    with Lock(s, "tidings.topic"):
        asking = threading.Thread(target=publish)
        asking.start()
        wait_until(lambda: s.sql("select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like '%publish_batch%'"), "the publish to wait")
        web.signal(signal.SIGKILL)
        web.wait()
        s.forget(web)
        asking.join()
        assert lost, "answered, although the web server was gone"
        with s.web(folder=web.folder, TIDINGS_QUEUE_MAX=7) as after:
            assert busy and all(is_running(p) for p in busy), "broadcast.fcgi ended before its publish"
            for name in ("api.fcgi", "broadcast.fcgi", "live.fcgi", "status.fcgi", "history.fcgi"):
                pids = after.programs(name)
                equal([(p in programs, setting(p, "TIDINGS_QUEUE_MAX")) for p in pids], [(False, b"7")], f"{name} of the new web server")
    wait_until(lambda: not any(is_running(p) for p in programs), "the programs to end")
    equal([p.name for p in web.folder.glob("*.sock-*")], [], "sockets that are left")
    equal(s.last_seq(f"diagnosis/{d}"), 1, "what was in hand is published")


STARTER = """
import socket, subprocess, sys
with socket.socket(socket.AF_UNIX) as listener, open(sys.argv[2], "w") as log:
    listener.bind(sys.argv[1])
    listener.listen(8)
    print(subprocess.Popen(["sh", "-c", sys.argv[3]], stdin=listener, stdout=subprocess.DEVNULL, stderr=log, pass_fds=[int(sys.argv[4])]).pid)
"""


@contextlib.contextmanager
def adopting_orphans():
    """As in a container: who adopts them is of their session."""
    pr_set_child_subreaper = 36
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(pr_set_child_subreaper, 1, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        prctl(pr_set_child_subreaper, 0, 0, 0, 0)


def orphan(s, path, before=""):
    """Pid and log of a broadcast.fcgi that begins when the one that listened and started it has ended."""
    log = path.with_suffix(".log")
    ended, end = os.pipe()
    script = f"read line <&{ended}; exec {before} {shlex.quote(str(s.program('broadcast.fcgi')))}"
    try:
        done = subprocess.run([sys.executable, "-c", STARTER, path, log, script, str(ended)], stdout=subprocess.PIPE, env=s.environment(),
                              pass_fds=[ended], check=True)
    finally:
        os.close(ended)
        os.close(end)
    return int(done.stdout), log


@test("a program that leads a session outlives who started it; another one whose parent has ended as it begins ends at once")
def _(s):
    with adopting_orphans():
        pid, log = orphan(s, s.folder / "orphan.sock")
        wait_until(lambda: not is_running(pid), "the orphan to end")
        os.waitpid(pid, 0)
    assert "the web server that started this has ended" in log.read_text(), log.read_text()
    assert not (s.folder / "orphan.sock").exists(), "its socket is there"

    path = s.folder / "leader.sock"
    pid, log = orphan(s, path, "setsid")
    try:
        wait_until(lambda: log.exists() and "serving" in log.read_text(), "it to serve")
        # The socket of the next one may have that name by the time that the signal is heard.
        path.unlink()
        path.touch()
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_running(pid), "it to end on SIGTERM")
    assert "stopping signal=15" in log.read_text(), log.read_text()
    assert path.exists(), "it has removed what is not its own"


@test("a FastCGI program that is out of descriptors goes on when there are some again, and serves who waited",
      allow="Too many open files|database cannot be reached")
def _(s):
    d = s.diagnosis()
    s.api.get(f"/ws/history/{d}", s.token()).want(200)
    pids = s.web1.programs("history.fcgi")
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    replies = []

    def ask():
        replies.append(s.api.get(f"/ws/history/{d}", s.token()).status)

    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")), limits[pid][1]))
    try:
        waiting = [threading.Thread(target=ask) for _n in range(4)]
        for thread in waiting:
            thread.start()
        # What another program answers meanwhile has come behind them.
        s.recommend(d)
    finally:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits[pid])
    for thread in waiting:
        thread.join()
    # Who was accepted, and had no descriptor for a connection to the database, was told so.
    assert set(replies) <= {200, 503}, replies
    ask()
    equal((replies[-1], s.web1.programs("history.fcgi")), (200, pids), "the reply afterwards, and who gave it")
