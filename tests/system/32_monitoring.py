"""Alerts, dashboard and manual: each name in them is exported by a program; the rules fire, and do not; Prometheus beside all of it."""
import contextlib
import json
import os
import re
import signal
import subprocess
import urllib.parse

from harness import ROLES, TOP, Api, Process, Skip, equal, find_program, free_port, test, wait_until

RULES = TOP / "etc/prometheus/tidings.rules.yml"
DASHBOARD = TOP / "etc/grafana/tidings.json"
MANUAL = TOP / "doc/monitoring.md"
SERIES = re.compile(r"\b(?:tidings|process)_[a-z_]+\b")


def promtool(*args):
    if not find_program("promtool"):
        raise Skip("promtool is not installed")
    done = subprocess.run([find_program("promtool"), *map(str, args)], capture_output=True, text=True)
    equal((done.returncode, done.stderr), (0, ""), f"promtool {args}: {done.stdout[-2000:]}")
    return done.stdout


def exported(s):
    """{name: kind}, of a sidecar and of the web server."""
    found = {}
    for api in (s.node1.api, s.api):
        found.update(re.findall(r"^# TYPE (\S+) (\S+)$", api.get("/metrics").body.decode(), re.M))
    return found


def unknown(names, known):
    """Those that nobody exports. A histogram has three."""
    every = {name for name, kind in known.items() for name in ([name] if kind != "histogram" else [f"{name}_{part}" for part in ("bucket", "sum", "count")])}
    return sorted(set(names) - every)


def panels(rows=False):
    """All panels, those in collapsed rows too; or the rows."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] == "row":
            yield from [panel] if rows else panel["panels"]
        elif not rows:
            yield panel


def expressions():
    return [target["expr"] for panel in panels() for target in panel["targets"]]


@test("the eleven rules are what promtool takes, and each fires when it should and not otherwise")
def _(s):
    assert "11 rules found" in promtool("check", "rules", RULES)
    promtool("test", "rules", TOP / "tests/prometheus/tidings.rules.test.yml")
    names = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    cases = (TOP / "tests/prometheus/tidings.rules.test.yml").read_text()
    for name in names:
        told, silent = (len(re.findall(rf"alertname: {name}\b[^\n]*{what}", cases)) for what in (r"\n\s+exp_alerts:\n", r", exp_alerts: \[\] \}"))
        assert told and silent, f"{name}: {told} cases in which it fires, {silent} in which it does not"
    equal(set(re.findall(r"^\| `(Tidings\w+)` \|", MANUAL.read_text(), re.M)), names, "alerts of the manual")


@test("every metric of the rules, the dashboard and the manual is exported by a program, and every one that is exported is in the manual")
def _(s):
    known = exported(s)
    rules = re.sub(r"(?m)^\s*(summary|description|#).*$", "", RULES.read_text())
    equal(unknown(SERIES.findall(rules), known), [], "of the rules, that nobody exports")
    equal(unknown((name for e in expressions() for name in SERIES.findall(re.sub(r'"[^"]*"', '""', e))), known), [], "of the dashboard, that nobody exports")
    manual = re.findall(r"^\| `((?:tidings|process)_\w+)(?:\{[^`]*\})?` \|", MANUAL.read_text(), re.M)
    equal(sorted(set(manual) - set(known)), [], "of the manual, that nobody exports")
    equal(sorted(set(known) - set(manual)), [], "that the manual does not have")
    equal(len(manual), len(set(manual)), "lines of the manual")


@test("every metric and every alert that another document names is there")
def _(s):
    known = exported(s)
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    others = {*ROLES, "tidings_owner", "tidings_sidecars"}
    for page in [*sorted((TOP / "doc").glob("*.md")), TOP / "README.md"]:
        quoted = " ".join(re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page.read_text(), flags=re.S)))
        equal(sorted(set(SERIES.findall(quoted)) - others - set(known)), [], f"metrics of {page.name}, that nobody exports")
        equal(sorted(set(re.findall(r"\bTidings[A-Z]\w+", quoted)) - alerts), [], f"alerts of {page.name}, that are no rules")


@test("the dashboard has its variables and rows, all but the first two collapsed, and no two panels with one number")
def _(s):
    board = json.loads(DASHBOARD.read_text())
    assert {"job", "instance", "quantile"} <= {v["name"] for v in board["templating"]["list"]}, board["templating"]
    equal([(row["title"], row["collapsed"]) for row in panels(rows=True)],
          [("Promise", False), ("Connections", False), ("Publish", True), ("Queue and database", True), ("Process", True)], "rows")
    ids = [p["id"] for p in [*panels(), *panels(rows=True)]]
    equal(len(ids), len(set(ids)), "numbers of panels")


class Prometheus(Process):
    """What etc/examples/monitoring/run starts, beside the first sidecar and the first web server."""

    def __init__(self, s):
        self.port = free_port()
        self.api = Api(self.port, described=False)
        folder = s.folder / "monitoring"
        folder.mkdir()
        (folder / "tidings.env").write_text(f"TIDINGS_STATE='{folder}'\nTIDINGS_PORT='{s.web1.port}'\nTIDINGS_WS_PORT='{s.node1.port}'\n")
        env = {**os.environ, "TIDINGS_STATE": str(folder), "PROMETHEUS_PORT": str(self.port), "PROMETHEUS_INTERVAL": "1s"}
        super().__init__("prometheus", [TOP / "etc/examples/monitoring/run"], env, s.logs)
        with self.ended_unless_begun():
            self.wait_port(self.port)
            wait_until(lambda: self.api.get("/-/ready").status == 200, "Prometheus to be ready", 90)

    def ask(self, path, **query):
        reply = self.api.get(f"/api/v1/{path}?{urllib.parse.urlencode(query)}")
        got = reply.json
        equal(got["status"], "success", f"{query}: {got.get('error')}")
        return got["data"]

    def value(self, query):
        """Of the first series; None: there is none."""
        found = self.ask("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None


@test("Prometheus, started by one command, scrapes the sidecar and the web server, has the eleven rules, and every panel of the dashboard has data", allow="prometheus")
def _(s):
    if not find_program("prometheus"):
        raise Skip("prometheus is not installed")
    d = s.diagnosis()
    prometheus = Prometheus(s)
    s.processes.append(prometheus)
    try:
        wait_until(lambda: prometheus.value('sum(up{job="tidings"})') == 2, "both to be scraped", 90)
        equal(sum(len(g["rules"]) for g in prometheus.ask("rules")["groups"]), 11, "rules")
        with s.connect(d) as client:
            s.recommend(d)
            client.next()
            s.recommend(d)
            client.next()
            # Two scrapes with something between them, for what goes by rates.
            delivered = prometheus.value("sum(tidings_deliveries_total)") or 0
            s.recommend(d)
            client.next()
            wait_until(lambda: (prometheus.value("sum(tidings_deliveries_total)") or 0) > delivered, "the delivery to be scraped", 90)
            wait_until(lambda: prometheus.value("sum(rate(tidings_published_messages_total[1m]))") is not None, "the web server to be scraped twice", 90)
        empty = []
        for expression in expressions():
            query = expression.replace("$job", "tidings").replace("$instance", ".*").replace("$quantile", "0.99").replace("$__rate_interval", "1m")
            if not re.search(r"> 0$|tidings_connections_closed", query) and prometheus.value(query) is None:
                empty.append(query)
        equal(empty, [], "panels without data")
        equal([a["labels"]["alertname"] for a in prometheus.ask("alerts")["alerts"] if a["state"] == "firing" and a["labels"]["alertname"] == "TidingsDown"], [], "down")
    finally:
        s.forget(prometheus)
        prometheus.signal(signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            prometheus.stop()
