"""Receiving with `async for`: ours against aiomqtt."""

from __future__ import annotations

from typing import Any

from harness import Bench, Figure, Loop, aiomqtt_client, at_least, rates, ratio, take_turns, timed, unique
from row_aio_publish import open_connection
from sender import Sender

BUDGETS = {0: (2.0, 4.0), 1: (1.2, 2.5)}


async def count_to(count: int, messages: Any) -> None:
    left = count
    async for _ in messages:
        left -= 1
        if not left:
            return


def rows(bench: Bench) -> list[Figure]:
    sender = Sender(bench)
    figures = [_with_qos(bench, sender, qos) for qos in BUDGETS]
    sender.close()
    return figures


def _with_qos(bench: Bench, sender: Sender, qos: int) -> Figure:
    count = bench.messages(15_000)
    topic, their_topic = unique("bench/aio-receive"), unique("bench/aio-receive")
    loop, theirs = Loop(), Loop()
    connection = loop.run(open_connection(bench))

    async def subscribe() -> Any:
        return await connection.subscribe(topic, qos=qos, max_queued=2 * count).__aenter__()

    messages = loop.run(subscribe())
    aiomqtt = theirs.run(aiomqtt_client(bench))
    theirs.run(aiomqtt.subscribe(their_topic, qos=qos))

    def run(where: Loop, name: str, source: Any) -> float:
        def receive() -> None:
            sender.start(name, count, qos)
            where.run(count_to(count, source))

        rate = timed(count, receive)
        sender.finish()
        return rate

    samples = take_turns(
        {
            "ours": lambda: run(loop, topic, messages),
            "aiomqtt": lambda: run(theirs, their_topic, aiomqtt.messages),
        },
        bench.repetitions,
    )
    rates(samples)
    loop.run(connection.close(drain=False))
    theirs.run(aiomqtt.__aexit__(None, None, None))
    loop.close()
    theirs.close()
    must, aim = BUDGETS[qos]
    return at_least(f"asyncio receive QoS {qos}", ratio(samples["ours"], samples["aiomqtt"]), must, aim, of="aiomqtt")
