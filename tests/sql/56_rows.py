"""row_changed(): a trigger on anybody's table tells a topic of what changes."""
import json
import pathlib

from harness import equal, test

UPDATE = "after insert or update or delete on {} for each row execute function tidings.row_changed({})"


def table(db, columns, arguments="'rows/{{id}}', 'changed'", name="public.watched", more=""):
    """A table with the trigger; `arguments` with every brace twice."""
    db.sql(f"drop table if exists {name} cascade; create table {name} ({columns}) {more}; create trigger tell "
           + UPDATE.format(name, arguments.replace("{{", "{").replace("}}", "}")))


def told(db):
    """[topic, data] of all that waits; it does not wait any more."""
    rows = db.sql("with gone as (delete from tidings.outbox returning id, topic, body) select topic, body from gone order by id")
    return [(topic, json.loads(body)["data"]) for topic, body in rows]


@test("row_changed() tells a topic of each row's insert, update and delete, if and only if the transaction commits")
def tells(db):
    told(db)
    table(db, "id int primary key, herb text, dosage numeric")
    db.sql("insert into public.watched values (1, 'a', 1.5)")
    db.sql("begin; update public.watched set herb = 'lost'; rollback")
    db.sql("update public.watched set dosage = 2; update public.watched set herb = herb; delete from public.watched")
    was, now = {"id": 1, "herb": "a", "dosage": 1.5}, {"id": 1, "herb": "a", "dosage": 2}
    equal(told(db), [("rows/1", {"op": "insert", "new": was}), ("rows/1", {"op": "update", "old": was, "new": now, "changed_fields": ["dosage"]}),
                     ("rows/1", {"op": "delete", "old": now})], "messages")
    db.sql("insert into public.watched values (2, 'b', 1)")
    db.relay()
    (message,) = db.bodies("rows/2")
    equal({k: message[k] for k in ("type", "topic")}, {"type": "changed", "topic": "rows/2"}, "message, relayed")


@test("an update that changes none of the listed columns sends nothing; a listed column that was renamed is a warning, and any change is told")
def listed(db):
    table(db, 'id int primary key, herb text, "Dose, mg" int, note text', """'rows/{{id}}', 'changed', 'herb, "Dose, mg"'""")
    db.sql("insert into public.watched values (1, 'a', 1, 'x')")
    told(db)
    db.sql("update public.watched set note = 'y'")
    db.sql("update public.watched set note = 'z', \"Dose, mg\" = 2")
    equal([d["changed_fields"] for _, d in told(db)], [["Dose, mg", "note"]], "changed fields, in the columns' order")
    db.sql("alter table public.watched rename herb to plant")
    warning = db.psql("update public.watched set note = 'w'").stderr
    assert 'WARNING:  tidings: the trigger public.watched.tell cannot tell of a row: not all of its columns (herb, "Dose, mg") are there: any change is told' in warning, warning
    equal([d["new"]["plant"] for _, d in told(db)], ["a"], "told")


@test("the row's columns name the topic: several, quoted, of a composite key; where one is null there is no topic")
def names(db):
    table(db, '"Tenant" text, "a b" uuid, n bigint, primary key ("Tenant", n)', "'t/{{Tenant}}/{{n}}:{{a b}}', 'changed'")
    db.sql("insert into public.watched values ('x', '00000000-0000-0000-0000-000000000001', 9007199254740993), ('y', null, 1)")
    equal([(t, d["new"]["n"]) for t, d in told(db)], [("t/x/9007199254740993:00000000-0000-0000-0000-000000000001", "9007199254740993")], "topics")
    table(db, "id int primary key, diagnosis_id bigint", "'rows/{{diagnosis_id}}', 'changed', 'id'")
    db.sql("insert into public.watched values (1, 1)")
    told(db)
    db.sql("update public.watched set diagnosis_id = 2; update public.watched set diagnosis_id = null; update public.watched set diagnosis_id = 3")
    of = lambda n: {"id": 1, "diagnosis_id": n}
    equal(told(db), [("rows/1", {"op": "delete", "old": of(1)}), ("rows/2", {"op": "insert", "new": of(2)}), ("rows/2", {"op": "delete", "old": of(2)}),
                     ("rows/3", {"op": "insert", "new": of(3)})], "a row that becomes another topic's")


@test("a row of any types is JSON that JavaScript holds, whatever the session's settings say")
def types(db):
    db.sql("drop type if exists public.mood cascade; drop type if exists public.point3 cascade; create type public.mood as enum ('sad', 'fine'); "
           "create type public.point3 as (x int8, y float8)")
    table(db, "id int primary key, big int8, many int8[], small int8, exact numeric, nan float8, endless timestamptz, at timestamptz, day date, raw bytea, "
              "twice int generated always as (id * 2) stored, mood public.mood, place public.point3, doc json, docb jsonb, took interval, none text, odd text")
    db.sql("set timezone = 'Asia/Kolkata'; set bytea_output = 'escape'; set datestyle = 'German'; set extra_float_digits = -10; set intervalstyle = 'iso_8601'; "
           "insert into public.watched values (1, -9223372036854775808, '{1,9007199254740993}', 999999999999999, 1e20, 'NaN', 'infinity', "
           "'2026-01-02 03:04:05.678+00', '-infinity', '\\x00ff', default, 'fine', (9007199254740993, 0.1), E'{\"a\":\\n\"\\\\u0001 b\"}', '{\"b\": [1, 12345678901234567890]}', '1 day 02:00', "
           "null, E'\"\\\\\\n')")
    equal(told(db), [("rows/1", {"op": "insert", "new": {
        "id": 1, "big": "-9223372036854775808", "many": [1, "9007199254740993"], "small": 999999999999999, "exact": "100000000000000000000", "nan": "NaN",
        "endless": "infinity", "at": "2026-01-02T08:34:05.678+05:30", "day": "-infinity", "raw": "\\x00ff", "twice": 2, "mood": "fine",
        "place": {"x": "9007199254740993", "y": 0.1}, "doc": {"a": "\1 b"}, "docb": {"b": [1, "12345678901234567890"]}, "took": "P1DT2H", "none": None,
        "odd": '"\\\n'}})], "message")
    db.sql("update public.watched set doc = '{\"a\":\"\\u0001\"}', nan = 'infinity', raw = '', twice = default")
    equal([d["changed_fields"] for _, d in told(db)], [["nan", "raw", "doc"]], "changed fields")
    db.sql("drop table public.watched; drop type public.mood, public.point3")


@test("partitions have the trigger of their table; a row that changes partition is deleted in one, and inserted in the other")
def partitions(db):
    table(db, "id int, part int, note text, primary key (part, id)", more="partition by list (part)")
    db.sql("create table public.watched_1 partition of public.watched for values in (1); create table public.watched_2 (note text, part int not null, id int not null, "
           "primary key (part, id)); alter table public.watched attach partition public.watched_2 for values in (2)")
    db.sql("insert into public.watched values (1, 1, 'a'); update public.watched set note = 'b'; update public.watched set part = 2")
    equal([(t, d["op"], d.get("new", d.get("old"))) for t, d in told(db)],
          [("rows/1", "insert", {"id": 1, "part": 1, "note": "a"}), ("rows/1", "update", {"id": 1, "part": 1, "note": "b"}),
           ("rows/1", "delete", {"id": 1, "part": 1, "note": "b"}), ("rows/1", "insert", {"id": 1, "part": 2, "note": "b"})], "messages")
    db.sql("drop table public.watched")


@test("a row over the limit of a message is told by its primary key, and that it is")
def truncated(db):
    table(db, "a text, b int8, note text, primary key (b, a)", "'rows/{{a}}', 'changed'")
    db.sql("insert into public.watched values ('k', 9007199254740993, repeat('x', 300000)); update public.watched set note = note || 'y'; delete from public.watched")
    key = {"b": "9007199254740993", "a": "k"}
    equal(told(db), [("rows/k", {"op": "insert", "new": key, "truncated": True}),
                     ("rows/k", {"op": "update", "old": key, "new": key, "changed_fields": ["note"], "truncated": True}),
                     ("rows/k", {"op": "delete", "old": key, "truncated": True})], "messages")
    table(db, "note text", "'rows/none', 'changed'")
    db.sql("insert into public.watched values (repeat('x', 300000))")
    equal(told(db), [("rows/none", {"op": "insert", "new": {}, "truncated": True})], "without a primary key")


@test("what cannot be told is a warning, once in a transaction, and the owner's transaction commits")
def never_an_error(db):
    wrong = {
        "'rows/{{nobody}}', 'changed'": 'there is no column "nobody"',
        "'rows/{{id', 'changed'": "a brace has no other: rows/{id",
        "'rows/{{note}}', 'changed'": "not the name of a topic: rows/a b",
        "'Diagnosis/{{id}}', 'changed'": "not the name of a topic: Diagnosis/1",
        "'diagnosis/{{id}}00000001', 'changed'": "there is no diagnosis 100000001",
        "'rows/{{doc}}', 'changed'": 'the column "doc" is no part of a name',
        "'rows/{{id}}', 'connect'": "no type of a message: connect",
        "'rows/{{id}}', ''": "no type of a message: ",
        "'rows/{{id}}'": "its arguments are a topic, a type and, if it likes, columns",
        "": "its arguments are a topic, a type and, if it likes, columns",
    }
    for arguments, why in wrong.items():
        table(db, "id int primary key, note text, doc json", arguments)
        errors = db.psql("begin; insert into public.watched select n, 'a b', '{}' from generate_series(1, 3) n; update public.watched set id = id + 10; "
                         "delete from public.watched where id > 11; commit").stderr
        equal([line for line in errors.splitlines() if line.startswith(("WARNING", "ERROR"))],
              [f"WARNING:  tidings: the trigger public.watched.tell cannot tell of a row: {why}"], arguments)
        equal((db.one("select count(*) from public.watched"), told(db)), ("1", []), arguments)
    for when in ("before insert or update or delete on {} for each row", "after insert or update or delete on {} for each statement"):
        db.sql("drop table public.watched; create table public.watched (id int); create trigger tell " + when.format("public.watched")
               + " execute function tidings.row_changed('rows/{id}', 'changed')")
        errors = db.psql("insert into public.watched values (1), (2); update public.watched set id = id + 10; delete from public.watched where id > 11").stderr
        assert "it has to be an AFTER trigger FOR EACH ROW" in errors and "ERROR" not in errors, errors
        equal((db.sql("select id from public.watched"), told(db)), ([["11"]], []), when)


@test("an operator's own rule that fails is a warning too, and what it says no to is not sent")
def rule_fails(db):
    table(db, "id int primary key")
    before = "\n".join("\t".join(r) for r in db.sql("select pg_get_functiondef('tidings.topic_exists'::regproc)"))
    try:
        db.sql("create or replace function tidings.topic_exists(topic text) returns boolean language plpgsql stable as $$ begin return 1 / 0 = 1; end $$")
        errors = db.psql("insert into public.watched values (1)").stderr
        assert "WARNING" in errors and "division by zero" in errors and "ERROR" not in errors, errors
    finally:
        db.sql(before)
    equal((db.one("select count(*) from public.watched"), told(db)), ("1", []), "rows, messages")


@test("whoever may write the table tells of it; a function of theirs never runs with the rights of tidings")
def rights(db):
    db.sql("drop owned by app_writer cascade; drop role app_writer" if db.sql("select 1 from pg_roles where rolname = 'app_writer'") else "select 1")
    table(db, "id int primary key")
    db.sql("create role app_writer; grant insert on public.watched to app_writer; grant create on schema public to app_writer")
    mine = db.session("postgres")
    mine.sql("set session authorization app_writer")
    mine.sql("insert into public.watched values (1)")
    equal([t for t, _ in told(db)], ["rows/1"], "topics")
    # What a role that has been granted the trigger could make of it.
    db.sql("grant usage on schema tidings to app_writer; grant execute on function tidings.row_changed, tidings.publish to app_writer")
    mine.sql("create type public.evil as enum ('x'); create function public.act(e public.evil) returns json language plpgsql as "
             "$$ begin raise warning 'I am %', current_user; return '1'; end $$; create cast (public.evil as json) with function public.act(public.evil); "
             "create function public.say(e public.evil) returns text language plpgsql as $$ begin raise warning 'I am %', current_user; return '1'; end $$; "
             "create cast (public.evil as text) with function public.say(public.evil); create table public.mine (id int, e public.evil); create trigger tell "
             + UPDATE.format("public.mine", "'rows/{id}', 'changed'"))
    errors = str(mine.receive_after("insert into public.mine values (1, 'x')"))
    assert "cast to JSON" in errors and "I am" not in errors, errors
    errors = str(mine.receive_after("select tidings.publish('a', 't', 'x'::public.evil)"))
    assert "data is json, jsonb or text" in errors and "I am" not in errors, errors
    equal(told(db), [], "messages")
    mine.sql("drop cast (public.evil as json)")
    mine.sql("insert into public.mine values (2, 'x')")
    equal([d["new"]["e"] for _, d in told(db)], ["x"], "without that cast")
    db.end_sessions()
    db.sql("drop owned by app_writer cascade; drop role app_writer")


@test("an update of a thousand rows writes a row of the outbox for each, in one transaction's number, and rings once")
def thousand(db):
    table(db, "id int primary key, herb text, dosage int, note text", "'rows/{{id}}', 'changed', 'herb,dosage'")
    db.sql("alter table public.watched disable trigger tell; insert into public.watched select n, 'herb', n, repeat('x', 200) from generate_series(1, 10000) n")
    db.sql("vacuum analyze public.watched")
    mine, listener = db.session("postgres"), db.session("tidings_sidecar")
    listener.listen("outbox")
    pid = mine.sql("select pg_backend_pid()")[0][0]
    cpu_ns = lambda: int(pathlib.Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    took = {}
    for state in ("disable", "enable"):
        mine.sql(f"alter table public.watched {state} trigger tell; begin; select txid_current()")
        began = cpu_ns()
        mine.sql("update public.watched set dosage = dosage + 1 where id <= 1000")
        took[state] = (cpu_ns() - began) / 1e6
        mine.sql("commit")
    equal(len(listener.notifications("outbox")), 1, "notifications")
    equal(db.one("select count(distinct xmin::text) || ' ' || count(*) from tidings.outbox"), "1 1000", "transactions, messages")
    print(f"# a row that is told costs {took['enable'] - took['disable']:.0f} µs of CPU, the update itself {took['disable']:.0f} µs")
    told(db)
    mine.sql("update public.watched set note = 'y'")
    equal(told(db), [], "messages of ten thousand rows in which nothing changed that is listed")
    db.sql("drop table public.watched")
