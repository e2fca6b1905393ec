"""Where devices go on: their places, which the sidecars write, and which nothing but a new numbering moves back."""
from database import quote
from harness import equal, test


def attach(db, topic, device, user="456", cursor=(None, None), rewind=0):
    """[device_seq, same_epoch, confirmed_seq, epoch] of one that attaches"""
    return db.sidecar(f"select device_seq, same_epoch, confirmed_seq, epoch from tidings.attach({quote([user])}, '{{admin}}', {quote([topic])}, "
                      f"p_afters => {quote([cursor[0]], 'int8')}, p_epochs => {quote([cursor[1]])}, p_queue_max => 100, p_rewinds => '{{{rewind}}}', "
                      f"p_devices => {quote([device])})")[0]


def place(db, topic, device, user="456"):
    rows = db.sql(f"select seq from tidings.device where user_id = '{user}' and name = '{device}' and topic = '{topic}'")
    return int(rows[0][0]) if rows else None


def begin(db, count=5, confirmed=2):
    topic, node = db.topic(), db.node()
    db.publish(topic, count=count)
    db.flush(node, delivered=[(db.topic_id(topic), count)], confirmed=[confirmed])
    return topic, node


@test("a device that is new begins after what is confirmed, and from then on goes on after what it has confirmed itself")
def goes_on(db):
    topic, node = begin(db)
    seq, _, confirmed, epoch = attach(db, topic, "phone")
    equal((seq, confirmed, place(db, topic, "phone")), ("", "2", 2), "the first time")
    db.flush(node, devices=[("456", "phone", topic, epoch, 4)])
    db.flush(node, delivered=[(db.topic_id(topic), 5)])
    equal(attach(db, topic, "phone")[:3], ["4", "t", "5"], "where it goes on, whatever is confirmed by others")
    equal(attach(db, topic, "tablet")[0], "", "another one")
    equal(attach(db, topic, "phone", user="457")[0], "", "of somebody else")
    equal(attach(db, topic, None)[0], "", "without a name")
    equal((attach(db, topic, "phone", cursor=(1, epoch))[:2], place(db, topic, "phone")), (["", "t"], 4), "with a cursor, which wins and moves nothing")


@test("what a device has confirmed never goes back, counts for its numbering alone, and brings back none that was forgotten")
def never_back(db):
    topic, node = begin(db)
    epoch = attach(db, topic, "phone")[3]
    for seq, told in ((4, epoch), (3, epoch), (9, "another")):
        db.flush(node, devices=[("456", "phone", topic, told, seq)])
        equal(place(db, topic, "phone"), 4, f"after {seq} of {told}")
    equal(db.session().sql("select tidings.forget_device('456', 'phone')"), [["t"]], "forgotten")
    db.flush(node, devices=[("456", "phone", topic, epoch, 5)])
    equal(place(db, topic, "phone"), None, "after that")
    equal(db.session().sql("select tidings.forget_device('456', 'phone')"), [["f"]], "once more")


@test("the place of another numbering, or beyond the last message, cannot be resumed, and the device begins anew: with the newest where it rewinds")
def begins_anew(db):
    topic, node = begin(db)
    epoch = attach(db, topic, "phone")[3]
    db.sql(f"update tidings.device set epoch = 'old', seq = 77 where topic = '{topic}'")
    equal((attach(db, topic, "phone")[:2], place(db, topic, "phone")), (["77", "f"], 0), "of another numbering")
    equal(attach(db, topic, "phone")[:2], ["0", "t"], "the next time")
    db.sql(f"update tidings.device set seq = 77 where topic = '{topic}'")
    equal((attach(db, topic, "phone", rewind=1)[:2], place(db, topic, "phone")), (["77", "t"], 4), "beyond the last message")
    db.flush(node, devices=[("456", "phone", topic, epoch, 5)])
    equal(place(db, topic, "phone"), 5, "what it confirms then")


@test("of a user 20 devices are kept, those used last, and of a device 1,000 topics; its user alone is told")
def limits(db):
    topic, _ = begin(db)
    user = db.user()
    db.sql(f"insert into tidings.device select '{user}', 'd' || n, 'other', 'e', 1, now() - interval '1 hour' * n from generate_series(1, 20) n")
    attach(db, topic, "new", user)
    listed = db.session().sql(f"select d ->> 'device', d ->> 'topics' from json_array_elements(tidings.devices('{user}')) d")
    equal(listed, [["new", "1"]] + [[f"d{n}", "1"] for n in range(1, 20)], "devices")
    db.sql(f"insert into tidings.device select '{user}', 'new', 't' || n, 'e', 1, now() - interval '1 hour' * n from generate_series(1, 1000) n")
    attach(db, db.topic(), "new", user)
    equal(db.sql(f"select count(*), count(*) filter (where topic in ('t999', 't1000')) from tidings.device where user_id = '{user}' and name = 'new'"),
          [["1000", "0"]], "topics")
    equal(db.session().sql("select tidings.devices('nobody')"), [["[]"]], "of one without any")


@test("a message for one user alone that waits behind what others have confirmed is before the place of that user's new device")
def unsent(db):
    topic, node = db.topic(), db.node()
    db.publish(topic, "1"), db.publish(topic, "2", to_user="456"), db.publish(topic, "3")
    db.flush(node, delivered=[(db.topic_id(topic), 3)])
    attach(db, topic, "phone")
    equal(place(db, topic, "phone"), 1, "where it begins")
