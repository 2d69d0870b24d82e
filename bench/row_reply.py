"""Command and reply: another process sends a command, and measures how long the reply of this one takes.

The raw variant replies inside awscrt's callback, with TCP_NODELAY set: the least that is possible. `awscrt` and `paho`
are what their users get as they come. On a busy machine even the raw variant has rounds of 20 ms and more, by waiting
for a processor; ours may have as many of them as that one.
"""

from __future__ import annotations

import queue
import statistics
import time
from collections.abc import Callable
from itertools import chain
from typing import Any

from harness import CREDENTIALS, SPAWN, WAIT, Bench, Figure, Loop, Raw, paho_client, unique
from row_aio_publish import open_connection

from iot_customauth_client import Message, connect

ROW = "command -> reply"
PACE_SECONDS = 0.002
STALL_SECONDS = 0.02


def _control(bench: Bench, pipe: Any) -> None:
    """Send commands, one at a time, and time the replies."""
    replies: queue.SimpleQueue[float] = queue.SimpleQueue()
    client = paho_client(bench, no_delay=True)
    client.on_message = lambda *_: replies.put(time.perf_counter())
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        topic, rounds = task
        granted: queue.SimpleQueue[bool] = queue.SimpleQueue()
        client.on_subscribe = lambda *_, granted=granted: granted.put(True)
        client.subscribe(f"{topic}/reply", 1)
        granted.get(timeout=WAIT)
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            client.publish(f"{topic}/command", b"x" * 128, qos=1)
            seconds.append(replies.get(timeout=WAIT) - began)
            time.sleep(PACE_SECONDS)
        client.unsubscribe(f"{topic}/reply")
        pipe.send(seconds)
    client.disconnect()


def rows(bench: Bench) -> list[Figure]:
    pipe, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_control, args=(bench, theirs), daemon=True)
    process.start()
    assert pipe.recv() == "ready"
    loop = Loop()
    topics, closers = _devices(bench, loop)
    rounds = bench.messages(1_200)
    seconds: dict[str, list[list[float]]] = {name: [] for name in topics}
    for turn in range(bench.repetitions):
        for name, topic in topics.items():
            pipe.send((topic, rounds // 4 if turn == 0 else rounds))
            measured = pipe.recv()
            if turn:  # the first turn warms up
                seconds[name].append(sorted(measured))
    for close in closers:
        close()
    loop.close()
    pipe.send(None)
    process.join(WAIT)
    p99 = {name: statistics.median(each[int(len(each) * 0.99)] for each in runs) for name, runs in seconds.items()}
    for name, runs in seconds.items():
        middle, worst = statistics.median(chain.from_iterable(runs)), max(each[-1] for each in runs)
        print(f"    {name}: p50 {middle * 1e3:.2f} ms, p99 {p99[name] * 1e3:.2f} ms, max {worst * 1e3:.1f} ms")
    figures = []
    total = sum(map(len, seconds["raw inline"]))
    for name in (each for each in topics if each.startswith("ours")):
        mine, raw = stalls(seconds[name]), stalls(seconds["raw inline"])
        figures += [
            Figure(f"{ROW}, {name}", "no round >= 20 ms", f"{mine} of {total} (raw inline: {raw})", mine <= raw),
            Figure(
                f"{ROW}, {name}",
                "p99 <= 2x raw inline",
                f"{p99[name] * 1e3:.2f} ms, {p99[name] / p99['raw inline']:.2f}x",
                p99[name] <= 2 * p99["raw inline"],
                "p99 < 1 ms",
                p99[name] < 0.001,
            ),
        ]
    return figures


def stalls(runs: list[list[float]]) -> int:
    """How many rounds took 20 ms or more: a stall of Nagle's is 40 ms long."""
    return sum(each >= STALL_SECONDS for each in chain.from_iterable(runs))


def _devices(bench: Bench, loop: Loop) -> tuple[dict[str, str], list[Callable[[], object]]]:
    """Everybody who replies, each on a topic of its own: the topics, and what closes them."""
    topics: dict[str, str] = {}
    closers: list[Callable[[], object]] = []
    raws: dict[str, Raw] = {}

    for name, no_delay in (("raw inline", True), ("awscrt", False)):
        topic = topics[name] = unique("bench/reply")

        def on_publish(data: Any, topic: str = topic) -> None:
            raw = raws[topic]
            raw.client.publish(raw.packet(f"{topic}/reply", data.publish_packet.payload))

        raws[topic] = Raw(bench, on_publish, no_delay=no_delay)
        raws[topic].subscribe(f"{topic}/command", 1)
        closers.append(raws[topic].close)

    for protocol in ("mqtt5", "mqtt311"):
        name = "ours" if protocol == "mqtt5" else "ours 3.1.1"
        topic = topics[name] = unique("bench/reply")
        ours = connect(bench.settings(protocol=protocol), credentials=CREDENTIALS)

        def handler(message: Message, topic: str = topic, ours: Any = ours) -> None:
            ours.publish(f"{topic}/reply", message.payload)

        ours.subscribe(f"{topic}/command", handler).wait_granted(WAIT)
        closers.append(ours.close)

    topic = topics["ours, asyncio"] = unique("bench/reply")
    connection = loop.run(open_connection(bench))

    async def async_handler(message: Message, topic: str = topic) -> None:
        await connection.publish(f"{topic}/reply", message.payload)

    async def listen() -> None:
        await connection.subscribe(f"{topic}/command", async_handler).wait_granted(WAIT)

    loop.run(listen())
    closers.append(lambda: loop.run(connection.close()))

    topic = topics["paho"] = unique("bench/reply")
    paho = paho_client(bench)
    paho.on_message = lambda client, _, message: client.publish(f"{topic}/reply", message.payload, qos=1)
    granted: queue.SimpleQueue[bool] = queue.SimpleQueue()
    paho.on_subscribe = lambda *_: granted.put(True)
    paho.subscribe(f"{topic}/command", 1)
    granted.get(timeout=WAIT)
    closers.append(paho.disconnect)
    return topics, closers
