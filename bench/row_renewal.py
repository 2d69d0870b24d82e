"""Renewal of the credentials under 5,000 messages a second: how long nothing arrives, and what is lost on the way.

A process of its own subscribes with raw awscrt and notes every message with its time. What is measured is the longest
pause between two arrivals while the connection was `RENEWING`.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from itertools import pairwise
from typing import Any

from harness import SPAWN, WAIT, Bench, Figure, Raw, number_of, unique

from iot_customauth_client import Connection, Credentials, SharedCredentials, State, StateChange, connect

ROW = "renewal under 5,000 msg/s"
RATE = 5_000
BETWEEN_SECONDS = 1.6
"""More than a second: CONNECTs of one client id are that far apart."""


def _check(bench: Bench, topic: str, pipe: Any) -> None:
    """Collect numbers and times of arrival until told to stop."""
    arrived: list[tuple[int, float]] = []

    def on_publish(data: Any) -> None:
        arrived.append((number_of(data.publish_packet.payload), time.monotonic()))

    raw = Raw(bench, on_publish)
    raw.subscribe(topic, 1)
    pipe.send("ready")
    expected = pipe.recv()
    deadline = time.monotonic() + WAIT
    while len(arrived) < expected and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # duplicates, if there are any
    pipe.send(arrived)
    raw.close()


def rows(bench: Bench) -> list[Figure]:
    return [figure for protocol in ("mqtt5", "mqtt311") for figure in _with(bench, protocol)]


def _with(bench: Bench, protocol: str) -> list[Figure]:
    renewals = 4 if bench.quick else 12
    topic = unique("bench/renewal")
    pipe, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_check, args=(bench, topic, theirs), daemon=True)
    process.start()
    assert pipe.recv() == "ready"
    fetched = 0

    def fetch() -> Credentials:
        nonlocal fetched
        fetched += 1
        return Credentials.from_password(f"bench-{fetched}", "word", expires_in_seconds=3_600)

    shared = SharedCredentials(fetch, min_interval_seconds=0)
    spans: list[tuple[float, float]] = []
    began: list[float] = []

    def observe(change: StateChange) -> None:
        now = time.monotonic()
        if change.state is State.RENEWING:
            began.append(now)
        elif change.state is State.CONNECTED and began:
            spans.append((began.pop(), now))

    connection = connect(bench.settings(protocol=protocol), credentials=shared, on_state_change=observe)
    sent, failed = _publish_steadily(connection, shared, topic, renewals)
    connection.close()
    pipe.send(sent)
    arrived = pipe.recv()
    process.join(WAIT)
    gaps = sorted(1e3 * _longest_pause(arrived, span) for span in spans)
    numbers = [number for number, _ in arrived]
    lost = sent - len(set(numbers))
    seen: set[int] = set()
    first = [number for number in numbers if not (number in seen or seen.add(number))]  # type: ignore[func-returns-value]
    turned = sum(later < before for before, later in pairwise(first))
    name = f"{ROW}, {protocol}"
    if not gaps:
        return [Figure(name, "gap <= 100 ms", "no renewal happened", False)]
    print(f"    {len(gaps)} renewals, gap p50 {statistics.median(gaps):.1f} ms, longest {gaps[-1]:.1f} ms")
    return [
        Figure(name, "gap <= 100 ms", f"{gaps[-1]:.1f} ms", gaps[-1] <= 100, "<= 20 ms", gaps[-1] <= 20),
        Figure(name, f"lost 0 of {sent}", f"{lost} lost, {failed} failed", lost == failed == 0),
        Figure(name, "reordered 0", f"{turned} reordered", turned == 0),
        Figure(name, "no duplicate", f"{len(numbers) - len(seen)} duplicates", len(numbers) == len(seen)),
    ]


def _publish_steadily(connection: Connection, shared: SharedCredentials, topic: str, renewals: int) -> tuple[int, int]:
    """Publish at the rate and renew now and then; return how many were sent, and how many of them failed."""
    began = time.monotonic()
    total = int(RATE * BETWEEN_SECONDS * (renewals + 1))
    done, failed = 0, 0
    waiting: deque[Any] = deque()
    for number in range(total):
        due = began + number / RATE
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, 0.001))
        if number and number % int(RATE * BETWEEN_SECONDS) == 0:
            done += 1
            shared.renew()
        waiting.append(connection.publish(topic, number.to_bytes(8, "big").ljust(128, b"x")))
        while waiting and waiting[0].done():
            failed += waiting.popleft().exception() is not None
    while waiting:
        failed += waiting.popleft().exception(WAIT) is not None
    return total, failed


def _longest_pause(arrived: list[tuple[int, float]], span: tuple[float, float]) -> float:
    """The longest time without an arrival that has a part in the span, in seconds."""
    begin, end = span
    times = [at for _, at in arrived]
    pauses = (later - before for before, later in pairwise(times) if later > begin and before < end)
    return max(pauses, default=0.0)
