"""Live health with many users: 500 of them, each with 5 connections over two nodes."""
import asyncio
import json
import pathlib

import websockets

from harness import equal, loop, test, wait_until
from live import TALKATIVE, Live, count, person

ENDPOINTS = ("health", "chat", "notifications", "combined", "health")


async def dial(port, endpoint, token):
    """An authenticated connection and the answer to authenticate; its socket's closing when it is refused."""
    ws = await websockets.connect(f"ws://127.0.0.1:{port}/ws/{endpoint}", ping_interval=None, compression=None, max_queue=None, open_timeout=60, close_timeout=10)
    await ws.recv()
    await ws.send(json.dumps({"type": "authenticate", "token": token}))
    return ws, json.loads(await ws.recv())


async def until(ws, type):
    while (m := json.loads(await ws.recv()))["type"] != type:
        pass
    return m


def resident_mib(pid):
    return int(next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]) // 1024


@test("500 users with 5 connections each over two nodes are let in, each user's sixth is refused, all get their message, all close")
def _(s):
    users = [person(s) for _ in range(500)]
    tokens = {u: s.token(u) for u in users}

    async def everybody(ports):
        gate = asyncio.Semaphore(64)

        async def user_in(n, user):
            async with gate:
                made = [await dial(ports[(n + i) % 2], endpoint, tokens[user]) for i, endpoint in enumerate(ENDPOINTS)]
                for ws, m in made:
                    assert m["type"] == "authenticated", f"{user}: {m}"
                await until(made[0][0], "subscribed")
                sixth, m = await dial(ports[n % 2], "combined", tokens[user])
                assert (m["type"], m["data"].get("code")) == ("error", "too_many_connections"), f"the sixth of {user}: {m}"
                await sixth.wait_closed()
                assert sixth.close_code == 1008, sixth.close_code
                ws = made[3][0]
                await ws.send(json.dumps({"type": "subscribe", "subscription": "health_updates"}))
                await until(ws, "subscribed")
                return [ws for ws, _ in made]

        async def user_told(n, sockets):
            async with gate:
                await sockets[0].send(json.dumps({"type": "health_update", "metric": "m", "value": n}))
                for ws in (sockets[3], sockets[4]):
                    equal((await until(ws, "health_update"))["data"]["value"], n, "the reading")

        sockets = await asyncio.gather(*(user_in(n, u) for n, u in enumerate(users)))
        await asyncio.gather(*(user_told(n, x) for n, x in enumerate(sockets)))
        return sockets

    async def leave(sockets):
        await asyncio.gather(*(ws.close() for x in sockets for ws in x))

    with s.node(**TALKATIVE) as one, s.node(**TALKATIVE) as two:
        before = [resident_mib(n.pid) for n in (one, two)]
        sockets = loop().run(everybody([one.port, two.port]), 120)
        names = "array['" + "','".join(users) + "']"
        equal(s.sql(f"select count(*), min(n), max(n) from (select count(distinct id) as n from tidings.connection where user_id = any ({names}) group by user_id) x"),
              [["500", "5", "5"]], "users, and how many connections they have")
        status = s.status()
        assert status["users_online"] >= 500 and status["connections_by_transport"]["websocket"] >= 2500, status
        grown = [resident_mib(n.pid) - b for n, b in zip((one, two), before)]
        print(f"# 1,250 live connections a node: {grown} MiB more")
        loop().run(leave(sockets), 60)
        wait_until(lambda: count(s, "connection", f"user_id = any ({names})") == 0, "all connections to be gone")
        equal(count(s, "health_reading", f"user_id = any ({names})"), 500, "readings")
        for node in (one, two):
            with Live(s, node, user=users[0]):
                pass


@test("a user who dials twenty times at once over two nodes gets no more than five connections")
def _(s):
    async def dial_at_once(ports, token):
        made = await asyncio.gather(*(dial(ports[n % len(ports)], "combined", token) for n in range(20)))
        return [ws for ws, m in made if m["type"] == "authenticated"], [ws for ws, m in made if m["type"] != "authenticated"]

    async def leave(sockets):
        await asyncio.gather(*(ws.close() for ws in sockets))

    with s.node(**TALKATIVE) as one, s.node(**TALKATIVE) as two:
        for ports in ([one.port], [one.port, two.port]):
            for _ in range(5):
                user = person(s)
                let_in, refused = loop().run(dial_at_once(ports, s.token(user)), 30)
                assert 1 <= len(let_in) <= 5, f"{len(let_in)} were let in over {len(ports)} nodes"
                loop().run(leave(let_in + refused), 30)
