"""One `publish().result()` after the other: what a message costs when nothing can be gathered."""

from __future__ import annotations

from harness import CREDENTIALS, WAIT, Bench, Figure, Raw, at_least, payloads, rates, ratio, take_turns, timed, unique

from iot_customauth_client import connect

ROW = "lone publish().result()"
SHORTER = 20


def rows(bench: Bench) -> list[Figure]:
    # In short turns: whether the threads sleep on one core or on two makes a factor of two, and lasts for seconds.
    messages = payloads(bench.messages(3_000) // SHORTER)
    topic, count = unique("bench/lone"), len(messages)
    raw = Raw(bench)
    ours = connect(bench.settings(), credentials=CREDENTIALS)

    def with_raw() -> None:
        for payload in messages:
            raw.client.publish(raw.packet(topic, payload)).result(WAIT)

    def with_ours() -> None:
        for payload in messages:
            ours.publish(topic, payload).result(WAIT)

    samples = take_turns(
        {"raw": lambda: timed(count, with_raw), "ours": lambda: timed(count, with_ours)}, bench.repetitions * SHORTER
    )
    rates(samples)
    ours.close()
    raw.close()
    return [at_least(ROW, ratio(samples["ours"], samples["raw"]), 0.75, 0.95, of="raw")]
