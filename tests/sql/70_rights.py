"""Who may call what, and what a hostile search_path changes: nothing."""
import subprocess

import harness
from database import Item, Request, batch_sql
from harness import equal, test

MAY = {
    "tidings_publisher": {"publish_batch", "act", "act_size", "act_once", "user_active", "disconnect", "reconnect_user", "ask_reports", "ask_slow", "connection_health", "connections",
                          "drain", "topics", "outbox_list", "outbox_retry", "outbox_drop", "revoke", "roster_page", "devices", "forget_device"},
    "tidings_reader": {"history", "applied"},
    "tidings_status": {"status", "live_nodes", "outbox_state", "commit_works", "metrics", "applied", "topics"},
    "tidings_sidecar": {"listen", "attach", "fetch", "unsent", "flush", "rosters", "heartbeat", "moved", "farewell", "relay", "analyse", "sweep", "retain", "act", "act_size", "user_active", "redeliver",
                        "report", "admit", "outbox_state", "tell_operations", "applied"},
}


@test("each role may call its functions and no other, and the public none")
def functions(db):
    db.sql("create role tidings_stranger")
    for role, allowed in {**MAY, "tidings_stranger": set()}.items():
        got = {r[0] for r in db.sql(f"select proname from pg_proc where pronamespace = 'tidings'::regnamespace and "
                                    f"has_function_privilege('{role}', oid, 'execute') and has_schema_privilege('{role}', 'tidings', 'usage')")}
        equal(got, allowed, role)
    db.sql("drop role tidings_stranger")


@test("no role may touch a table or sequence, nor make anything in the schema")
def tables(db):
    rights = "select,insert,update,delete,truncate,references,trigger".split(",")
    for role in MAY:
        equal(db.sql(f"select relname from pg_class, unnest(array{rights}) p where relnamespace = 'tidings'::regnamespace and relkind in "
                     f"('r', 'v', 'm', 'p') and has_table_privilege('{role}', oid, p)"), [], role)
        equal(db.sql(f"select relname from pg_class where relnamespace = 'tidings'::regnamespace and case when relkind = 'S' then "
                     f"has_sequence_privilege('{role}', oid, 'usage,select,update') end"), [], role)
        equal(db.one(f"select has_schema_privilege('{role}', 'tidings', 'create') or pg_has_role('{role}', 'tidings_owner', 'member')"), "f", role)
        assert "permission denied" in db.psql("select * from tidings.message", user=role).stderr


@test("the owner cannot log in, owns everything, and no role has a right that it does not need")
def owner(db):
    equal(db.sql("select rolname, rolcanlogin from pg_roles where rolname like 'tidings%' and (rolsuper or rolcreaterole or rolcreatedb or "
                 "rolreplication or rolbypassrls or rolcanlogin = (rolname = 'tidings_owner'))"), [], "roles")
    equal(db.sql("select relname from pg_class where relnamespace = 'tidings'::regnamespace and relname !~ '^(migration|code)' and "
                 "relowner <> 'tidings_owner'::regrole"), [], "tables of others")
    equal(db.sql("select proname from pg_proc where pronamespace = 'tidings'::regnamespace and proowner <> 'tidings_owner'::regrole"), [], "functions of others")


@test("a function that someone may call runs as its owner, with a search_path of its own that ends in pg_temp")
def pinned(db):
    called = {f for s in MAY.values() for f in s} | {"publish", "cluster_tag", "revoke", "end_withdrawn", "end_left_over", "withdrawal_committing",
                                                     "right_withdrawn", "account_withdrawn", "health_push", "forget", "recount", "feedback_lost",
                                                     "feedback_unfolded", "feedback_judges"}
    got = {r[0] for r in db.sql("select proname from pg_proc where pronamespace = 'tidings'::regnamespace and prosecdef and exists "
                                "(select from unnest(proconfig) c where c ~ '^search_path=.*, pg_temp$')")}
    equal(called - got, set(), "not pinned")


@test("tables, functions and operators of a hostile search_path are not used")
def hostile(db):
    topic = db.topic("789")
    db.sql("""
        create schema evil; grant all on schema evil to public;
        create function evil.yes(text, text) returns boolean language sql as 'select true';
        create operator evil.= (leftarg = text, rightarg = text, function = evil.yes);
        create function evil.cardinality(text[]) returns int language plpgsql as $$ begin raise exception 'evil'; end $$;
        create function evil.verdict(text, text, text, text, boolean) returns text language sql as $$ select 'ok'::text $$;
        create table evil.diagnosis (id bigint, owner text, public boolean); insert into evil.diagnosis values (%s, '456', true);
        create table evil.topic (id bigint, name text); grant all on all tables in schema evil to public""" % topic.split("/")[1])
    for role, call, refusal in (
            ("tidings_publisher", f"select outcome from tidings.publish_batch('{{456}}', '{{user}}', '{{null}}', '{{null}}', '{{1}}', '{{{topic}}}', '{{x}}', "
             "'{0}', '{null}', '{null}', '{null}', '{null}', '{null}', '{null}', '{null}', 100, 60, 9, false, 0, true, null)", "forbidden"),
            ("tidings_reader", f"select outcome from tidings.history('456', 'user', '{topic}', null, null, 9)", "forbidden"),
            ("tidings_sidecar", f"select outcome from tidings.attach('{{456}}', '{{user}}', '{{{topic}}}')", "forbidden")):
        session = db.session(role)
        session.sql("create temp table diagnosis (id bigint, owner text, public boolean)")
        session.sql(f"insert into diagnosis values ({topic.split('/')[1]}, '456', true)")
        session.sql("set search_path = pg_temp, evil, pg_catalog")
        equal(session.sql(call), [[refusal]], role)
    db.sql("drop schema evil cascade")


@test("nobody but the sidecars learns a channel's name: neither by asking, nor from the activity of others, nor from the server's log")
def channels(db):
    # What went wrong: PostgreSQL lets every role listen and notify, and the channels were called what everybody could guess.
    names = [r[0] for r in db.sql("select name from tidings.channel")]
    equal((len(names), len(set(names)), {len(n) for n in names}), (4, 4, {len("tidings_") + 32}), "channels")
    db.sql("create role tidings_stranger; create role tidings_monitor; grant pg_monitor to tidings_monitor")
    db.sql("alter system set log_statement = 'all'")
    db.sql("select pg_reload_conf()")
    try:
        sidecar, publisher = db.session("tidings_sidecar"), db.session()
        equal(sorted(r[1] for r in sidecar.sql("select * from tidings.listen()")), sorted(names), "what the sidecar is told")
        publisher.sql(batch_sql([Request([Item(db.topic()), Item(db.topic(), ephemeral=True)])]))
        for role in ("tidings_publisher", "tidings_reader", "tidings_status", "tidings_sidecar", "tidings_stranger", "tidings_monitor"):
            seen = db.sql(f"set session authorization {role}; select * from pg_stat_activity")
            assert len(seen) > 2 and not any(n in str(seen) for n in names), f"{role} sees a name"
            for ask in ("select name from tidings.channel", "select tidings.notify('control', 'reconnect 456')",
                        *([] if role == "tidings_sidecar" else ["select * from tidings.listen()"])):
                done = db.psql(f"set session authorization {role}; {ask}")
                assert "permission denied" in done.stderr, f"{role}: {ask}: {done}"
        log = (db.pg_folder / "log").read_text(errors="replace")
        assert "tidings.listen()" in log and not any(n in log.replace("select name from tidings.channel", "") for n in names), "the log has a name"
    finally:
        db.sql("alter system reset log_statement")
        db.sql("select pg_reload_conf()")
        db.sql("drop role tidings_stranger, tidings_monitor")


@test("tidings migrate again changes nothing, the channels' names least of all")
def migrate_twice(db):
    state = lambda: db.sql("select version::text, name, checksum, applied_at::text from tidings.migration union all select purpose, name, '', '' from tidings.channel order by 1, 2")
    before = state()
    assert before, "nothing is recorded"
    done = subprocess.run([db.program("tidings"), "migrate", "--dir", harness.TOP / "sql"], capture_output=True, text=True,
                          env=db.environment(TIDINGS_DATABASE=db.conninfo + " user=postgres"))
    equal(done.returncode, 0, done.stderr)
    equal(state(), before, "migrations")
