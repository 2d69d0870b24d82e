"""Sync publish with QoS 1 to the acknowledgement of all: our outbox against raw awscrt, paho and aiomqtt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

from harness import (
    CREDENTIALS,
    WAIT,
    Bench,
    Figure,
    Loop,
    Raw,
    aiomqtt_client,
    at_least,
    number_of,
    paho_client,
    payloads,
    rates,
    ratio,
    take_turns,
    timed,
    unique,
)

from iot_customauth_client import Connection, MemoryOutbox, connect

ROW = "sync publish QoS 1"
ORDERED = 7_000  # messages whose order is looked at


def publish_all(connection: Connection, topic: str, messages: list[bytes]) -> None:
    futures = [connection.publish(topic, payload) for payload in messages]
    for future in futures:
        future.result(WAIT)


def rows(bench: Bench) -> list[Figure]:
    messages = payloads(bench.messages(15_000))
    topic, count = unique("bench/publish"), len(messages)
    outbox = MemoryOutbox(max_messages=max(len(messages), ORDERED) + 1)
    raw, paho, loop = Raw(bench), paho_client(bench), Loop()
    ours = connect(bench.settings(), credentials=CREDENTIALS, outbox=outbox)
    older = connect(bench.settings(protocol="mqtt311"), credentials=CREDENTIALS, outbox=outbox)
    aiomqtt = loop.run(aiomqtt_client(bench))

    def with_paho() -> None:
        for info in [paho.publish(topic, payload, qos=1) for payload in messages]:
            info.wait_for_publish(WAIT)

    variants: dict[str, Callable[[], float]] = {
        "raw": lambda: timed(count, lambda: raw.publish_sem(topic, messages)),
        "burst": lambda: timed(count, lambda: raw.publish_burst(topic, messages)),
        "ours": lambda: timed(count, lambda: publish_all(ours, topic, messages)),
        "ours 3.1.1": lambda: timed(count, lambda: publish_all(older, topic, messages)),
        "paho": lambda: timed(count, with_paho),
        "aiomqtt": lambda: timed(count, lambda: loop.run(aiomqtt_publish(aiomqtt, topic, messages))),
    }
    samples = take_turns(variants, bench.repetitions)
    rates(samples)
    turned = {name: inversions(bench, connection) for name, connection in {"5": ours, "3.1.1": older}.items()}
    ours.close()
    older.close()
    raw.close()
    paho.disconnect()
    paho.loop_stop()
    loop.run(aiomqtt.__aexit__(None, None, None))
    loop.close()
    mine = samples["ours"]
    return [
        at_least(ROW, ratio(mine, samples["raw"]), 1.1, of="raw"),
        Figure(ROW, "as a raw user's best", f"{ratio(mine, samples['burst']):.2f}x burst", None, ">= 1x burst",
               ratio(mine, samples["burst"]) >= 1),
        at_least(ROW, ratio(mine, samples["paho"]), 2.5, 4, of="paho"),
        at_least(ROW, ratio(mine, samples["aiomqtt"]), 2.5, 4, of="aiomqtt"),
        at_least(f"{ROW}, 3.1.1", ratio(samples["ours 3.1.1"], samples["raw"]), 1.1, of="raw (MQTT 5)"),
        *(
            Figure(f"{ROW}: order, MQTT {version}", "0 overtaken", f"{overtaken} overtaken", overtaken == 0)
            for version, overtaken in turned.items()
        ),
    ]  # fmt: skip


async def aiomqtt_publish(client: object, topic: str, messages: list[bytes]) -> None:
    """500 workers that share one iterator."""
    import asyncio

    shared = iter(messages)

    async def work() -> None:
        for payload in shared:
            await client.publish(topic, payload, qos=1)  # type: ignore[attr-defined]

    await asyncio.gather(*(work() for _ in range(500)))


def inversions(bench: Bench, connection: Connection) -> int:
    """How many messages arrive after one that was published later."""
    messages = payloads(ORDERED)
    topic = unique("bench/order")
    arrived: list[int] = []
    complete = threading.Event()

    def on_publish(data: object) -> None:
        arrived.append(number_of(data.publish_packet.payload))  # type: ignore[attr-defined]
        if len(arrived) >= len(messages):
            complete.set()

    checker = Raw(bench, on_publish)
    checker.subscribe(topic, 1)
    publish_all(connection, topic, messages)
    assert complete.wait(WAIT)
    checker.close()
    return sum(later < before for before, later in pairwise(arrived))
