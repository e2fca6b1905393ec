"""What the database is asked anew: whether somebody may still, and what a fetch did not bring."""
import contextlib

from harness import LISTENS, Closed, Lock, Transaction, edited, equal, stopped, test, wait_until


def typing(s, d, owner):
    s.typing(f"diagnosis/{d}")
    equal(owner.next()["type"], "typing", "at the owner: so the node has heard of all before it")


def withdraw(s, d):
    """The right of all who were granted that diagnosis ends."""
    s.sql(f"delete from tidings.diagnosis_grant where diagnosis_id = {d}")
    wait_until(lambda: s.sql(f"select 1 from tidings.message m join tidings.topic t on t.id = m.topic_id where t.name = 'diagnosis/{d}' and m.revocation"),
               "the end of the right to have its number")


def closed(client):
    try:
        return client.next()
    except Closed as c:
        return c.code


@test("who is asked about while a right ends, of which the node has heard, is asked about anew")
def _(s):
    d = s.diagnosis(granted=["asked"])
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, s.connect(d, server=node) as owner:
        # The end is heard, and not read.
        with stopped(s.backend("fetches")):
            with Lock(s, "tidings.delivered"):
                client = s.connect(d, user="asked", server=node, hello=False)
                s.wait_blocked("attach")
                withdraw(s, d)
                typing(s, d, owner)
            equal(closed(client), 1008, "what comes first")


@test("who was asked about before the end of a right, and is let in when the node has read it already, is asked about anew")
def _(s):
    d = s.diagnosis(granted=["asked"])
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, s.connect(d, server=node) as owner:
        with Lock(s, "tidings.delivered"):
            client = s.connect(d, user="asked", server=node, hello=False)
            s.wait_blocked("attach")
            withdraw(s, d)
            s.recommend(d, "behind it")
            equal(owner.next()["seq"], 2, "at the owner: so the node has read the end")
        equal(closed(client), 1008, "what comes first")


@test("who was asked about before the end of a right, and is let in to a topic that nobody holds, is put out though a fetch from behind the end is under way")
def _(s):
    # What it brought was taken for the next messages, and the end was never read.
    d = s.diagnosis(granted=["asked"])
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, contextlib.ExitStack() as stack:
        owner = s.connect(d, server=node)
        lock = stack.enter_context(contextlib.ExitStack())
        lock.enter_context(Lock(s, "tidings.delivered"))
        client = stack.enter_context(s.connect(d, user="asked", server=node, hello=False))
        s.wait_blocked("attach")
        withdraw(s, d)
        s.recommend(d, "behind it")
        equal(owner.next()["seq"], 2, "at the owner")
        with stopped(s.backend("fetches")):
            s.recommend(d, "fetched for the owner alone")
            typing(s, d, owner)
            owner.close()
            node.has_read()
            lock.close()
            equal(client.next()["type"], "connect", "first message")
        equal(closed(client), 1008, "what comes next")


@test("who is let in behind the end of a right keeps the topic, though the end is read only then")
def _(s):
    d = s.diagnosis(granted=["asked"])
    with s.node(TIDINGS_DATABASE_TIMEOUT=60000) as node, s.connect(d, server=node) as owner, contextlib.ExitStack() as stack:
        with stopped(s.backend("fetches")):
            with Lock(s, "tidings.delivered"):
                stack.enter_context(s.connect(s.diagnosis(), server=node, hello=False))
                s.wait_blocked("attach")
                client = stack.enter_context(s.connect(d, user="asked", server=node, hello=False))
                node.has_read()
                withdraw(s, d)
                s.sql(f"insert into tidings.diagnosis_grant values ({d}, 'asked')")
                typing(s, d, owner)
            equal(client.next()["type"], "connect", "first message")
        s.recommend(d, "behind it")
        equal(client.next()["data"]["reason"], "behind it", "what comes next")
        equal(owner.next()["data"]["reason"], "behind it", "the owner's")


@test("the end of a right that the database does not know keeps nobody out")
def _(s):
    d = s.diagnosis()
    with s.node() as node, s.connect(d, server=node) as owner:
        s.sql(f"select tidings.notify('control', 'revoke ' || id || ' 999999999 nobody') from tidings.topic where name = 'diagnosis/{d}'")
        typing(s, d, owner)
        for _ in range(2):
            with s.connect(d, server=node) as client:
                client.answers()


@test("a poller that keeps coming is asked about again and again")
def _(s):
    d, token = s.diagnosis(granted=["asked"]), s.token("asked")
    with s.node(TIDINGS_POLL_GRACE=60) as node:
        cursor = node.api.get(f"/poll/{d}?timeout=0", token).want(200)["cursor"]

        def poll():
            return node.api.get(f"/poll/{d}?cursor={cursor}&timeout=1", token).status

        equal(poll(), 200, "status")
        # Nobody is told.
        s.sql(f"set session_replication_role = replica; delete from tidings.diagnosis_grant where diagnosis_id = {d}")
        equal(poll(), 200, "status of a poll that goes on where the one before ended")
        wait_until(lambda: poll() == 403, "the poller to be refused", 30)


@test("a poll goes on from another's place only in the same role")
def _(s):
    d = s.diagnosis(owner="somebody")
    with s.node(TIDINGS_POLL_GRACE=60) as node:
        cursor = node.api.get(f"/poll/{d}?timeout=0", s.token("both", role="admin")).want(200)["cursor"]
        s.recommend(d, token=s.service())
        path = f"/poll/{d}?cursor={cursor}&timeout=1"
        equal(node.api.get(path, s.token("both")).status, 403, "status for an ordinary token of that user")
        equal(len(node.api.get(path, s.token("both", role="admin")).want(200)["messages"]), 1, "messages for the admin")


@test("whose account is switched off unheard is found though the question for it failed at first: it is asked again", allow="broken off|terminat")
def _(s):
    s.sql("insert into tidings.app_user values ('unheard')")
    s.sql("create sequence public.questions; grant usage on sequence public.questions to public")
    d = s.diagnosis(owner="unheard")
    try:
        with s.node(TIDINGS_REQUIRE_USER="yes") as node, s.connect(d, user="unheard", server=node) as client, \
                edited(s, "user_active", "begin", "begin if nextval('public.questions') = 1 then raise exception 'broken off'; end if;"):
            s.sql("set session_replication_role = replica; update tidings.app_user set active = false where id = 'unheard'")
            # Whoever listens anew asks: something may not have been heard.
            listener = s.sql("select pid from pg_stat_activity where application_name = 'tidings-ws listener' order by backend_start desc limit 1")[0][0]
            s.sql(f"select pg_terminate_backend({listener})")
            equal(client.closed(), (1012, "reconnect"), "the close")
            equal(s.sql("select last_value > 1 from public.questions"), [["t"]], "asked more than once")
    finally:
        s.sql("drop sequence public.questions; delete from tidings.app_user where id = 'unheard'")


@test("whose account is switched off unheard while it is being asked about is found by the next question, which is due then", allow="terminat")
def _(s):
    s.sql("insert into tidings.app_user values ('unheard')")
    d = s.diagnosis(owner="unheard")
    # A question that waits is answered by what was true as it was asked.
    waits = """begin if current_setting('tests.waited', true) = 'yes' or not pg_try_advisory_xact_lock_shared(44) then
        perform set_config('tests.waited', 'yes', true), pg_advisory_xact_lock_shared(44);
        return array_fill(true, array[cardinality(p_users)]); end if;"""
    listeners = "select pid from pg_stat_activity where application_name = 'tidings-ws listener'"
    try:
        with s.node(TIDINGS_REQUIRE_USER="yes", TIDINGS_DATABASE_TIMEOUT=60000) as node, s.connect(d, user="unheard", server=node) as client, \
                edited(s, "user_active", "begin", waits):
            with Transaction(s, "do $$ begin perform pg_advisory_xact_lock(44); end $$"):
                # Whoever listens anew asks.
                s.sql(f"select pg_terminate_backend({s.backend('listener')})")
                s.wait_blocked("user_active")
                s.sql("set session_replication_role = replica; update tidings.app_user set active = false where id = 'unheard'")
                before = [row[0] for row in s.sql(listeners)]
                s.sql(f"select pg_terminate_backend({s.backend('listener')})")
                wait_until(lambda: s.sql(f"{listeners} and pid not in ({', '.join(before)}) and {LISTENS}"), "it to listen once more")
                s.typing(f"diagnosis/{d}")
                equal(client.next()["type"], "typing", "at the client: so the node has heard that it listens")
            equal(client.closed(), (1012, "reconnect"), "the close")
    finally:
        s.sql("delete from tidings.app_user where id = 'unheard'")


@test("a fetch that the database breaks off is asked for again, by itself", allow="broken off")
def _(s):
    d = s.diagnosis()
    s.sql("create sequence public.fetches; grant usage on sequence public.fetches to public")
    try:
        # No heartbeat tells which topics have moved.
        with s.node() as node, s.connect(d, server=node) as client, \
                edited(s, "moved", "where t.last_seq is", "where false and t.last_seq is"), \
                edited(s, "fetch", "begin", "begin if nextval('public.fetches') = 1 then raise exception 'broken off' using errcode = '57014'; end if;"):
            s.recommend(d, "in the end")
            equal(client.next()["data"]["reason"], "in the end", "message")
            equal(s.sql("select last_value > 1 from public.fetches"), [["t"]], "asked more than once")
    finally:
        s.sql("drop sequence public.fetches")
