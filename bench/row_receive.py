"""Receiving in the sync face, by an iterator and by a handler, against a raw callback that only counts."""

from __future__ import annotations

import threading
from collections.abc import Callable

from harness import CREDENTIALS, WAIT, Bench, Figure, Raw, at_least, rates, ratio, take_turns, timed, unique
from sender import Sender

from iot_customauth_client import Message, connect


class Counter:
    """Counts to a number, then tells."""

    def __init__(self) -> None:
        self._left = 0
        self._complete = threading.Event()

    def expect(self, count: int) -> None:
        self._left = count
        self._complete.clear()

    def __call__(self, _: object) -> None:
        self._left -= 1
        if not self._left:
            self._complete.set()

    def wait(self) -> None:
        assert self._complete.wait(WAIT), f"{self._left} messages are missing"


def rows(bench: Bench) -> list[Figure]:
    sender = Sender(bench)
    figures = []
    for qos in (0, 1):
        figures += _with_qos(bench, sender, qos)
    sender.close()
    return figures


def _with_qos(bench: Bench, sender: Sender, qos: int) -> list[Figure]:
    count = bench.messages(20_000)
    topics = {name: unique("bench/receive") for name in ("raw", "handler", "iterator")}
    raw_counter, handler_counter = Counter(), Counter()
    raw = Raw(bench, raw_counter)
    raw.subscribe(topics["raw"], qos)
    ours = connect(bench.settings(), credentials=CREDENTIALS)

    def handler(message: Message) -> None:
        handler_counter(message)

    handled = ours.subscribe(topics["handler"], handler, qos=qos, max_queued=2 * count)
    iterated = ours.subscribe(topics["iterator"], qos=qos, max_queued=2 * count)
    handled.wait_granted(WAIT)
    iterated.wait_granted(WAIT)

    def counted(name: str, counter: Counter) -> Callable[[], float]:
        def run() -> None:
            counter.expect(count)
            sender.start(topics[name], count, qos)
            counter.wait()

        return lambda: _finish(sender, timed(count, run))

    def iterate() -> None:
        sender.start(topics["iterator"], count, qos)
        for _, _message in zip(range(count), iterated, strict=False):
            pass

    samples = take_turns(
        {
            "raw": counted("raw", raw_counter),
            "handler": counted("handler", handler_counter),
            "iterator": lambda: _finish(sender, timed(count, iterate)),
        },
        bench.repetitions,
    )
    rates(samples)
    ours.close(drain=False)
    raw.close()
    return [
        at_least(f"receive QoS {qos}, {name}", ratio(samples[name], samples["raw"]), 0.65, 0.9, of="raw")
        for name in ("iterator", "handler")
    ]


def _finish(sender: Sender, rate: float) -> float:
    sender.finish()
    return rate
