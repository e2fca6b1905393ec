"""The FastCGI programs end and come back under load."""
import importlib
import os
import signal

from harness import equal, test, wait_until

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
