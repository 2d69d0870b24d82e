"""The log: order, bounds, waiting from threads and from event loops, and how events are printed."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import pytest

from iot_customauth_client.local import events
from iot_customauth_client.local.event_log import EventLog
from iot_customauth_client.local.event_text import event_json, event_line
from iot_customauth_client.local.events import EVENT_KINDS


def published(topic: str, payload: bytes = b"") -> events.Published:
    return events.Published(1, "c", topic, payload, 0, False, False)


def test_events_are_numbered_without_gaps_and_know_their_time() -> None:
    log = EventLog()
    for number in range(3):
        log.append(events.Closed(number))
    assert [event.sequence for event in log] == [1, 2, 3]
    assert all(event.at is not None and event.at.tzinfo is not None for event in log)
    assert [event.sequence for event in log.since(1)] == [2, 3]
    assert log.since(log.since(None)[-1]) == []


def test_the_log_forgets_the_oldest_beyond_its_bounds() -> None:
    log = EventLog(max_events=3)
    for number in range(5):
        log.append(events.Closed(number))
    assert [event.sequence for event in log] == [3, 4, 5]
    assert log.forgotten == 2
    log = EventLog(max_payload_bytes=100)
    for topic in "abc":
        log.append(published(topic, bytes(50)))
    assert [event.topic for event in log.of_kind(events.Published)] == ["b", "c"]
    log.append(published("d", bytes(1000)))
    assert [event.topic for event in log.of_kind(events.Published)] == ["d"]


def test_events_that_happened_at_once_are_the_same_as_one_after_the_other() -> None:
    together, alone = (EventLog(max_events=5, max_payload_bytes=20) for _ in range(2))
    woken: list[str] = []
    with together.waking(lambda: woken.append("any")), together._waking("closed", lambda: woken.append("closed")):
        together.extend([published("one", b"12345678"), events.Closed(1), published("two", b"12345678")])
        together.extend([published(f"more/{number}", b"1234567") for number in range(4)])
    assert woken == ["closed", "any", "any"]
    for topic, payload in (("one", b"12345678"), (None, b""), ("two", b"12345678")):
        alone.append(events.Closed(1) if topic is None else published(topic, payload))
    for number in range(4):
        alone.append(published(f"more/{number}", b"1234567"))
    shown = [{**event.fields(), "at": None} for event in together]
    assert shown == [{**event.fields(), "at": None} for event in alone]
    assert [event.sequence for event in together] == [6, 7]
    assert together.forgotten == alone.forgotten == 5


def test_what_has_happened_already_is_found() -> None:
    log = EventLog()
    log.append(published("a"))
    log.append(published("b", b"x"))
    assert log.wait_for("published", topic="b", timeout=0).sequence == 2
    assert log.wait_for(events.Published, payload=lambda payload: len(payload) == 1, timeout=0).topic == "b"


def test_only_events_after_the_given_one_count() -> None:
    log = EventLog()
    log.append(published("a"))
    first = log.wait_for("published", timeout=0)
    with pytest.raises(TimeoutError):
        log.wait_for("published", after=first, timeout=0.01)
    log.append(published("a"))
    assert log.wait_for("published", after=first, timeout=0).sequence == 2
    assert log.wait_for("published", after=1, timeout=0).sequence == 2


def test_a_thread_is_woken_by_the_event_it_waits_for() -> None:
    log = EventLog()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(log.wait_for, "published", topic="wanted", timeout=5)
        for topic in ("a", "b", "wanted"):
            log.append(published(topic))
        assert waiting.result(5).sequence == 3


def test_a_task_is_woken_from_another_thread_and_its_loop_goes_on_meanwhile() -> None:
    log = EventLog()

    async def wait() -> events.Published:
        waiting = asyncio.create_task(log.wait_for_async(events.Published, topic="wanted", timeout=5))
        await asyncio.sleep(0)
        thread = threading.Thread(target=lambda: [log.append(published(topic)) for topic in ("a", "wanted")])
        thread.start()
        event = await waiting
        thread.join()
        return event

    assert asyncio.run(wait()).topic == "wanted"


def test_a_task_that_gives_up_leaves_nothing_behind() -> None:
    log = EventLog()

    async def wait() -> None:
        with pytest.raises(TimeoutError, match="nothing happened"):
            await log.wait_for_async("published", timeout=0.01)
        waiting = asyncio.create_task(log.wait_for_async("published", timeout=None))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(wait())
    assert not log._waiters
    log.append(published("a"))  # its loop is closed: nobody is called


def test_a_predicate_that_raises_hurts_its_owner_only() -> None:
    log = EventLog()
    log.append(published("a"))
    with pytest.raises(ZeroDivisionError):
        log.wait_for("published", topic=lambda _: 1 / 0, timeout=1)
    log.append(published("b"))
    assert len(log) == 2


@pytest.mark.parametrize(
    ("kind", "fields", "hint"),
    [("publish", {}, "published"), ("published", {"topics": 1}, "topic"), ("connected", {"kind": "x"}, "field")],
)
def test_a_name_that_does_not_exist_is_refused_at_once(kind: str, fields: dict[str, object], hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        EventLog().wait_for(kind, timeout=None, **fields)


def test_a_time_out_shows_what_came_instead_without_payloads() -> None:
    log = EventLog()
    for number in range(9):
        log.append(published(f"topic{number}", b"a secret payload"))
    with pytest.raises(TimeoutError) as caught:
        log.wait_for("published", topic="wanted", payload=b"what I expect", timeout=0.01)
    message = str(caught.value)
    assert "topic='wanted', payload=<13 bytes>" in message
    assert "9 events of this kind did not fit" in message
    assert "topic8" in message
    assert "topic3" not in message
    assert "secret" not in message


def sample(kind: type[events.Event]) -> events.Event:
    """An event with some value in every field."""
    values: dict[str, object] = {
        "str": "text",
        "int": 7,
        "bool": True,
        "float": 0.25,
        "bytes": b"four",
        "Mapping[str, object]": {"a": [1]},
        "tuple[str, ...]": ("a", "b"),
        "tuple[int, ...]": (0, 135),
    }

    def value(annotation: object) -> object:
        name = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
        for known in (name, name.removesuffix(" | None"), str(annotation).replace("collections.abc.", "")):
            if known.removesuffix(" | None") in values:
                return values[known.removesuffix(" | None")]
        return "text"

    names = {each: text for each, text in kind.__annotations__.items() if each != "kind"}
    return kind(**{name: value(annotation) for name, annotation in names.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", EVENT_KINDS.values(), ids=EVENT_KINDS)
def test_every_event_is_one_line_of_text_and_one_json_object(kind: type[events.Event]) -> None:
    log = EventLog()
    log.append(sample(kind))
    (event,) = log
    line = event_line(event)
    assert "\n" not in line
    assert "{" not in line.partition("called with")[0]  # a sentence of its own, not the fields as they are
    told = json.loads(event_json(event))
    assert told["kind"] == event.kind
    assert told["sequence"] == 1
    assert "\n" not in event_json(event)


def test_no_text_of_a_client_can_move_the_cursor_or_begin_a_line() -> None:
    line = event_line(published("evil\x1b[2J\r\nconnected\x9b1m\u2028"))
    assert line.isprintable()
    assert "\\x1b" in line


def test_the_documentation_has_every_kind_with_its_fields() -> None:
    text = (Path(__file__).parents[2] / "docs" / "endpoint-events.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*?) ?\|$", text.partition("## Kinds")[2], re.MULTILINE))
    documented = {kind: re.findall(r"`([a-z_]+)`", rows.get(kind, "")) for kind in EVENT_KINDS}
    common = {"sequence", "at"}
    assert documented == {
        kind: [each.name for each in fields(event) if each.name not in common] for kind, event in EVENT_KINDS.items()
    }
