"""The durable outbox, each message committed before it is sent, against the one in memory."""

from __future__ import annotations

from harness import CREDENTIALS, Bench, Figure, at_least, payloads, rates, ratio, take_turns, timed, unique
from row_publish import publish_all

from iot_customauth_client import MemoryOutbox, SqliteOutbox, connect

ROW = "SQLite outbox"


def rows(bench: Bench) -> list[Figure]:
    messages = payloads(bench.messages(9_000))
    topic, count = unique("bench/sqlite"), len(messages)
    memory = connect(bench.settings(), credentials=CREDENTIALS, outbox=MemoryOutbox(max_messages=count + 1))
    file = bench.directory / f"{unique('outbox')}.db"
    durable = connect(bench.settings(), credentials=CREDENTIALS, outbox=SqliteOutbox(file, max_messages=count + 1))
    samples = take_turns(
        {
            "memory": lambda: timed(count, lambda: publish_all(memory, topic, messages)),
            "sqlite": lambda: timed(count, lambda: publish_all(durable, topic, messages)),
        },
        bench.repetitions,
    )
    rates(samples)
    memory.close()
    durable.close()
    return [at_least(ROW, ratio(samples["sqlite"], samples["memory"]), 0.5, 0.8, of="memory outbox")]
