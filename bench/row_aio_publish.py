"""asyncio publish with QoS 1: 500 workers that await each message, against raw awscrt with threads, and aiomqtt."""

from __future__ import annotations

import asyncio
from typing import Any

from harness import (
    CREDENTIALS,
    Bench,
    Figure,
    Loop,
    Raw,
    aiomqtt_client,
    at_least,
    payloads,
    rates,
    ratio,
    take_turns,
    timed,
    unique,
)
from row_publish import aiomqtt_publish

from iot_customauth_client import aio

ROW = "asyncio publish QoS 1"


async def publish_all(connection: aio.Connection, topic: str, messages: list[bytes]) -> None:
    shared = iter(messages)

    async def work() -> None:
        for payload in shared:
            await connection.publish(topic, payload)

    await asyncio.gather(*(work() for _ in range(500)))


async def open_connection(bench: Bench, **arguments: Any) -> aio.Connection:
    return await aio.connect(bench.settings(), credentials=CREDENTIALS, **arguments)


def rows(bench: Bench) -> list[Figure]:
    messages = payloads(bench.messages(15_000))
    topic, count = unique("bench/aio-publish"), len(messages)
    raw, loop, theirs = Raw(bench), Loop(), Loop()
    ours = loop.run(open_connection(bench))
    aiomqtt = theirs.run(aiomqtt_client(bench))
    samples = take_turns(
        {
            "raw": lambda: timed(count, lambda: raw.publish_sem(topic, messages)),
            "ours": lambda: timed(count, lambda: loop.run(publish_all(ours, topic, messages))),
            "aiomqtt": lambda: timed(count, lambda: theirs.run(aiomqtt_publish(aiomqtt, topic, messages))),
        },
        bench.repetitions,
    )
    rates(samples)
    loop.run(ours.close())
    theirs.run(aiomqtt.__aexit__(None, None, None))
    raw.close()
    loop.close()
    theirs.close()
    return [
        at_least(ROW, ratio(samples["ours"], samples["raw"]), 0.7, 1.0, of="raw"),
        at_least(ROW, ratio(samples["ours"], samples["aiomqtt"]), 2, 3, of="aiomqtt"),
    ]
