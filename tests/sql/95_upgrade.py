"""Migrating a database that an operator has made their own."""
import pathlib
import shutil
import subprocess

import harness
from harness import equal, test


def migrate(db, database, folder):
    done = subprocess.run([db.program("tidings"), "migrate", "--dir", folder], capture_output=True, text=True,
                          env=db.environment(TIDINGS_DATABASE=f"{db.conninfo} user=postgres dbname={database}"))
    equal(done.returncode, 0, done.stdout + done.stderr)


@test("rules that an operator has replaced, and tables that are views of theirs, survive the migrations")
def own_rules(db):
    first = db.folder / "first"
    first.mkdir()
    for path in pathlib.Path(harness.TOP / "sql").glob("00[1-5]_*.sql"):
        shutil.copy(path, first)
    db.sql("create database theirs")
    migrate(db, "theirs", first)
    own = "language plpgsql stable as $$ begin return topic = 'theirs'; end $$"
    theirs = lambda sql: [r[-1] for r in db.sql(sql, database="theirs")]
    theirs(f"""create or replace function tidings.authorize(user_id text, role text, topic text, action text) returns boolean {own};
        create or replace function tidings.topic_exists(topic text) returns boolean {own};
        drop table tidings.diagnosis cascade; create table public.plant (id bigint, owner text);
        create view tidings.diagnosis as select id, owner, false as public from public.plant;
        grant select on tidings.diagnosis to tidings_owner""")
    migrate(db, "theirs", harness.TOP / "sql")
    equal(theirs("select tidings.authorize('u', 'user', t, 'subscribe'), tidings.topic_exists(t) from unnest(array['theirs', 'health/u']) t order by t"),
          ["f", "t"], "their rules")
    equal(theirs("select count(*) from pg_trigger where not tgisinternal and tgrelid = 'tidings.diagnosis'::regclass"), ["0"], "triggers on their view")
    theirs("insert into public.plant values (1, 'u'); insert into tidings.app_user values ('u')")
    equal(theirs("update tidings.app_user set active = false; select count(*) from tidings.message m join tidings.topic t on t.id = m.topic_id "
                 "where m.revocation and t.name = 'diagnosis/1'")[-1], "1", "revocations of what the view says is theirs")
