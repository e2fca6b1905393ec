"""Migrating: a database that an operator has made their own, code that changes, and what is refused."""
import itertools
import shutil
import subprocess

import harness
from harness import equal, test

COUNT = itertools.count(1)
RULES = ("authorize", "generate_recommendations", "predict_success", "topic_exists", "update_recommendations")


class Theirs:
    """A database of its own, and a copy of sql/ to change."""

    def __init__(self, db):
        self.db, self.name = db, f"theirs{next(COUNT)}"
        self.folder = db.folder / self.name
        shutil.copytree(harness.TOP / "sql", self.folder)
        db.sql(f"create database {self.name}")

    def run(self, *more):
        return subprocess.run([self.db.program("tidings"), "migrate", "--dir", self.folder, *more], capture_output=True, text=True,
                              env=self.db.environment(TIDINGS_DATABASE=f"{self.db.conninfo} user=postgres dbname={self.name}"))

    def migrate(self, *more):
        done = self.run(*more)
        equal(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout.splitlines()

    def refused(self):
        done = self.run()
        equal((done.returncode, done.stdout), (1, ""), done.stderr)
        return done.stderr

    def sql(self, sql):
        return [r[-1] for r in self.db.sql(sql, database=self.name)]

    def add(self, path, text):
        with open(self.folder / path, "a") as f:
            f.write(text)


@test("rules that an operator has replaced, and tables that are views of theirs, survive code that is loaded anew")
def own_rules(db):
    theirs = Theirs(db)
    theirs.migrate()
    own = "language plpgsql stable as $$ begin return topic = 'theirs'; end $$"
    theirs.sql(f"""create or replace function tidings.authorize(user_id text, role text, topic text, action text) returns boolean {own};
        create or replace function tidings.topic_exists(topic text) returns boolean {own};
        drop table tidings.diagnosis cascade; create table public.plant (id bigint, owner text);
        create view tidings.diagnosis as select id, owner, false as public from public.plant;
        grant select on tidings.diagnosis to tidings_owner""")
    theirs.add("code/00_text.sql", "-- another\n")
    equal(theirs.migrate(), ["loaded code"], "what was done")
    equal(theirs.sql("select tidings.authorize('u', 'user', t, 'subscribe'), tidings.topic_exists(t) from unnest(array['theirs', 'health/u']) t order by t"),
          ["f", "t"], "their rules")
    equal(theirs.sql("select count(*) from pg_trigger where not tgisinternal and tgrelid = 'tidings.diagnosis'::regclass"), ["0"], "triggers on their view")
    theirs.sql("insert into public.plant values (1, 'u'); insert into tidings.app_user values ('u')")
    theirs.sql("update tidings.app_user set active = false")
    equal(theirs.sql("select count(*) from tidings.message m join tidings.topic t on t.id = m.topic_id "
                     "where m.revocation and t.name = 'diagnosis/1'")[-1], "1", "revocations of what the view says is theirs")


@test("code that changes: what is new is there, what is gone is dropped, who was granted a function still may call it; --status tells beforehand")
def code_changes(db):
    theirs = Theirs(db)
    tables = sorted(f"tables/{p.name}" for p in (theirs.folder / "tables").glob("*.sql"))
    equal(theirs.migrate("--status"), ["missing:", *tables, "code", *(f"rules/{r}.sql" for r in RULES)], "before")
    theirs.add("code/00_text.sql", "\ncreate function tidings.former() returns int language sql as 'select 1';\n"
               "create or replace function tidings.takes(a int) returns int language sql as 'select a';\n")
    theirs.add("code/90_grants.sql", "\ngrant execute on function tidings.takes to tidings_reader;\n")
    theirs.migrate()
    equal(theirs.sql("select tidings.former()"), ["1"], "the function")
    theirs.sql("create role their_app; grant usage on schema tidings to their_app; grant execute on function tidings.publish to their_app")
    path = theirs.folder / "code/00_text.sql"
    path.write_text(path.read_text().replace("former", "latter").replace("takes(a int)", "takes(a int, b int default 1)"))
    equal(theirs.migrate("--status"), ["missing:", "code"], "what is missing")
    equal(theirs.sql("select to_regproc('tidings.former') is null"), ["f"], "changed by --status")
    equal(theirs.migrate(), ["loaded code"], "what was done")
    equal(theirs.sql("select to_regproc('tidings.former') is null, tidings.latter()"), ["1"], "the new function")
    equal(theirs.sql("select to_regproc('tidings.former') is null"), ["t"], "the former one")
    equal(theirs.sql("select oid::regprocedure, has_function_privilege('tidings_reader', oid, 'execute') from pg_proc where proname = 'takes'"), ["t"],
          "one that takes more now: its former arguments are gone, and the new ones are granted")
    equal(theirs.sql("select bool_and(has_function_privilege('their_app', oid, 'execute')) from pg_proc where proname = 'publish' "
                     "and pronamespace = 'tidings'::regnamespace"), ["t"], "their grant")
    equal(theirs.sql("select bool_or(has_function_privilege('public', oid, 'execute')) from pg_proc where pronamespace = 'tidings'::regnamespace"),
          ["f"], "what the public may call")
    equal(theirs.migrate(), ["up to date"], "once more")
    theirs.sql("drop owned by their_app; drop role their_app; drop function tidings.authorize")
    equal(theirs.migrate(), ["made rules/authorize.sql"], "a rule that was dropped")


RIGHTS = {
    "functions": "select p.oid::regprocedure::text, pg_get_userbyid(p.proowner), array(select a::text from unnest(p.proacl) a order by 1) from pg_proc p "
                 "where p.pronamespace = 'tidings'::regnamespace and p.proname not in ('authorize', 'generate_recommendations', 'predict_success', 'topic_exists', 'update_recommendations')",
    "tables": "select c.relname, pg_get_userbyid(c.relowner), array(select a::text from unnest(c.relacl) a where a::text like 'tidings%' order by 1) from pg_class c "
              "where c.relnamespace = 'tidings'::regnamespace and c.relname in ('migration', 'code')",
    "schema": "select pg_get_userbyid(n.nspowner), array(select a::text from unnest(n.nspacl) a order by 1) from pg_namespace n where n.nspname = 'tidings'",
    "of functions to come": "select array(select a::text from unnest(d.defaclacl) a order by 1) from pg_default_acl d where d.defaclrole = 'tidings_owner'::regrole",
}


@test("what a restore without rights has lost is given back by what tidings doctor says; the operator's rules are still theirs after it, and after code that changes")
def rights_come_back(db):
    theirs = Theirs(db)
    theirs.migrate()
    rights = lambda: {what: sorted(theirs.sql(f"select row(r.*)::text from ({query}) r")) for what, query in RIGHTS.items()}
    before = rights()
    env = db.psql_env("postgres", theirs.name)
    dump = subprocess.run(["pg_dump", "-Fc"], capture_output=True, check=True, env=env).stdout
    db.sql(f"drop database {theirs.name}", database="postgres")
    db.sql(f"create database {theirs.name}", database="postgres")
    subprocess.run(["pg_restore", "--no-privileges", "-d", theirs.name], input=dump, check=True, env=env)
    lost = [what for what, were in before.items() if rights()[what] != were]
    equal(lost, list(RIGHTS), "what has lost rights")
    theirs.sql("delete from tidings.code")
    equal(theirs.migrate(), ["loaded code"], "what was done")
    equal(rights(), before, "rights")
    theirs.add("code/00_text.sql", "-- another\n")
    equal(theirs.migrate(), ["loaded code"], "what was done")
    equal(theirs.sql("select proname from pg_proc where pronamespace = 'tidings'::regnamespace and proname in ('authorize', 'topic_exists') order by 1"),
          ["authorize", "topic_exists"], "rules")


@test("code with a fault in it is refused, and leaves the former code and every table as they were")
def faulty_code(db):
    theirs = Theirs(db)
    theirs.migrate()
    state = lambda: theirs.sql("select checksum from tidings.code") + theirs.sql("select string_agg(xmin::text, ',' order by oid) from pg_proc "
                                                                                "where pronamespace = 'tidings'::regnamespace")
    before = state()
    theirs.add("code/90_grants.sql", "grant nonsense;\n")
    assert "90_grants.sql failed: 42601" in theirs.refused()
    equal(state(), before, "the code")


@test("what does not fit together is refused in a sentence: numbers, files that changed or are unknown, transactions that are ended")
def refused(db):
    theirs = Theirs(db)
    table = lambda name, text="select 1;\n": (theirs.folder / "tables" / name).write_text(text)
    theirs.migrate()
    newest = len(list((theirs.folder / "tables").iterdir()))
    late, ends = f"{newest + 2:03}_late.sql", f"{newest + 1:03}_ends.sql"
    table(late)
    assert f"{late} is where {newest + 1:03} should be" in theirs.refused()
    (theirs.folder / "tables" / late).rename(theirs.folder / "tables/2_late.sql")
    assert "2_late.sql is not named like 001_name.sql" in theirs.refused()
    (theirs.folder / "tables/2_late.sql").unlink()
    table(ends, "commit;\n")
    assert f"{ends} ended its transaction" in theirs.refused()
    equal(theirs.sql("select count(*) from tidings.migration"), [str(newest)], "recorded")
    table(ends)
    theirs.migrate()
    table(ends, "select 2;\n")
    assert f"{ends} has changed since it was applied" in theirs.refused()
    (theirs.folder / "tables" / ends).unlink()
    assert f"{ends}, which is newer than this program" in theirs.refused()
    theirs.sql("delete from tidings.migration where version = 1")
    assert "the database lacks migration 001, though it has a later one" in theirs.refused()
    shutil.rmtree(theirs.folder / "rules")
    assert f"the folder {theirs.folder}/rules cannot be read" in theirs.refused()


@test("a database from before the first release is told what to do, and stays as it is")
def before_release(db):
    theirs = Theirs(db)
    theirs.migrate()
    theirs.sql("update tidings.migration set name = '001_schema.sql', checksum = repeat('0', 64); drop table tidings.code")
    assert "DROP SCHEMA tidings CASCADE, and migrate again" in theirs.refused()
    theirs.sql("drop schema tidings cascade")
    theirs.migrate()


@test("a database that is not UTF-8 is refused, and nothing is written to it")
def not_utf8(db):
    for name in ("LATIN1", "SQL_ASCII"):
        theirs = Theirs(db)
        db.sql(f"drop database {theirs.name}")
        db.sql(f"create database {theirs.name} encoding '{name}' locale 'C' template template0")
        assert f"the database's encoding is {name}, and UTF8 is needed: createdb -E UTF8 -T template0 NAME" in theirs.refused()
        equal(theirs.sql("select to_regnamespace('tidings') is null"), ["t"], "nothing of tidings")
