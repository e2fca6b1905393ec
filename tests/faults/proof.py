"""What must hold of all that was published and received: each function gives the sentences of what does not."""
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class Stretch:
    """What came behind one cursor: in order, and with no hole, or the next stretch would have been told of."""

    after: int  # the cursor's seq
    lost: range = range(0)  # seqs that the server said will not come
    received: list = field(default_factory=list)  # (seq, key, when)


def seq_of(cursor):
    return int(cursor.rpartition("-")[2])


def told_lost(before, after, missed):
    """The seqs of a gap between two cursors' seqs, as the server told of it: `missed`; None where it does not know more than that there is one."""
    gap = {"from": before + 1, "to": after, **(missed or {})}
    return range(gap["from"], gap["to"] + 1)


def of_order(followers):
    """Behind each cursor: one after the other, nothing twice."""
    for f in followers:
        yield from (f"{f.name}: {fault}" for fault in f.faults)
        for stretch in f.stretches:
            seqs = [stretch.after, *(seq for seq, _key, _when in stretch.received)]
            for a, b in zip(seqs, seqs[1:]):
                if b <= a:
                    yield f"{f.name}: {b} behind {a}"


def of_gaps(followers, acknowledged, numbers):
    """Everything acknowledged that was for a client reached it, or the client was told that it would not. numbers: (topic, key) -> seq."""
    wanted, taken = defaultdict(dict), defaultdict(set)
    for key, a in acknowledged.items():
        wanted[a.topic][key] = a
        taken[a.topic].add(a.seq)
    for (topic, _key), seq in numbers.items():
        taken[topic].add(seq)
    for f in followers:
        got = set(f.keys())
        lost = {seq for stretch in f.stretches for seq in stretch.lost}
        # What nobody got, and what has no number in its acknowledgement, has one that nothing else has.
        free = lost - taken[f.diagnosis]
        for key, a in wanted[f.diagnosis].items():
            if key in got or (a.to_user and a.to_user != f.user):
                continue
            seq = numbers.get((a.topic, key), a.seq)
            if seq is None and free:
                free.pop()
            elif seq is None or (seq > f.stretches[0].after and seq not in lost):
                yield f"{f.name}: {key} (seq {seq}) never came, and it was not told"


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
