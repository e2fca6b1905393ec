"""1,000 clients on one diagnosis."""
import asyncio
import json
import multiprocessing

import websockets

from harness import equal, test


def crowd(urls, count, ready, failed, results):
    """A process: one client for each URL; each takes `count` messages. What each got: a list of seqs."""

    async def everyone():
        waiting = len(urls)

        def arrived():
            nonlocal waiting
            waiting -= 1
            if not waiting:
                ready.set()

        gate = asyncio.Semaphore(64)

        async def dial(url):
            async with gate:
                ws = await websockets.connect(url, ping_interval=None, compression=None, max_queue=None, open_timeout=60, close_timeout=10)
                first = json.loads(await ws.recv())
                assert first["type"] == "connect", first
            arrived()
            return ws

        async def take(ws):
            seqs = [json.loads(await ws.recv())["seq"] for _ in range(count)]
            await ws.close()
            return seqs

        clients = await asyncio.gather(*(dial(url) for url in urls))
        return await asyncio.gather(*(take(ws) for ws in clients))

    try:
        results.put(asyncio.run(everyone()))
    except BaseException as e:
        results.put(repr(e))
        failed.set()
        ready.set()


def run_crowd(s, d, ports, processes, each, count):
    context = multiprocessing.get_context("fork")
    results, failed, groups = context.Queue(), context.Event(), []
    path = s.ws_path(d, s.token())
    for p in range(processes):
        ready = context.Event()
        urls = [f"ws://127.0.0.1:{ports[(p * each + n) % len(ports)]}{path}" for n in range(each)]
        child = context.Process(target=crowd, args=(urls, count, ready, failed, results))
        child.start()
        groups.append((child, ready))
    for child, ready in groups:
        assert ready.wait(90), "the clients did not connect"
        assert not failed.is_set(), f"the clients failed: {results.get(timeout=10)}"
    total = processes * each
    equal(s.recommend(d, "0")["clients_notified"], total, "clients_notified")
    for n in range(1, count):
        s.recommend(d, str(n))
    got = []
    for _ in groups:
        part = results.get(timeout=90)
        assert isinstance(part, list), part
        got += part
    for child, _ready in groups:
        child.join(30)
    equal(len(got), total, "clients")
    wrong = [seqs for seqs in got if seqs != list(range(1, count + 1))]
    assert not wrong, f"{len(wrong)} clients, the first: {wrong[0]}"
    s.wait_watchers(d, 0)


@test("1,000 clients on one diagnosis, most direct and some through lighttpd, all get 100 broadcasts in order")
def _(s):
    ports = [s.node1.port] * 4 + [s.web1.port]
    run_crowd(s, s.diagnosis(), ports, 2, 500, 100)


@test("200 clients over two nodes all get 100 broadcasts in order")
def _(s):
    with s.node() as node2:
        run_crowd(s, s.diagnosis(), [s.node1.port, node2.port], 2, 100, 100)
