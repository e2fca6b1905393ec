"""doc/cloud.md: a database whose administrator is no superuser. Its commands are run on a PostgreSQL that has none of our roles."""
import os
import re
import subprocess

import harness
from database import Database
from harness import PG_BIN, TOP, equal, test

ADMIN = "administrator"


def blocks():
    section = re.search(r"^## A database whose administrator is no superuser\n(.*)", (TOP / "doc" / "cloud.md").read_text(), re.M | re.S)[1]
    return re.findall(r"^```\n(.*?)^```$", section, re.M | re.S)


def run(own, commands):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TIDINGS_", "PG"))}
    env.update(PATH=f"{PG_BIN}:{os.environ['PATH']}", PGHOST=str(own.pg_folder), PGUSER=ADMIN)
    tidings = f'tidings() {{ if [ "$1" = migrate ]; then set -- "$@" --dir "{TOP}/sql"; fi; "{own.program("tidings")}" "$@"; }}\n'
    done = subprocess.run(["bash", "-e", "-c", tidings + commands], capture_output=True, text=True, cwd=own.folder, env=env)
    equal((done.returncode, done.stderr), (0, ""), f"{commands}\n{done.stdout}")


@test("an administrator who is no superuser makes the database and the roles by the commands of doc/cloud.md, dumps and restores it; who owns it and who may call it is as anywhere")
def no_superuser(_db):
    own = Database()
    try:
        own.sql("drop database tidings", database="postgres")
        for role in (*harness.ROLES[1:], "tidings_owner"):
            own.sql(f"drop role {role}", database="postgres")
        rights = own.pg_data / "pg_hba.conf"
        rights.write_text(f"local all {ADMIN} trust\n" + rights.read_text())
        own.sql("select pg_reload_conf()", database="postgres")
        own.sql(f"create role {ADMIN} login createrole createdb", database="postgres")
        make, restore = blocks()
        run(own, make)
        equal([r.outcome for r in own.publish("a/b", count=3)], ["ok"] * 3, "what was published")
        run(own, restore)
        rows = "select seq, body from tidings.message order by seq"
        equal(own.sql(rows, database="tidings_restored"), own.sql(rows), "messages")
        sorted_acl = lambda acl: f"array(select a::text from unnest({acl}) as a order by 1)"
        rights_of = (f"select p.oid::regprocedure::text, pg_get_userbyid(p.proowner), {sorted_acl('p.proacl')} from pg_proc p where p.pronamespace = 'tidings'::regnamespace "
                     f"union all select c.oid::regclass::text, pg_get_userbyid(c.relowner), {sorted_acl('c.relacl')} from pg_class c where c.relnamespace = 'tidings'::regnamespace "
                     "order by 1, 3")
        equal(own.sql(rights_of, database="tidings_restored"), own.sql(rights_of), "owners and rights")
        tags = [own.sql("select tidings.cluster_tag()", database=name) for name in ("tidings", "tidings_restored")]
        assert tags[0] != tags[1], "the numberings are the same"
    finally:
        own.stop()
