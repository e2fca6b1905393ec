"""The formulas of analytics, against numbers and against a second hand: Python's floats, and the normal distribution of its library."""
import math
import random
from statistics import NormalDist

from harness import equal, test

Z95, Z99 = 1.96, NormalDist().inv_cdf(0.995)


def row(db, sql):
    return [None if v == "" else float(v) if v[-1].isdigit() else v for v in db.sql(sql)[0]]


def near(got, wanted, what, by=1e-9):
    got, wanted = list(got), list(wanted)
    assert len(got) == len(wanted) and all(g is w or None not in (g, w) and (g == w or abs(g - w) <= by) for g, w in zip(got, wanted)), \
        f"{what}: {got}, wanted {wanted}"


# ---- the second hand: written from the papers, not from the SQL


def wilson(p, n, z=Z95):
    """The roots of (p - x)² = z² x (1 - x) / n."""
    a, b, c = 1 + z * z / n, -(2 * p + z * z / n), p * p
    root = math.sqrt(max(b * b - 4 * a * c, 0))
    return max((-b - root) / (2 * a), 0), min((-b + root) / (2 * a), 1)


def prior(cells):
    """(people, sum, squares) each"""
    cells = [c for c in cells if c[0] >= 5]
    if len(cells) < 10:
        return 6, None
    people, mean = sum(c[0] for c in cells), sum(c[1] for c in cells) / sum(c[0] for c in cells)
    within = sum(q - s * s / n for n, s, q in cells) / (people - len(cells))
    between = (sum(n * (s / n - mean) ** 2 for n, s, q in cells) - (len(cells) - 1) * within) / (people - sum(n * n for n, _, _ in cells) / people)
    return 50 if between <= 0 else min(max(within / between, 2), 50), within


def score(weight, within, parent, total, people):
    if people == 0:
        return None, None, None
    mean = (weight * parent + total) / (weight + people)
    spread = 1 if people < 20 or within is None or not 0 < mean < 1 else min(max(within / (mean * (1 - mean)), 0.3), 1)
    return mean, *wilson(mean, (people + weight) / spread)


def change(p1, n1, p0, n0):
    if not n1 or not n0:
        return None, None, None, None
    (l1, u1), (l0, u0) = wilson(p1, n1, Z99), wilson(p0, n0, Z99)
    low, high = p1 - p0 - math.hypot(p1 - l1, u0 - p0), p1 - p0 + math.hypot(u1 - p1, p0 - l0)
    return p1 - p0, low, high, 1 if low > 0 else -1 if high < 0 else 0


# ---- tests


@test("the formulas give the numbers that were computed elsewhere")
def numbers(db):
    near(row(db, "select * from tidings.wilson(0.85, 156)"), (0.786, 0.898), "Wilson", 5e-4)
    near(row(db, "select * from tidings.wilson(130 / 150.0, 150)"), (0.80, 0.91), "130 of 150", 5e-3)
    for people, mean, confidence in ((1, 0.764, 0.46), (5, 0.795, 0.56), (20, 0.827, 0.72), (150, 0.846, 0.89)):
        near(row(db, f"select s.effectiveness, tidings.confidence(s.lower, s.upper) from tidings.score(6, null, 0.75, 0.85 * {people}, {people}) s"),
             (mean, confidence), f"{people} people", 6e-4)
    # Within, so that the spread is 0.39 of m (1 - m).
    for people, lower, upper, confidence in ((20, 0.72, 0.90, 0.82), (150, 0.81, 0.88, 0.93)):
        m = (5 * 0.75 + 0.85 * people) / (5 + people)
        near(row(db, f"select s.lower, s.upper, tidings.confidence(s.lower, s.upper) from tidings.score(5, {0.39 * m * (1 - m)}, 0.75, 0.85 * {people}, {people}) s"),
             (lower, upper, confidence), f"{people} people, who differ less", 5.1e-3)
    near(row(db, "select lower, upper from tidings.change_of(0.83, 84, 0.78, 61)"), (-0.12, 0.23), "Newcombe", 5e-3)
    equal(db.sql("select trend from unnest('{0.83,0.98,0.40}'::float8[]) p, tidings.change_of(p, 84, 0.78, 61)"), [["steady"], ["rising"], ["falling"]], "trends")
    near(row(db, "select tidings.better_by(0.85, 150, 0.61, 40, 5), tidings.better_by(0.82, 20, 0.70, 20, 5)"), (3.13, 1.04), "z", 0.06)
    equal(db.sql("select tidings.replaces(0.85, 150, 0.61, 40, 5), tidings.replaces(0.82, 20, 0.70, 20, 5), tidings.replaces(0.80, 5000, 0.71, 5000, 5)"),
          [["t", "f", "f"]], "replaces")
    equal(row(db, "select tidings.growth_order(84, 61) > tidings.growth_order(3, 1)"), ["t"], "84 after 61, 3 after 1")


@test("a thousand random cells, with their parents, come out as by an independent implementation")
def random_cells(db):
    rng = random.Random(14)
    cells = []
    for _ in range(1000):
        people = rng.choice([0, 1, 2, 4, 5, 19, 20, 21, rng.randrange(1, 400), rng.randrange(1, 100000)])
        votes = [rng.choice([0, 0.25, 0.5, 0.75, 1, rng.random()]) for _ in range(min(people, 50))]
        share = people / len(votes) if votes else 0
        cells.append((people, sum(votes) * share, sum(v * v for v in votes) * share, rng.random(), rng.choice([2, 6, 50, rng.uniform(2, 50)]),
                      rng.choice([None, 0, 0.001, rng.uniform(0, 0.25)]), rng.randrange(0, 300), rng.choice([0, 1, rng.random()])))
    values = ",".join("(" + ",".join("null" if v is None else repr(v) for v in (i, *c)) + ")" for i, c in enumerate(cells))
    got = db.sql(f"""select s.*, c.change, c.lower, c.upper, array_position('{{falling,steady,rising}}', c.trend) - 2,
            tidings.shrunk_without(v.weight, v.parent, v.sum + 7, v.people + v.before, v.sum, v.people)
        from (values {values}) v (i, people, sum, squares, parent, weight, within, before, before_mean),
            tidings.score(v.weight, v.within, v.parent, v.sum, v.people) s,
            tidings.change_of(v.sum / nullif(v.people, 0), v.people, v.before_mean, v.before) c order by i""")
    equal(len(got), 1000, "cells")
    for line, (people, total, _, parent, weight, within, before, before_mean) in zip(got, cells):
        line = [None if v == "" else float(v) for v in line]
        wanted = [*score(weight, within, parent, total, people), *change(total / people if people else 0, people, before_mean, before),
                  (weight * parent + 7) / (weight + before) if before >= 5 else parent]
        near(line, wanted, f"{people} people, sum {total}, before {before}")


@test("the weight of the prior is as by an independent implementation, within its limits, and 6 below ten treatments")
def weights(db):
    rng = random.Random(15)
    seen = set()
    for turn in range(60):
        cells, apart = [], rng.choice([0, 0.01, 0.15])
        for _ in range(rng.choice([0, 9, 10, 15, 40])):
            people, mean = rng.randrange(1, 61), rng.gauss(0.7, apart)
            votes = [min(max(rng.gauss(mean, rng.choice([0.2, 0.02]) if turn % 3 else 0.2), 0), 1) for _ in range(people)]
            cells.append((people, sum(votes), sum(v * v for v in votes)))
        large = [c for c in cells if c[0] >= 5]
        sums = [len(large), *(sum(f(*c) for c in large) for f in (lambda n, s, q: n, lambda n, s, q: n * n, lambda n, s, q: s, lambda n, s, q: q,
                                                                 lambda n, s, q: s * s / n))]
        got, wanted = row(db, f"select * from tidings.prior_of({','.join(map(repr, sums))})"), prior(cells)
        near(got, wanted, f"{len(large)} treatments", 1e-6)
        seen.add("default" if len(large) < 10 else wanted[0] if wanted[0] in (2, 50) else "between")
    equal(seen, {"default", 2, 50, "between"}, "what was tried")


@test("normal_below() is the normal distribution to 1e-7, far out too")
def normal(db):
    zs = [z / 10 for z in range(-60, 61)] + [-1e308, -40, 40, 1e308]
    got = db.sql(f"select tidings.normal_below(z) from unnest('{{{','.join(map(str, zs))}}}'::float8[]) z")
    near((float(r[0]) for r in got), (NormalDist().cdf(z) for z in zs), "below", 1e-7)
