"""Notifications: preferences, quiet hours, reminders, critical ones until they are acked, receipts."""
import datetime
import uuid

from database import act_sql, answer
from harness import equal, test


def notify(db, user, type="system", priority="normal", who="svc", role="service", **more):
    return db.act(who, "notify", {"user_id": user, "type": type, "title": "T", "message": "M", "priority": priority, **more}, role=role)


def prefer(db, user, **wishes):
    return db.act(user, "set_preferences", wishes)


def relay(db):
    """Until nothing is due. In how many ms the next is."""
    while (due := db.relay()) == "0":
        pass
    return int(due) if due else None


def pushed(db, user):
    return [b["notification"]["id"] for b in db.bodies(f"notifications/{user}")]


def row(db, id, columns="attempts, sent_at is not null, push_at is not null, acked_at is not null"):
    return db.sql(f"select {columns} from tidings.notification where id = '{id}'")[0]


def make_due(db, user):
    db.sql(f"update tidings.notification set push_at = created_at, due_at = least(due_at, clock_timestamp()) where user_id = '{user}' and push_at is not null")


def quiet_now():
    now = datetime.datetime.now(datetime.timezone.utc)
    hour = datetime.timedelta(hours=2)
    return {"start": (now - hour).strftime("%H:%M"), "end": (now + hour).strftime("%H:%M"), "time_zone": "UTC"}


def hold(db, user, at, type="system", priority="normal"):
    found = db.one(f"set search_path = tidings; set timezone = 'UTC'; select to_char(hold('{user}', '{type}', '{priority}', '{at}'), 'YYYY-MM-DD HH24:MI')")
    return found or None


@test("notify: pushed to the user's topic, with no data beside the notification; a service, an admin, or oneself")
def notifies(db):
    user, other = db.user(), db.user()
    got = db.act("svc", "notify", {"user_id": user, "type": "medication_reminder", "title": 'a"b', "message": "c\nd", "priority": "high"}, role="service",
                 correlation="x")
    equal((got.outcome, got.topic, got.seq, got.clients, got.reply["type"], got.data["status"]),
          ("ok", f"notifications/{user}", 1, 0, "notification_sent", "sent"), "answer")
    (message,) = db.bodies(f"notifications/{user}")
    equal(sorted(message), ["correlation_id", "notification", "timestamp", "topic", "type"], "members")
    equal({k: v for k, v in message["notification"].items() if k != "created_at"},
          {"id": got.data["id"], "type": "medication_reminder", "title": 'a"b', "message": "c\nd", "priority": "high"}, "notification")
    equal([notify(db, user, who=w, role=r).outcome for w, r in ((user, "user"), (other, "user"), (other, "clinician"), ("root", "admin"))],
          ["ok", "forbidden", "forbidden", "ok"], "others")


@test("notify refuses a type, a priority, a user and a time that it does not know, and stores nothing")
def refuses(db):
    user = db.user()
    for more in ({"type": "spam"}, {"priority": "urgent"}, {"deliver_at": "2999-01-01T00:00:00Z"}):
        got = notify(db, user, **more)
        equal((got.outcome, bool(got.detail)), ("invalid", True), str(more))
    equal(notify(db, "a b").outcome, "invalid", "a user that has no topic")
    equal(db.one(f"select count(*) from tidings.notification where user_id in ('{user}', 'a b')"), "0", "stored")


@test("preferences: on by default, what is not named stays, quiet_hours null ends them")
def preferences(db):
    user = db.user()
    on = dict.fromkeys(("health_alert", "medication_reminder", "appointment_reminder", "system"), True)
    equal(db.act(user, "get_preferences").data, {"types": on, "quiet_hours": None}, "at first")
    hours = {"start": "22:00", "end": "07:00", "time_zone": "Europe/Berlin"}
    equal(prefer(db, user, types={"system": False}).data, {"types": {**on, "system": False}, "quiet_hours": None}, "one off")
    got = prefer(db, user, quiet_hours=hours)
    equal((got.reply["type"], got.data), ("preferences", {"types": {**on, "system": False}, "quiet_hours": hours}), "quiet hours")
    equal(prefer(db, user, types={"system": True, "health_alert": False}).data, {"types": {**on, "health_alert": False}, "quiet_hours": hours}, "others")
    equal(prefer(db, user, quiet_hours=None).data["quiet_hours"], None, "none")
    equal(db.act(user, "get_preferences").data["types"], {**on, "health_alert": False}, "read again")


@test("preferences that make no sense are refused, and nothing changes")
def bad_preferences(db):
    user = db.user()
    hours = {"start": "22:00", "end": "07:00", "time_zone": "Europe/Berlin"}
    for wishes in ({"types": {"spam": True}}, {"types": {"system": "no"}}, {"quiet_hours": {**hours, "time_zone": "Mars/Olympus"}},
                   {"quiet_hours": {**hours, "time_zone": "X5"}}, {"quiet_hours": {**hours, "end": "22:00"}}, {"quiet_hours": {"start": "22:00"}},
                   {"quiet_hours": {**hours, "start": "26:00"}}):
        got = prefer(db, user, **wishes)
        equal((got.outcome, bool(got.detail)), ("invalid", True), str(wishes))
    equal(db.one(f"select count(*) from tidings.notification_preference where user_id = '{user}'"), "0", "stored")


@test("quiet hours hold until they end: over midnight, by day, in the user's zone")
def quiet_hours(db):
    night, day, far = db.user(), db.user(), db.user()
    prefer(db, night, quiet_hours={"start": "22:00", "end": "07:00", "time_zone": "Europe/Berlin"}, types={"health_alert": False})
    prefer(db, day, quiet_hours={"start": "12:00", "end": "13:30", "time_zone": "Asia/Kolkata"})
    prefer(db, far, quiet_hours={"start": "23:00", "end": "00:30", "time_zone": "Pacific/Kiritimati"})
    for user, at, until in (
            (night, "2026-01-10 20:59", "2026-01-10 20:59"), (night, "2026-01-10 21:00", "2026-01-11 06:00"), (night, "2026-01-10 23:30", "2026-01-11 06:00"),
            (night, "2026-01-11 05:59", "2026-01-11 06:00"), (night, "2026-01-11 06:00", "2026-01-11 06:00"),
            (night, "2026-07-10 20:30", "2026-07-11 05:00"), (night, "2026-07-10 19:59", "2026-07-10 19:59"),
            (day, "2026-01-10 06:30", "2026-01-10 08:00"), (day, "2026-01-10 06:29", "2026-01-10 06:29"), (day, "2026-01-10 08:00", "2026-01-10 08:00"),
            (far, "2026-01-10 09:00", "2026-01-10 10:30"), (far, "2026-01-10 10:29", "2026-01-10 10:30")):
        equal(hold(db, user, at + "Z"), until, f"{user} at {at}")
    equal((hold(db, night, "2026-01-10 12:00Z", "health_alert"), hold(db, night, "2026-01-10 23:00Z", "health_alert", "critical")),
          (None, "2026-01-10 23:00"), "a type that is off, and a critical one")
    equal(hold(db, db.user(), "2026-01-10 23:00Z"), "2026-01-10 23:00", "without preferences")


@test("quiet hours that end where the clocks change end at all, and not before what they hold")
def clocks_change(db):
    early, in_gap = db.user(), db.user()
    prefer(db, early, quiet_hours={"start": "22:00", "end": "07:00", "time_zone": "Europe/Berlin"})
    prefer(db, in_gap, quiet_hours={"start": "22:00", "end": "02:30", "time_zone": "Europe/Berlin"})
    # On 2026-03-29 02:00 becomes 03:00; on 2026-10-25 03:00 becomes 02:00.
    equal(hold(db, early, "2026-03-28 22:00Z"), "2026-03-29 05:00", "the short night")
    equal(hold(db, early, "2026-10-24 22:00Z"), "2026-10-25 06:00", "the long night")
    for at in ("2026-03-29 00:30Z", "2026-10-25 00:10Z", "2026-10-25 01:10Z"):
        until = hold(db, in_gap, at)
        assert until + "Z" > at, f"held at {at} until {until}"
        equal(hold(db, in_gap, until + "Z"), until, f"at {until}, when it is looked at again")
    equal(hold(db, in_gap, "2026-03-29 00:30Z"), "2026-03-29 01:30", "an end that there is not that night")


@test("a type that is off: stored and counted, not pushed")
def type_off(db):
    user = db.user()
    prefer(db, user, types={"system": False})
    got = notify(db, user)
    equal((got.outcome, got.seq, got.data["status"]), ("ok", None, "off"), "answer")
    relay(db)
    equal((pushed(db, user), row(db, got.data["id"])), ([], ["0", "f", "f", "f"]), "pushed")
    equal(db.act(user, "get_notifications").data["unread"], 1, "unread")
    equal(notify(db, user, priority="critical").data["status"], "sent", "a critical one")


@test("quiet hours hold a notification, critical ones aside; it goes when they end")
def held(db):
    user = db.user()
    prefer(db, user, quiet_hours=quiet_now())
    listener = db.session("tidings_sidecar")
    listener.listen("outbox")
    got = notify(db, user)
    equal((got.data["status"], got.seq, len(listener.notifications("outbox"))), ("held", None, 1), "answer, and the relay's bell")
    equal(notify(db, user, priority="critical").data["status"], "sent", "a critical one")
    relay(db)
    equal(len(pushed(db, user)), 1, "pushed in quiet hours")
    make_due(db, user)  # by a clock that is wrong: it is asked again
    relay(db)
    assert got.data["id"] not in pushed(db, user), "pushed although it is quiet"
    prefer(db, user, quiet_hours=None)
    relay(db)
    assert got.data["id"] in pushed(db, user), "not pushed when it is not quiet any more"
    equal(row(db, got.data["id"]), ["1", "t", "f", "f"], "its row")


@test("what is held is not pushed any more once it is read")
def held_and_read(db):
    user = db.user()
    prefer(db, user, quiet_hours=quiet_now())
    id = notify(db, user).data["id"]
    equal(db.act(user, "mark_read", {"id": id}).data, {"id": id, "unread": 0}, "mark_read")
    prefer(db, user, quiet_hours=None)
    relay(db)
    equal(pushed(db, user), [], "pushed")


@test("a reminder is nowhere until it is due; what the user wants is asked then")
def reminder(db):
    user, quiet = db.user(), db.user()
    later = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).isoformat()
    ids = {}
    for u in (user, quiet):
        got = notify(db, u, "appointment_reminder", deliver_at=later)
        equal((got.outcome, got.seq, got.data["status"]), ("ok", None, "scheduled"), "answer")
        ids[u] = got.data["id"]
    prefer(db, quiet, types={"appointment_reminder": False})
    relay(db)
    equal((pushed(db, user), db.act(user, "get_notifications").data), ([], {"notifications": [], "unread": 0}), "before")
    equal([db.act(user, t, {"id": ids[user]}).outcome for t in ("mark_read", "ack")], ["not_found"] * 2, "before")
    make_due(db, user), make_due(db, quiet)
    relay(db)
    equal((pushed(db, user), pushed(db, quiet)), ([ids[user]], []), "after")
    equal([db.act(u, "get_notifications").data["unread"] for u in (user, quiet)], [1, 1], "unread")
    ago = lambda minutes: (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=minutes)).isoformat()
    equal(notify(db, user, deliver_at=ago(4)).data["status"], "sent", "a time that has just passed is now")
    got = notify(db, user, deliver_at=ago(6))
    equal((got.outcome, got.detail), ("invalid", "deliver_at has passed"), "one that passed a while ago")


@test("a critical one goes again after 30 s, twice as long each time, at most an hour, for a day")
def backoff(db):
    user = db.user()
    id = notify(db, user, priority="critical").data["id"]
    waits = []
    for _ in range(9):
        waits.append(round(float(row(db, id, "extract(epoch from push_at - clock_timestamp()) + 1")[0]), -1))
        make_due(db, user)
        relay(db)
    equal(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600], "seconds")
    equal((pushed(db, user), row(db, id)), ([id] * 10, ["10", "t", "t", "f"]), "pushed")
    db.sql(f"update tidings.notification set sent_at = sent_at - interval '24 hours', push_at = clock_timestamp(), attempts = 29 where id = '{id}'")
    relay(db)
    equal((len(pushed(db, user)), row(db, id)), (11, ["30", "t", "f", "f"]), "after a day")


@test("an ack ends it: by the id, or by the topic and seq of any of its messages; twice is as once")
def ack(db):
    user = db.user()
    ids = [notify(db, user, priority="critical").data["id"] for _ in range(2)]
    make_due(db, user)
    relay(db)
    equal(pushed(db, user), ids + ids, "pushed")
    topic = f"notifications/{user}"
    got = db.act(user, "ack", {"topic": topic, "seq": 1}, correlation=1)
    equal((got.reply["type"], got.reply["correlation_id"], got.data), ("acked", 1, {"topic": topic, "seq": 1, "id": ids[0]}), "by its first seq")
    at = row(db, ids[0], "acked_at")
    equal(db.act(user, "ack", {"topic": topic, "seq": 3}).data["id"], ids[0], "by its second seq")
    equal(db.act(user, "ack", {"id": ids[0]}).data, {"id": ids[0]}, "by its id")
    equal(row(db, ids[0], "acked_at"), at, "when")
    equal(db.act(user, "ack", {"id": ids[1]}).outcome, "ok", "the other")
    make_due(db, user)
    db.sidecar(f"select tidings.redeliver('{{{user}}}')")
    relay(db)
    equal(len(pushed(db, user)), 4, "pushed after both were acked")


@test("two acks at once, and one while it is being pushed: it stays acked")
def ack_at_once(db):
    user = db.user()
    id = notify(db, user, priority="critical").data["id"]
    make_due(db, user)
    pusher, acks = db.session("tidings_sidecar"), [db.session() for _ in range(2)]
    pusher.sql("begin")
    pusher.sql("select tidings.relay(100, 60)")
    for s in acks:
        s.send(act_sql(user, "user", "ack", {"id": id}))
    assert not acks[0].answered(0.2), "the ack did not wait"
    pusher.sql("commit")
    equal([answer(s.receive()).outcome for s in acks], ["ok"] * 2, "outcomes")
    equal(row(db, id), ["2", "t", "f", "t"], "its row")


@test("ack of a message that one may read is taken; of others, and of others' notifications, not")
def ack_others(db):
    user, other = db.user(), db.user()
    id = notify(db, user).data["id"]
    topic = db.topic(user)
    asks = [(user, {"topic": topic, "seq": 5}), (other, {"topic": topic, "seq": 5}), (other, {"topic": f"notifications/{user}", "seq": 1}), (other, {"id": id}),
            (user, {"id": str(uuid.uuid4())}), (user, {"topic": "diagnosis/999999999", "seq": 1})]
    equal([db.act(who, "ack", data).outcome for who, data in asks], ["ok", "forbidden", "forbidden", "forbidden", "not_found", "not_found"], "outcomes")
    equal(row(db, id), ["1", "t", "f", "f"], "its row")


@test("who comes back gets what is critical and not acked again, also after a day; nothing else")
def redeliver(db):
    user, other = db.user(), db.user()
    old, plain, acked, foreign = (notify(db, u, priority=p).data["id"] for u, p in (
        (user, "critical"), (user, "high"), (user, "critical"), (other, "critical")))
    db.act(user, "ack", {"id": acked})
    db.sql(f"update tidings.notification set sent_at = sent_at - interval '3 days', pushed_at = pushed_at - interval '1 day', push_at = null, "
           f"attempts = 30 where id = '{old}'")
    equal(db.sidecar(f"select tidings.redeliver('{{{user},nobody}}')"), [["1"]], "how many")
    relay(db)
    equal(pushed(db, user), [old, plain, acked, old], "pushed")
    equal((pushed(db, other), row(db, old)), ([foreign], ["31", "t", "f", "f"]), "others, and its row")


@test("who comes back again and again gets what is critical again every two seconds; it is not written anew each time")
def redeliver_at_most(db):
    # A hundred were written, and sent, each time that one user came: everybody's acts waited for that.
    user = db.user()
    id = notify(db, user, priority="critical").data["id"]
    come = lambda: db.sidecar(f"select tidings.redeliver('{{{user}}}')")[0][0]
    soon = lambda: db.one(f"select push_at <= pushed_at + interval '2 s' from tidings.notification where id = '{id}'")
    equal(soon(), "f", "when it goes again, before")
    equal([come(), come(), come()], ["1", "0", "0"], "written")
    equal(soon(), "t", "when it goes again")
    db.sql(f"update tidings.notification set pushed_at = pushed_at - interval '2 s', push_at = push_at + interval '10 s' where id = '{id}'")
    equal(come(), "1", "written, two seconds later")
    relay(db)
    equal(pushed(db, user), [id, id], "pushed")
    # A clock that was ahead as it was pushed holds up nothing.
    db.sql(f"update tidings.notification set pushed_at = now() + interval '1 day' where id = '{id}'")
    come()
    equal(db.one(f"select push_at < clock_timestamp() + interval '3 s' from tidings.notification where id = '{id}'"), "t", "after a clock that was ahead")


@test("mark_read and get_notifications: unread is counted, the newest come first, nobody reads another's")
def reading(db):
    user, other = db.user(), db.user()
    ids = [notify(db, user).data["id"] for _ in range(4)]
    got = db.act(user, "mark_read", {"id": ids[1]})
    equal((got.reply["type"], got.data), ("marked_read", {"id": ids[1], "unread": 3}), "mark_read")
    equal(db.act(user, "mark_read", {"id": ids[1]}).data["unread"], 3, "again")
    equal([db.act(other, "mark_read", {"id": i}).outcome for i in (ids[0], str(uuid.uuid4()))], ["forbidden", "not_found"], "another's")
    equal(db.act(user, "mark_read", {"id": "x"}).outcome, "invalid", "no id")
    got = db.act(user, "get_notifications", {"limit": 3})
    equal(([n["id"] for n in got.data["notifications"]], got.data["unread"]), (ids[:0:-1], 3), "three")
    equal([n["read"] for n in got.data["notifications"]], [False, False, True], "read")
    equal([n["id"] for n in db.act(user, "get_notifications", {"unread_only": True}).data["notifications"]], [ids[3], ids[2], ids[0]], "unread only")
    equal(db.act(other, "get_notifications").data, {"notifications": [], "unread": 0}, "another's")


@test("the receipt says what became of it, to services and to whoever published it")
def receipt(db):
    user, other = db.user(), db.user()
    mine = notify(db, user, who=user, role="user", priority="critical").data["id"]
    ask = lambda who, role, id=mine: db.act(who, "get_receipt", {"id": id}, role=role)
    equal([ask(w, r).outcome for w, r in ((user, "user"), (other, "user"), ("svc2", "service"), ("root", "admin"))], ["ok", "forbidden", "ok", "ok"], "outcomes")
    equal(sorted(ask(user, "user").data), ["attempts", "created_at", "id", "sent_at"], "before")
    db.act(user, "ack", {"id": mine}), db.act(user, "mark_read", {"id": mine})
    equal(sorted(ask(user, "user").data), ["acked_at", "attempts", "created_at", "id", "read_at", "sent_at"], "after")
    sent = notify(db, user).data["id"]
    equal([ask(user, "user", sent).outcome, ask("svc", "service", str(uuid.uuid4())).outcome], ["forbidden", "not_found"], "to whom it was sent; none")
    prefer(db, user, types={"system": False})
    equal(sorted(ask("svc", "service", notify(db, user).data["id"]).data), ["attempts", "created_at", "id"], "never sent")


@test("a time zone that this machine does not know (any more), or preferences that nothing has checked, hold nothing back and stop nobody")
def odd_preferences(db):
    users = [db.user() for _ in range(4)]
    # Not checked by the table either: a dump has to be restored on a machine that has other zones.
    for user, types, zone in zip(users, ("{}", '{"system":"maybe"}', "[1]", "{}"), ("'No/Where'", "null", "null", "'UTC'")):
        hours = f"'00:00', '23:59:59', {zone}" if zone != "null" else "null, null, null"
        db.sql(f"insert into tidings.notification_preference values ('{user}', '{types}', {hours})")
        db.sql(f"insert into tidings.notification (user_id, type, title, message, due_at, push_at) values ('{user}', 'system', 'T', 'M', now(), now())")
    relay(db)
    equal([len(pushed(db, u)) for u in users], [1, 1, 1, 0], "pushed by the relay")
    equal([notify(db, u).data["status"] for u in users], ["sent", "sent", "sent", "held"], "at once")
    equal([db.act(u, "get_preferences").outcome for u in users], ["ok"] * 4, "get_preferences")
    equal(prefer(db, users[0], quiet_hours=None).outcome, "ok", "set anew")


@test("time zones: the names of the IANA, with their summer time; not what a machine has beside them")
def zones(db):
    user = db.user()
    hours = lambda zone: {"quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": zone}}
    for zone in ("Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5", "CET", "MET", "EET", "WET", "EST", "MST", "HST", "EST5EDT", "PST8PDT", "UTC", "GMT",
                 "Japan", "NZ-CHAT", "Zulu", "W-SU"):
        got = prefer(db, user, **hours(zone))
        equal((got.outcome, got.data["quiet_hours"]["time_zone"] if got.outcome == "ok" else got.detail), ("ok", zone), zone)
    for zone in ("right/UTC", "posix/Europe/Berlin", "Right/UTC", "posixrules", "localtime", "PST", "CEST", "X5", "No/Where", "Europe/", "Factory", "UTC+3", "+03:00",
                 "../etc/passwd"):
        got = prefer(db, user, **hours(zone))
        equal((got.outcome, "time_zone" in (got.detail or "")), ("invalid", True), zone)
    prefer(db, user, **hours("CET"))
    equal((hold(db, user, "2026-07-10 19:59Z"), hold(db, user, "2026-07-10 20:00Z")), ("2026-07-10 19:59", "2026-07-11 05:00"), "CET in summer")


@test("a clock that was ahead keeps no critical notification from being repeated, none that is held from its end, and hides none")
def ahead(db):
    user = db.user()
    critical, held, later = (notify(db, user, priority=p).data["id"] for p in ("critical", "normal", "normal"))
    db.sql(f"update tidings.notification set push_at = push_at + interval '1 year', sent_at = sent_at + interval '1 year', created_at = created_at + interval '1 year', "
           f"due_at = due_at + interval '1 year' where id = '{critical}'")
    db.sql(f"update tidings.notification set push_at = now() + interval '1 year', sent_at = null, created_at = created_at + interval '1 year', "
           f"due_at = due_at + interval '1 year' where id = '{held}'")
    db.sql(f"update tidings.notification set push_at = now() + interval '300 days', sent_at = null, due_at = now() + interval '300 days' where id = '{later}'")
    before = pushed(db, user)
    relay(db)
    equal(sorted(pushed(db, user)[len(before):]), sorted([critical, held]), "pushed")
    got = db.act(user, "get_notifications").data
    equal((sorted(n["id"] for n in got["notifications"]), got["unread"]), (sorted([critical, held]), 2), "what its user sees")
    equal([db.act(user, t, {"id": i}).outcome for t, i in (("mark_read", held), ("ack", critical), ("ack", later))], ["ok", "ok", "not_found"], "mark_read and ack")


@test("a clock that was behind when a critical notification was first sent does not end its repeats")
def behind(db):
    user = db.user()
    id = notify(db, user, priority="critical").data["id"]
    db.sql(f"update tidings.notification set sent_at = '1970-01-01', push_at = clock_timestamp() where id = '{id}'")
    relay(db)
    equal((pushed(db, user), row(db, id)), ([id] * 2, ["2", "t", "t", "f"]), "pushed, and to be pushed again")


@test("a critical notification that is read goes on until it is acked")
def read_is_no_ack(db):
    user = db.user()
    id = notify(db, user, priority="critical").data["id"]
    equal(db.act(user, "mark_read", {"id": id}).outcome, "ok", "mark_read")
    make_due(db, user)
    relay(db)
    equal((pushed(db, user), row(db, id)), ([id] * 2, ["2", "t", "t", "f"]), "pushed")
    db.act(user, "set_preferences", {"types": {"system": False}, "quiet_hours": quiet_now()})
    make_due(db, user)
    relay(db)
    equal(len(pushed(db, user)), 3, "although its user wants none")


@test("which notification a message was is known while it is kept, of the last one for good: sent again and again, it leaves nothing beside the queue")
def trimmed(db):
    # A hundred rows each time that one user came back, for good, and outside of any quota.
    user = db.user()
    topic = f"notifications/{user}"
    ids = [notify(db, user, priority="critical").data["id"] for _ in range(10)]
    of = lambda seq: db.sql(f"select notification_id from tidings.notification_push where user_id = '{user}' and seq = {seq}")
    count = lambda: int(db.one(f"select count(*) from tidings.notification_push where user_id = '{user}'"))

    def again(times):
        for _ in range(times):
            db.age(topic, 61)
            make_due(db, user)
            while db.sidecar("select tidings.relay(20, 60)")[0][0] == "0":
                pass

    again(40)
    assert count() <= len(db.kept(topic)) + 10 <= 120, f"{count()} rows, {len(db.kept(topic))} messages"
    first, last = db.counter(topic)
    equal((of(first - 1), of(first)), ([], [[ids[(first - 1) % 10]]]), "the last that is trimmed, and the first that is kept")
    db.age(topic, 604801)
    db.sweep()
    equal((db.kept(topic), count()), ([], 10), "when all are trimmed")
    equal(db.act(user, "ack", {"topic": topic, "seq": last}).data.get("id"), ids[9], "an ack of the last message")
    again(1)
    equal((count(), len(db.kept(topic))), (10, 9), "when those that are not acked went again")
    # The topic begins anew: what has a number of the old numbering is none of the new one's.
    db.sql(f"delete from tidings.message where topic_id = {db.topic_id(topic)}; delete from tidings.topic where name = '{topic}'")
    again(1)
    equal((db.kept(topic), sorted(int(r[0]) for r in db.sql(f"select seq from tidings.notification_push where user_id = '{user}'"))),
          (list(range(1, 10)), [*range(1, 10), last]), "in a new numbering")
