"""
Three PostgreSQL under Patroni with etcd, each on a machine of its own: a network namespace on one bridge, so that a machine can be cut
off as a real network does it. Packets vanish, and nobody is told.
"""
import contextlib
import functools
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import harness
from faults.nemesis import Nemesis
from harness import Process, find_program, wait_until

NETWORK = "10.0.0"
HERE = f"{NETWORK}.1"  # the programs', and the tests'
MACHINES = {"db1": f"{NETWORK}.11", "db2": f"{NETWORK}.12", "db3": f"{NETWORK}.13"}
BRIDGE = "bridge"
PASSWORD = "secret"
HEALTHY_S = 300
LOOK_S = 0.2
PAGE = harness.TOP / "doc" / "high-availability.md"


def ip(*args):
    subprocess.run(["ip", *args], check=True)


def begin_network():
    """In a network namespace that is ours alone."""
    ip("link", "set", "lo", "up")
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("addr", "add", f"{HERE}/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")


def patroni_yml(name, folder):
    """As the page for operators has it, with this machine's name, address and folders."""
    text = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)[1]
    for here, there in {"NAME": name, "ADDRESS": MACHINES[name], "SECRET": PASSWORD, "/usr/lib/postgresql/15/bin": harness.PG_BIN,
                        "/var/lib/postgresql": folder, "/var/run/postgresql": folder}.items():
        assert here in text, f"{here} is not in {PAGE}"
        text = text.replace(here, str(there))
    return text.replace("etcd3:", "etcd:") if needs_etcd_v2() else text


@functools.cache
def patroni_version():
    said = subprocess.run([find_program("patroni"), "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.search(r"(\d+)\.(\d+)\.(\d+)", said).groups()))


def needs_etcd_v2():
    """By etcd's v3 API a Patroni that was cut off, or stood still, takes the lock from its successor: patroni/patroni#2689."""
    return patroni_version() < (3, 0, 3)


class Machine:
    """etcd, Patroni and its PostgreSQL. `user`: whom they run as; None: who runs this."""

    def __init__(self, name, folder, logs, user):
        self.name, self.address = name, MACHINES[name]
        self.folder = folder / name
        self.logs, self.user = logs, user
        self.holder = self.namespace = None
        self.processes = []

    def install(self):
        self.folder.mkdir(mode=0o700)
        self.yml = self.folder / "patroni.yml"
        self.yml.write_text(patroni_yml(self.name, self.folder))
        if self.user:
            for path in (self.folder, self.yml):
                shutil.chown(path, self.user, self.user)
        self._network()
        self.etcd = self._process("etcd", find_program("etcd"), "--name", self.name, "--data-dir", self.folder / "etcd",
                                  "--listen-client-urls", f"http://{self.address}:2379", "--advertise-client-urls", f"http://{self.address}:2379",
                                  "--listen-peer-urls", f"http://{self.address}:2380", "--initial-advertise-peer-urls", f"http://{self.address}:2380",
                                  "--initial-cluster", ",".join(f"{n}=http://{a}:2380" for n, a in MACHINES.items()),
                                  *(["--enable-v2"] if needs_etcd_v2() else []))
        self.patroni = self._process("patroni", find_program("patroni"), self.yml)

    def _network(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        self.namespace = wait_until(lambda: (ns := os.readlink(f"/proc/{self.holder.pid}/ns/net")) != own and ns, "a network namespace")
        self.enter = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--"]
        ip("link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", str(self.holder.pid))
        for command in ("link set lo up", f"addr add {self.address}/24 dev eth0", "link set eth0 up"):
            subprocess.run([*self.enter, "ip", *command.split()], check=True)
        ip("link", "set", self.name, "up")
        self.join()

    def _process(self, what, *args):
        drop = ["setpriv", "--reuid", self.user, "--regid", self.user, "--clear-groups", "--"] if self.user else []
        process = Process(f"{self.name}-{what}", [*self.enter, *drop, *args],
                          {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}, self.logs, cwd=self.folder)
        self.processes.append(process)
        return process

    def begin(self):
        """As after its power came back."""
        self.etcd.begin()
        self.patroni.begin()

    def pids(self, program=""):
        """Of what runs on it."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(path / "ns" / "net") == self.namespace and int(path.name) != self.holder.pid \
                        and program in os.path.basename(os.readlink(path / "exe")):
                    found.append(int(path.name))
        return found

    def kill(self, program=""):
        """All at once, again and again until none has slipped through."""
        def killed():
            pids = [pid for pid in self.pids(program) if harness.is_running(pid)]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not pids or program

        wait_until(killed, f"all of {self.name} to be dead")
        for process in self.processes:
            process.child.poll()

    def end(self):
        """As far as it was there."""
        if self.namespace:
            self.kill()
        if self.holder:
            self.holder.kill()
            self.holder.wait()

    def cut(self):
        ip("link", "set", self.name, "nomaster")

    def join(self):
        ip("link", "set", self.name, "master", BRIDGE)

    def rest(self, path, body=None):
        """(status, JSON) of Patroni; None: no answer."""
        connection = http.client.HTTPConnection(self.address, 8008, timeout=60 if body else 2)
        try:
            connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
            reply = connection.getresponse()
            text = reply.read()
            return reply.status, text if body else json.loads(text)
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()


class Cluster:
    def __init__(self):
        self.machines = []

    def begin(self, folder, logs, user):
        begin_network()
        for name in MACHINES:
            self.machines.append(Machine(name, folder, logs, user))
            self.machines[-1].install()
        self.wait_healthy()

    def members(self):
        """What the machine that takes itself for the primary says of all, by name. {}: there is none, or it does not know."""
        for machine in self.machines:
            said = machine.rest("/patroni")
            if said and said[1].get("role") in ("master", "primary") and said[1].get("state") == "running":
                told = machine.rest("/cluster")
                members = told[1]["members"] if told else []
                if any(m["role"] == "leader" and m["name"] == machine.name for m in members):
                    return {m["name"]: m for m in members}
        return {}

    def in_role(self, role, other_than=None):
        """The machine in that role (leader, sync_standby), once there is one, and it is another."""
        def found():
            names = [name for name, m in self.members().items() if m["role"] == role]
            return next((m for m in self.machines if m.name in names and m is not other_than), None) or time.sleep(LOOK_S)

        return wait_until(found, f"a {role}" + (f" other than {other_than.name}" if other_than else ""), HEALTHY_S)

    def wait_healthy(self):
        wait_until(lambda: self.healthy() or time.sleep(LOOK_S), "the cluster to be well", HEALTHY_S)

    def healthy(self):
        """
        A primary that sends its WAL to the other two, of which the one that a commit waits for is the one that may be promoted; all
        three on one timeline. What the members say of themselves is up to `ttl` old, and that of a machine which was killed too.
        """
        members = self.members()
        names = {role: [name for name, m in members.items() if m["role"] == role] for role in ("leader", "sync_standby")}
        if len(members) != len(MACHINES) or not all(names.values()) or len({m.get("timeline") for m in members.values()}) != 1:
            return False
        said = next(m for m in self.machines if m.name in names["leader"]).rest("/patroni")
        senders = said[1].get("replication", []) if said else []
        return ({m["application_name"] for m in senders if m["state"] == "streaming"} == set(members) - set(names["leader"])
                and [m["application_name"] for m in senders if m["sync_state"] == "sync"] == names["sync_standby"])

    def stop(self):
        for machine in self.machines:
            machine.end()


class ClusterNemesis(Nemesis):
    """Nothing of ours is touched but its connections. How long publishing was away for each fault is in `away`."""

    def __init__(self, stack, seed, seconds):
        super().__init__(stack, seed, seconds)
        self.cluster = stack.cluster
        self.away = {name: [] for name in self.done}

    def inflict(self, name, seconds):
        began = time.monotonic()
        super().inflict(name, seconds)
        self.cluster.wait_healthy()
        over = time.monotonic()
        wait_until(lambda: max(self.stack.acknowledgements(), default=0) > over, f"publishing to work after {name}", HEALTHY_S)
        times = sorted(t for t in self.stack.acknowledgements() if t > began)
        self.away[name].append(max(b - a for a, b in zip([began, *times], times)))
        print(f"# {name}: publishing was away for {self.away[name][-1]:.1f} s", flush=True)

    def fault_primary_killed(self, seconds):
        """With its Patroni and its etcd."""
        primary = self.cluster.in_role("leader")
        primary.kill()
        self.cluster.in_role("leader", primary)
        self.over.wait(seconds)
        primary.begin()

    def fault_primary_partitioned(self, seconds):
        primary = self.cluster.in_role("leader")
        primary.cut()
        self.cluster.in_role("leader", primary)
        self.over.wait(seconds)
        primary.join()

    def fault_postgresql_killed(self, seconds):
        """Alone: its Patroni starts it again."""
        self.cluster.in_role("leader").kill("postgres")

    def fault_patroni_stopped(self, seconds):
        """The old primary does not know that there is another."""
        primary = self.cluster.in_role("leader")
        primary.patroni.signal(signal.SIGSTOP)
        try:
            self.cluster.in_role("leader", primary)
            self.over.wait(seconds)
        finally:
            primary.patroni.signal(signal.SIGCONT)

    def fault_standby_killed(self, seconds):
        """The synchronous one."""
        standby = self.cluster.in_role("sync_standby")
        standby.kill()
        self.over.wait(2 * seconds)
        standby.begin()

    def fault_standby_partitioned(self, seconds):
        standby = self.cluster.in_role("sync_standby")
        standby.cut()
        self.over.wait(2 * seconds)
        standby.join()

    def fault_switchover(self, seconds):
        leader, standby = self.cluster.in_role("leader"), self.cluster.in_role("sync_standby")
        said = leader.rest("/switchover", {"leader": leader.name, "candidate": standby.name})
        assert said and said[0] == 200, said
        self.cluster.wait_healthy()
        # Who comes again behind it brings a cursor from before.
        before = [(f, f.greetings, f.resets) for f in self.stack.followers]
        self.fault_connections_reset(seconds)
        wait_until(lambda: all(f.greetings > greetings or f.resets == resets for f, greetings, resets in before), "all to be there again", HEALTHY_S)
