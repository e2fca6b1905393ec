"""What must hold of all that was published and received: each function gives the sentences of what does not."""
from collections import defaultdict


def of_order(followers):
    """Behind each cursor: one after the other, nothing twice."""
    for f in followers:
        yield from (f"{f.name}: {fault}" for fault in f.faults)
        for stretch in f.stretches:
            seqs = [seq for seq, _key, _when in stretch.received]
            for a, b in zip(seqs, seqs[1:]):
                if b <= a:
                    yield f"{f.name}: {b} behind {a}"


def of_gaps(followers, acknowledged, numbers):
    """Everything acknowledged that was for a client reached it, or the client was told that it would not. numbers: (topic, key) -> seq."""
    wanted = defaultdict(dict)
    for key, a in acknowledged.items():
        wanted[a.topic][key] = a
    for f in followers:
        got = set(f.keys())
        first = min((seq for stretch in f.stretches for seq, _key, _when in stretch.received), default=None)
        told = [stretch for stretch in f.stretches if stretch.told]
        for key, a in wanted[f.diagnosis].items():
            seq = numbers.get((a.topic, key))
            if key in got or (a.to_user and a.to_user != f.user) or first is None or (seq or first) < first:
                continue
            if not any(covers(stretch.told, seq) for stretch in told):
                yield f"{f.name}: {key} (seq {seq}) never came, and it was not told"


def covers(told, seq):
    return "to" not in told or seq is None or seq <= told["to"]


def of_numbers(followers, acknowledged, rolled_back):
    """A key has one number in its topic, the one that its publisher was told; what was rolled back has none."""
    numbers = {}
    for f in followers:
        for stretch in f.stretches:
            for seq, key, _when in stretch.received:
                known = numbers.setdefault((f.diagnosis, key), seq)
                if known != seq:
                    yield f"{f.name}: {key} is {seq}, and was {known}"
    for key, a in acknowledged.items():
        got = numbers.get((a.topic, key))
        if a.seq is not None and got is not None and got != a.seq:
            yield f"{key}: acknowledged as {a.seq}, and came as {got}"
    for (topic, key) in numbers:
        if key in rolled_back:
            yield f"{key} came in {topic}, and was rolled back"


def numbers_of(followers):
    return {(f.diagnosis, key): seq for f in followers for stretch in f.stretches for seq, key, _when in stretch.received}


def of_rights(followers, acknowledged, guest, withdrawn):
    """Nobody got what was for another alone, and the guest nothing that was published while it had no right."""
    for f in followers:
        for stretch in f.stretches:
            for seq, key, when in stretch.received:
                a = acknowledged.get(key)
                if a and a.to_user and a.to_user != f.user:
                    yield f"{f.name}: {key} is for {a.to_user} alone"
                if a and f.user == guest and any(topic == a.topic and began <= a.asked and when < ended for topic, began, ended in withdrawn):
                    yield f"{f.name}: {key} came without a right to it (seq {seq})"
