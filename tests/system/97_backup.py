"""doc/backup.md: its commands are run, while somebody publishes; and what clients with cursors from before are told after each restore."""
import contextlib
import importlib
import os
import re
import subprocess
import threading

import harness
from harness import PG_BIN, TOP, equal, test, wait_until

doctor = importlib.import_module("77_doctor").doctor

PAGE = (TOP / "doc" / "backup.md").read_text()
# What the page takes from a Debian. systemctl starts and stops nothing of tidings here: the test does, before and after.
WRAPPERS = {
    "runuser": """shift 3
case $1 in pg_basebackup) exec {as_postgres} env PATH="$PATH" PGHOST="$PGHOST" PGUSER=postgres "$@";; esac
exec "$@"
""",
    "systemctl": """case "$*" in
*postgresql) exec {as_postgres} {pg_bin}/pg_ctl -D {data} -l {log} -m fast -w "$1" >/dev/null;;
*tidings-*) ;;
*) exit 1;;
esac
""",
    "tidings": """if [ "$1" = migrate ]; then set -- "$@" --dir {sql}; fi
exec {program} "$@"
""",
}


def block(heading, number=1):
    """The commands below that heading, where there are several blocks of them the one with this number."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]
    return re.findall(r"^```\n(.*?)^```$", section, re.M | re.S)[number - 1]


class Installation(harness.Stack):
    """A PostgreSQL of its own with programs, that may be restored; and a machine as the page means it."""

    def _begin(self):
        super()._begin()
        with open(self.pg_data / "pg_hba.conf", "a") as rights:  # Debian's has that line
            rights.write("local replication all peer map=tidings\n")
        self.work = self.folder / "work"
        self.work.mkdir()
        bin = self.folder / "bin"
        bin.mkdir()
        values = {"as_postgres": f"/usr/sbin/runuser -u {self.pg_user} --" if self.pg_user else "", "pg_bin": PG_BIN, "data": self.pg_data,
                  "log": self.pg_folder / "log", "sql": self.share / "sql", "program": self.program("tidings")}
        for name, text in WRAPPERS.items():
            (bin / name).write_text("#!/bin/sh\n" + text.format(**values))
            (bin / name).chmod(0o755)
        self.path = f"{bin}:{PG_BIN}:{os.environ['PATH']}"

    def environment(self, **settings):
        return super().environment(**{"TIDINGS_QUEUE_MAX": 100000, **settings})

    def run(self, commands, allow="", **values):
        """As root on that machine; values: of variables that the page has at the beginning of a line."""
        for name, value in values.items():
            commands, count = re.subn(rf"^{name}=.*$", f'{name}="{value}"', commands, flags=re.M)
            equal(count, 1, f"lines that begin with {name}=")
        if not self.pg_user:
            commands = commands.replace("-o postgres -g postgres ", "").replace("chown postgres: ", ": ")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TIDINGS_", "PG"))}
        env.update(PATH=self.path, PGHOST=str(self.pg_folder), PGUSER="postgres", LC_ALL="C")
        done = subprocess.run(["bash", "-e", "-c", commands], capture_output=True, text=True, cwd=self.work, env=env, timeout=300)
        wrong = [line for line in done.stderr.splitlines() if not (allow and re.search(allow, line))]
        equal((done.returncode, wrong), (0, []), f"{commands}\n{done.stdout}")
        return done.stdout

    def stop_programs(self):
        self.web1.stop()
        equal(self.node1.stop(), 0, "exit status of the sidecar")

    def start_programs(self):
        self.node1.begin()
        self.node1.wait_listening()
        self.web1.begin()
        self.wait_ready()

    def publish(self, topic, what, count=1):
        for number in range(count):
            self.api.post("/ws/publish", {"topic": topic, "type": "n", "data": f"{what}{number}"}, self.service()).want(200)

    def kept(self, topic, database="tidings"):
        """{seq: data}, as the database has it."""
        rows = self.sql(f"select m.seq, m.body::json->>'data' from tidings.message m join tidings.topic t on t.id = m.topic_id "
                        f"where t.name = '{topic}' order by 1", database=database)
        return {int(seq): data for seq, data in rows}

    def tag(self, database="tidings"):
        return self.sql("select tidings.cluster_tag()", database=database)[0][0]


@contextlib.contextmanager
def installation():
    own = Installation()
    try:
        yield own
    finally:
        own.stop()
        harness.shutil.rmtree(own.folder, ignore_errors=True)


class Publisher:
    """Publishes to two topics until the end of the block, one message after the other."""

    def __init__(self, own, *topics):
        self.own, self.topics, self.acknowledged = own, topics, {topic: {} for topic in topics}
        self.going, self.problem = True, None
        self.thread = threading.Thread(target=self._work)

    def _work(self):
        number = 0
        try:
            while self.going:
                number += 1
                for topic in self.topics:
                    reply = self.own.api.post("/ws/publish", {"topic": topic, "type": "n", "data": f"before{number}"}, self.own.service()).want(200)
                    self.acknowledged[topic][reply["results"][0]["seq"]] = f"before{number}"
        except Exception as e:  # told where the block ends
            self.problem = e

    def more(self, count=10):
        """When so many more have been acknowledged: those that were before."""
        now = {topic: dict(seqs) for topic, seqs in self.acknowledged.items()}
        wait_until(lambda: self.problem or all(len(self.acknowledged[t]) >= len(now[t]) + count for t in self.topics), "more messages to be acknowledged", 60)
        return now

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        self.thread.join()
        if self.problem:
            raise self.problem


def what_comes(client, last):
    """{seq: data} of what a client is given, until that seq."""
    got = {}
    while last not in got:
        m = client.next()
        for message in m["data"]["messages"] if m["type"] == "reconnect_messages" else [m]:
            assert message["seq"] not in got, f"{message} came twice"
            got[message["seq"]] = message["data"]
    return got


def comes_back(own, d, cursor, server=None):
    """Whether a client with that cursor is told that nothing is missing; and what it gets up to the newest."""
    database = "tidings_restored" if server else "tidings"
    newest = max(own.kept(f"diagnosis/{d}", database))
    with own.connect(d, cursor=cursor, server=server) as client:
        return client.first["data"]["recovered"], what_comes(client, newest)


def is_told(own, d, before, cursor, server=None):
    """A client with a cursor from before the restore, in a numbering that goes on beyond it: everything that is kept, and that it may have missed something."""
    kept = own.kept(f"diagnosis/{d}", "tidings_restored" if server else "tidings")
    assert int(cursor.rsplit("-", 1)[1]) <= max(kept), "numbers that were lost are given again"
    equal(sorted(kept), list(range(1, max(kept) + 1)), "numbers that are kept")
    assert before.items() <= kept.items(), "what was acknowledged before the backup began is there"
    recovered, got = comes_back(own, d, cursor, server)
    equal((recovered, got), (False, kept), "what the client is told, and gets")
    poll = (server or own.node1).api.get(f"/poll/{d}?cursor={cursor}", own.token()).want(200)
    equal(poll["recovered"], False, "what a poller is told")


def cursor_at_the_end(own, d):
    with own.connect(d, cursor="0-0") as client:
        return f"{client.cursor.rsplit('-', 1)[0]}-{max(own.kept(f'diagnosis/{d}'))}"


def dumped(own, *diagnoses, options=""):
    """What was acknowledged before the dump began, and each one's cursor after all that came later, which no backup has. options: of pg_dump."""
    topics = [f"diagnosis/{d}" for d in diagnoses]
    with Publisher(own, *topics) as publisher:
        publisher.more()
        before = publisher.more()
        own.run(block("Dump").replace("pg_dump -Fc", f"pg_dump -Fc {options}"))
        publisher.more()
    return [before[t] for t in topics], [cursor_at_the_end(own, d) for d in diagnoses]


@test("a dump that was made while somebody published, restored into the same database by doc/backup.md: clients from before are told, nothing that it holds is missing, and all is well")
def _(_s):
    with installation() as own:
        diagnoses = [own.diagnosis(), own.diagnosis()]
        before, cursors = dumped(own, *diagnoses)
        tag = own.tag()
        own.stop_programs()
        own.run(block("Restore into the same database"))
        assert own.tag() != tag, "the numbering is the same"
        # Roles that are there already stay.
        own.run(block("Restore into the same database", 2), allow="already")
        own.start_programs()
        for d, seqs, cursor in zip(diagnoses, before, cursors):
            lost = int(cursor.rsplit("-", 1)[1]) - max(own.kept(f"diagnosis/{d}"))
            assert lost > 0, "nothing was published after the dump"
            own.publish(f"diagnosis/{d}", "after", lost + 3)
            is_told(own, d, seqs, cursor)
            # From here on it goes on by its cursor.
            recovered, got = comes_back(own, d, f"{cursor_at_the_end(own, d).rsplit('-', 1)[0]}-{lost}")
            equal((recovered, min(got)), (True, lost + 1), "who comes back once more")
            # By the outbox and its relay.
            with own.connect(d) as client:
                own.sql(f"select tidings.publish('diagnosis/{d}', 'n', '{{}}')")
                client.seqs_up_to(max(got) + 1)
        status, wrong, _looked_at = doctor(own)
        equal((status, wrong), (0, {}), "what the doctor finds")


@test("the same restored beside it, by doc/backup.md: two installations in one cluster that share roles and nothing else; then in its place. A restore without owners is found by the doctor")
def _(_s):
    with installation() as own:
        d = own.diagnosis()
        [before], [cursor] = dumped(own, d, options="--no-unlogged-table-data")
        topic = f"diagnosis/{d}"
        with Publisher(own, topic) as publisher:
            own.run(block("Restore into another database"))
            publisher.more()
        cursor = cursor_at_the_end(own, d)
        other = {"TIDINGS_DATABASE": f"host={own.pg_folder} dbname=tidings_restored"}
        done = own.psql("select 1", "tidings_status", "tidings_restored")
        assert "permission denied for database" in done.stderr, f"a program gets into the copy: {done}"
        own.sql("grant connect on database tidings_restored to tidings_publisher, tidings_reader, tidings_status, tidings_sidecar")
        channels = [own.sql("select name from tidings.channel order by 1", database=name) for name in ("tidings", "tidings_restored")]
        equal(channels[0], channels[1], "names of the channels")
        with own.node(**other) as node, own.web(node, **other) as web:
            lost = int(cursor.rsplit("-", 1)[1]) - max(own.kept(topic, "tidings_restored"))
            for n in range(lost + 3):
                web.api.post("/ws/publish", {"topic": topic, "type": "n", "data": f"beside{n}"}, own.service()).want(200)
            is_told(own, d, before, cursor, node)
            with own.connect(d) as here, own.connect(d, server=node) as there:
                for api, what in ((own.api, "here"), (web.api, "there")):
                    for ephemeral in (True, False):
                        api.post("/ws/publish", {"topic": topic, "type": "n", "data": what, "ephemeral": ephemeral}, own.service()).want(200)
                for client, what in ((here, "here"), (there, "there")):
                    got = []
                    while len(got) < 2:
                        m = client.next()
                        got += [m["data"]] if m["type"] == "n" else []
                    equal(got, [what, what], f"what who is connected {what} gets")
                    client.answers()
                own.sql(f"select tidings.publish('{topic}', 'n', '\"from SQL\"')", database="tidings_restored")
                equal(there.next()["data"], "from SQL", "what the relay of the other brings")
                here.answers()
            status, wrong, _looked_at = doctor(own)
            equal((status, [kind for kind, _ in wrong["cluster"]]), (0, ["note"]), f"what the doctor finds: {wrong}")
        own.run("runuser -u postgres -- createdb -E UTF8 -T template0 nobodys\nrunuser -u postgres -- pg_restore --no-owner -d nobodys <tidings.dump")
        status, wrong, _looked_at = doctor(own, TIDINGS_DATABASE=f"host={own.pg_folder} dbname=nobodys")
        equal(status, 1, "exit status of the doctor")
        assert any("belong to postgres" in sentence and "--no-owner" in sentence for _, sentence in wrong["roles"]), wrong
        own.sql("drop database nobodys", database="postgres")
        # What both have published since, and the cursors of either, is of numberings that are not this one's.
        own.stop_programs()
        own.run(block("Restore into another database", 2))
        own.start_programs()
        is_told(own, d, before, cursor)
        assert "permission denied for database" in own.psql("select 1", "tidings_status", "tidings_before").stderr, "a program gets into the former one"


@test("back to a point in time, by doc/backup.md, where a failover is said to lose nothing: tidings epoch renew has clients told, and nothing else would")
def _(_s):
    with installation() as own:
        own.command("tidings", "epoch", "timeline", "no", TIDINGS_DATABASE=f"{own.conninfo} user=postgres")
        d = own.diagnosis()
        topic = f"diagnosis/{d}"
        archive, base = own.pg_folder / "archive", own.pg_folder / "base"
        own.stop_programs()
        own.run(block("Point in time"), ARCHIVE=archive, BASE=base)
        own.start_programs()
        with Publisher(own, topic) as publisher:
            publisher.more()
            before = publisher.more()[topic]
            when = own.sql("select clock_timestamp()")[0][0]
            publisher.more()
        cursor, tag = cursor_at_the_end(own, d), own.tag()
        own.stop_programs()
        commands = block("Point in time", 2)
        renew = "runuser -u postgres -- tidings epoch renew\n"
        first, _, then = commands.partition(renew)
        own.run(first, ARCHIVE=archive, BASE=base, DATA=own.pg_data, WHEN=when)
        equal(own.tag(), tag, "the numbering before tidings epoch renew")
        own.run(renew + then)
        assert own.tag() != tag, "the numbering after it"
        own.start_programs()
        lost = int(cursor.rsplit("-", 1)[1]) - max(own.kept(topic))
        assert lost > 0, "nothing was published after that moment"
        own.publish(topic, "after", lost + 3)
        is_told(own, d, before, cursor)
        settings = (own.pg_data / "postgresql.auto.conf").read_text()
        assert "recovery_target" not in settings and "restore_command" not in settings, settings
