"""Faults, one after the other, of kinds and lengths that a seed decides. Each is put right before the next but one begins."""
import contextlib
import os
import random
import signal
import subprocess
import threading
import time

from harness import Silence, Transaction, wait_until


class Nemesis(threading.Thread):
    def __init__(self, stack, seed, seconds):
        super().__init__(daemon=True, name="nemesis")
        self.stack, self.random, self.end = stack, random.Random(seed), time.monotonic() + seconds
        self.done = {name: 0 for name in self.kinds()}
        self.over = threading.Event()  # what is broken is put right, and no more is done
        self.ended = threading.Event()  # join() that a signal ends takes the thread for one that has
        self.error = None
        self.stretches = []  # in which the guest had no right: (diagnosis, from, to)

    def kinds(self):
        """Names of the faults that can be done here."""
        return [name[len("fault_"):] for name in dir(self) if name.startswith("fault_")]

    def run(self):
        try:
            while time.monotonic() < self.end and not self.over.is_set():
                # Each kind comes once before any comes again.
                least = min(self.done.values())
                name = self.random.choice([n for n, times in self.done.items() if times == least])
                print(f"# {name}", flush=True)
                self.inflict(name, self.random.uniform(0.3, 4))
                self.done[name] += 1
                self.over.wait(self.random.uniform(0.5, 2))
        except Exception as e:
            self.error = e
        finally:
            self.ended.set()

    def inflict(self, name, seconds):
        getattr(self, f"fault_{name}")(seconds)

    # ---- the network

    def fault_connections_reset(self, seconds):
        for follower in self.stack.followers:
            if self.random.random() < 0.5:
                follower.reset()


class StackNemesis(Nemesis):
    """Of everything that a Stack is made of."""

    def kinds(self):
        return [name for name in super().kinds() if name != "full_disk" or self.stack.small_disk]

    # ---- programs

    def fault_sidecar_killed(self, seconds):
        node = self.random.choice(self.stack.nodes)
        node.child.kill()
        node.wait()
        self.over.wait(seconds / 2)
        node.begin()
        node.wait_listening()

    def fault_sidecar_restarted(self, seconds):
        node = self.random.choice(self.stack.nodes)
        node.stop()
        node.begin()
        node.wait_listening()

    def fault_sidecar_stopped(self, seconds):
        self.stands_still([self.random.choice(self.stack.nodes).pid], 2 * seconds)

    def fault_programs_killed(self, seconds):
        for pid in self.some_programs():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def fault_programs_stopped(self, seconds):
        self.stands_still(self.some_programs(), seconds)

    def fault_web_server_killed(self, seconds):
        web = self.random.choice(self.stack.webs)
        web.child.kill()
        web.wait()
        self.over.wait(seconds / 4)
        web.begin()
        web.wait_port(web.port)

    def programs(self, web):
        return [pid for name in ("api.fcgi", "broadcast.fcgi", "live.fcgi", "status.fcgi", "history.fcgi") for pid in web.programs(name)]

    def some_programs(self):
        running = self.programs(self.random.choice(self.stack.webs))
        return self.random.sample(running, self.random.randint(1, len(running))) if running else []

    def stands_still(self, pids, seconds):
        """What has ended meanwhile needs not be stopped."""
        try:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            self.over.wait(seconds)
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    # ---- the database

    def fault_database_killed(self, seconds):
        self.stack.stop_postgres("immediate")
        self.over.wait(seconds / 2)
        self.stack.start_postgres()

    def fault_backends_ended(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.over.is_set():
            self.stack.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename like 'tidings%' and random() < 0.3")
            self.over.wait(0.3)

    def fault_database_stands_still(self, seconds):
        with open(self.stack.pg_data / "postmaster.pid") as f:
            postmaster = int(f.readline())
        children = subprocess.run(["pgrep", "-P", str(postmaster)], capture_output=True, text=True).stdout.split()
        self.stands_still([postmaster, *map(int, children)], 2 * seconds)

    def fault_full_disk(self, seconds):
        ballast = self.stack.pg_folder / "ballast"
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as f:
            while f.write(bytes(1 << 20)):
                pass
        self.over.wait(seconds)
        ballast.unlink()
        wait_until(self.database_is_back, "the database to be back", 60)

    def database_is_back(self):
        """It ends by itself where it cannot write its log, and may be about to."""
        if self.stack.psql("select 1").returncode == 0:
            return True
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stack.start_postgres()
        return False

    def fault_notifications_lost(self, seconds):
        with Silence(self.stack):
            self.over.wait(2 * seconds)

    def fault_snapshot_held(self, seconds):
        with Transaction(self.stack, "set transaction isolation level repeatable read; select from tidings.message limit 1"):
            self.over.wait(2 * seconds)

    def fault_topic_locked(self, seconds):
        topic = self.random.choice(self.stack.diagnoses)
        with Transaction(self.stack, f"select from tidings.topic where name = 'diagnosis/{topic}' for update"):
            self.over.wait(seconds)

    def fault_right_withdrawn(self, seconds):
        s = self.stack
        topic = self.random.choice(s.diagnoses)
        who = f"diagnosis_id = {topic} and user_id = '{s.guest}'"
        with Transaction(s, f"delete from tidings.diagnosis_grant where {who}"):
            self.over.wait(self.random.choice((0, seconds)))
        withdrawn = time.monotonic()
        self.over.wait(seconds)
        granted = time.monotonic()
        s.sql(f"insert into tidings.diagnosis_grant (diagnosis_id, user_id) values ({topic}, '{s.guest}')")
        self.stretches.append((topic, withdrawn, granted))
