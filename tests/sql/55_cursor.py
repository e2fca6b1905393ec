"""cursor(): where a topic is, in the snapshot of whoever reads a state of their own."""
import json
import threading

from database import quote
from harness import equal, test


def cursor(db, topic):
    return db.one(f"select tidings.cursor('{topic}')")


def split(text):
    epoch, seq = text.rsplit("-", 1)
    return epoch, int(seq)


def resume(db, topic, at):
    """[same_epoch, seqs of what was missed] of an admin who comes with this cursor"""
    epoch, seq = split(at)
    rows = db.sidecar(f"select item, same_epoch, seq from tidings.attach(array['root'], array['admin'], array['{topic}'], p_afters => array[{seq}]::int8[], "
                      f"p_epochs => array['{epoch}'], p_queue_max => 100, p_rows => 500, p_bytes => 1000000)")
    return rows[0][1] == "t", [int(r[2]) for r in rows if r[2]]


def reader(db):
    """A session of an application's role."""
    db.sql("drop owned by app_reader; drop role app_reader" if db.sql("select 1 from pg_roles where rolname = 'app_reader'") else "select 1")
    db.sql("create role app_reader; grant usage on schema tidings to app_reader; grant execute on function tidings.cursor to app_reader")
    mine = db.session("postgres")
    mine.sql("set session authorization app_reader")
    return mine


@test("cursor() is where attach() and history() say that the topic is, and is refused for what is no topic's name")
def same_place(db):
    topic = db.topic()
    db.publish(topic, count=3)
    epoch = db.attach(("456", "user", topic))[0][2]
    equal(cursor(db, topic), f"{epoch}-3", "cursor")
    db.publish(topic, count=200, queue_max=10, min_age_s=0)
    db.age(topic, 1000)
    db.sweep(ttl_s=10)
    equal((db.kept(topic), cursor(db, topic)), ([], f"{epoch}-203"), "when nothing is kept any more")
    for name in ("null", "''", "'a b'", "'Diagnosis/1'", "repeat('a', 129)"):
        assert "not the name of a topic" in db.psql(f"select tidings.cursor({name})").stderr, name


@test("a role that was granted cursor() and nothing else asks in a transaction that is read only, and waits for nobody")
def takes_no_lock(db):
    topic, holder, mine = db.topic(), db.session("postgres"), reader(db)
    db.publish(topic)
    holder.sql(f"begin; select 1 from tidings.topic for update; select tidings.publish('{topic}', 't', '1')")
    mine.sql("set statement_timeout = '30s'; begin transaction isolation level repeatable read, read only")
    before = mine.sql(f"select tidings.cursor('{topic}'), tidings.cursor('locks/none')")
    equal(mine.sql("select count(*) from pg_locks where pid = pg_backend_pid() and mode not in ('AccessShareLock', 'ExclusiveLock')"), [["0"]], "locks")
    holder.sql("rollback")
    db.publish(topic)
    equal(mine.sql(f"select tidings.cursor('{topic}'), tidings.cursor('locks/none')"), before, "the same transaction, later")
    mine.sql("commit")
    equal(split(mine.sql(f"select tidings.cursor('{topic}')")[0][0]), (split(before[0][0])[0], 2), "the next one")
    assert "permission denied" in mine.receive_after("select tidings.new_epoch()")[0][0]


@test("in one statement cursor() has the statement's snapshot, however long that runs")
def one_statement(db):
    topic, slow = db.topic(), db.session("postgres")
    db.sql("drop table if exists public.gate; create table public.gate ()")
    holder = db.session("postgres")
    holder.sql("begin; lock table public.gate in access exclusive mode")
    # The lock is waited for before the cursor is asked for, and after the snapshot is taken.
    db.sql("create or replace function public.pass() returns int language plpgsql as $$ begin lock table public.gate in access share mode; return 1; end $$")
    slow.send(f"select tidings.cursor('{topic}') from (select public.pass() offset 0) p where p.pass = 1")
    while db.one("select count(*) from pg_locks where not granted and relation = 'public.gate'::regclass") == "0":
        pass
    db.publish(topic)
    holder.sql("commit")
    equal(split(slow.receive()[0][0])[1], 0, "seq")
    db.sql("drop function public.pass; drop table public.gate")


@test("the cursor of a topic that nobody has used is one before its first message, whoever makes it")
def before_the_first(db):
    for topic, more in (("ahead/published", {}), ("ahead/expired", {"queue_max": 1, "min_age_s": 0})):
        at = cursor(db, topic)
        equal(db.one(f"select count(*) from tidings.topic where name = '{topic}'"), "0", "topics")
        db.publish(topic, count=3, **more)
        equal(resume(db, topic, at), (True, [1, 2, 3]), topic)
        epoch, seq = split(at)
        equal([r[2:5] + [r[6]] for r in db.history(topic, "root", "admin", epoch, seq)], [["t", "", "", str(n)] for n in (1, 2, 3)], "history")
    at = cursor(db, "ahead/read")
    equal(resume(db, "ahead/read", at), (True, []), "made by a reader")
    db.publish("ahead/read")
    equal(resume(db, "ahead/read", at), (True, [1]), "made by a reader, and then published to")
    db.publish("ahead/trimmed", count=200, queue_max=10, min_age_s=0)
    db.age("ahead/trimmed", 1000)
    at = "-".join(map(str, (split(cursor(db, "ahead/none"))[0], 0)))
    db.sweep(queue_max=10)
    first, last = db.counter("ahead/trimmed")
    assert first > 1, first
    equal(db.history("ahead/trimmed", "root", "admin", split(at)[0], 0)[0][2:5], ["f", "1", str(first - 1)], "what is gone already is told")


@test("a cursor from before a topic was made, deleted and made anew does not hold for what was made last")
def made_anew(db):
    topic = "anew/1"
    at = cursor(db, topic)
    db.publish(topic)
    db.sql(f"delete from tidings.message where topic_id = {db.topic_id(topic)}; delete from tidings.topic where name = '{topic}'")
    assert cursor(db, topic) != at
    db.publish(topic, count=2)
    equal(resume(db, topic, at)[0], False, "by attach")
    equal(db.history(topic, "root", "admin", *split(at))[0][2], "f", "by history")
    at, other = cursor(db, "anew/2"), cursor(db, "anew/3")
    equal(at, other, "topics that are not there")
    db.publish("anew/3")
    db.age("anew/3", 1000)
    db.sweep(ttl_s=10)
    db.sql("update tidings.topic set empty_at = now() - interval '1 h'")
    db.sweep(keep_s=60)
    equal(db.one("select count(*) from tidings.topic where name = 'anew/3'"), "0", "topics")
    db.publish("anew/3")
    equal(resume(db, "anew/3", other)[0], False, "after a sweep has forgotten it")
    at = cursor(db, "anew/4")
    db.sql("select tidings.renew_epochs()")
    equal(resume(db, "anew/4", at)[0], False, "after all numbering is another")


@test("writers at full rate: no message before the cursor tells what the state that was read with it lacks, and those after it end in the table's state")
def state_and_place(db):
    db.sql("drop table if exists public.thing; create table public.thing (id int primary key, value int not null)")
    db.sql("insert into public.thing select n, 0 from generate_series(1, 20) n")
    topic, writers, turns = "state/things", 3, 60
    done, wrong, read = threading.Event(), [], []

    def write(n):
        mine = db.session("postgres")
        for turn in range(turns):
            # The row's lock makes values and messages of a thing one after the other. Every other transaction stays open a little.
            mine.sql(f"begin; with t as (update public.thing set value = value + 1 where id = {1 + (turn * 7 + n) % 20} returning *) "
                     f"select tidings.publish('{topic}', 't', to_json(t)) from t")
            mine.sql("select 1; " * (turn % 2 * 5) + ("rollback" if turn % 9 == 8 else "commit"))

    def relay():
        mine = db.session("tidings_sidecar")
        last = False
        while not last:
            last = done.is_set()
            while mine.sql("select tidings.relay(100000, 60)")[0][0] == "0":
                pass

    def load():
        mine = db.session("postgres")
        while not done.is_set():
            rows = mine.sql("begin transaction isolation level repeatable read, read only; "
                            f"select json_object_agg(id, value), tidings.cursor('{topic}') from public.thing; commit")
            read.append((json.loads(rows[0][0]), rows[0][1]))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    others = [threading.Thread(target=f) for f in (relay, load, load)]
    for t in [*threads, *others]:
        t.start()
    for t in threads:
        t.join()
    done.set()
    for t in others:
        t.join()
    messages = [b["data"] for b in db.bodies(topic)]
    epoch = db.epochs(quote([db.topic_id(topic)], "int8")).popitem()[1]
    table = {r[0]: int(r[1]) for r in db.sql("select id, value from public.thing")}
    assert len({c for _, c in read}) > 1, "places that were read"
    for state, at in read:
        has, seq = split(at)
        assert has == epoch or (has.startswith("new") and seq == 0), at
        wrong += [f"{at}: {m}" for m in messages[:seq] if m["value"] > state[str(m["id"])]]
        for m in messages[seq:]:
            state[str(m["id"])] = m["value"]
        wrong += [f"after {at}"] if state != table else []
    equal(wrong, [], "wrong")
    db.sql("drop table public.thing")
