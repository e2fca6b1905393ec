"""
watchers - clients that want to know who is on a topic: tests/bench/watchers.py PORT COUNT TOKEN

	ready			stdout, when each has been told who is there
	messages M bytes B	stdout, after a line on stdin: what one of them was told since, the most that any was
	done
"""
import asyncio
import sys

import websockets

port, count, token = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


async def main():
    told = [[0, 0] for _ in range(count)]
    greeted = [asyncio.Event() for _ in range(count)]

    async def watch(n):
        async with websockets.connect(f"ws://127.0.0.1:{port}/ws/1?presence=yes&token={token}", max_size=None, open_timeout=60) as link:
            async for text in link:
                if '"type":"presence"' in text or '"type":"join"' in text or '"type":"leave"' in text:
                    told[n][0] += 1
                    told[n][1] += len(text)
                    greeted[n].set()

    tasks = [asyncio.create_task(watch(n)) for n in range(count)]
    for event in greeted:
        await asyncio.wait_for(event.wait(), 60)
    before = [list(t) for t in told]
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    most = max(([t[0] - b[0], t[1] - b[1]] for t, b in zip(told, before)), key=lambda t: t[1])
    print(f"messages {most[0]}\nbytes {most[1]}\ndone", flush=True)
    for task in tasks:
        task.cancel()


asyncio.run(main())
