"""A message as a row and back, and how old it is in a process that did not see it accepted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from .clock import Clock
from .errors import CustomAuthError
from .messages import PublishResult
from .outgoing import Outgoing
from .sqlite_schema import NUMBERS_PER_CLIENT, checksum_of

Row: TypeAlias = tuple[int, int, float, int, bool, int | None, str, bytes, str | None, int]

INSERT: Final = """INSERT INTO message
    (number, run, accepted, qos, retain, expiry, topic, payload, properties, checksum)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_NONE_GIVEN: Final = (None, None, None)

_SELECT: Final = """SELECT
    message.number, accepted, wall_offset, qos, retain, expiry, topic, payload, properties, checksum
    FROM message LEFT JOIN run ON run.number = message.run
    WHERE message.number BETWEEN ? AND ? ORDER BY message.number"""

_CLOCK_NOT_SET: Final = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
"""A wall clock that shows less was not set: there was no outbox at that time."""


class _Silent:
    def resolve(self, result: PublishResult) -> None:
        """Nobody waits."""

    def reject(self, error: CustomAuthError) -> None:
        """Nobody waits."""


SILENT: Final = _Silent()
"""The promise of a message whose publisher was another process."""


def row_of(entry: Outgoing, number: int, run: int) -> Row:
    """Return what is stored. Raises `TypeError` or `ValueError` for what MQTT could not carry either."""
    given = (entry.content_type, entry.response_topic, entry.correlation_data)
    properties = _pack(entry) if given != _NONE_GIVEN or entry.user_properties else None
    return (
        number,
        run,
        entry.accepted_at,
        entry.qos,
        entry.retain,
        entry.expiry_seconds,
        entry.topic,
        entry.payload,
        properties,
        checksum_of(entry.topic, entry.payload, properties),
    )


def _pack(entry: Outgoing) -> str:
    correlation = entry.correlation_data
    return json.dumps(
        [
            entry.content_type,
            entry.response_topic,
            None if correlation is None else correlation.hex(),
            entry.user_properties,
        ],
        ensure_ascii=False,
    )


def _unpack(properties: str) -> dict[str, Any]:
    content_type, response_topic, correlation, user_properties = json.loads(properties)
    return {
        "content_type": content_type,
        "response_topic": response_topic,
        "correlation_data": None if correlation is None else bytes.fromhex(correlation),
        "user_properties": tuple((name, value) for name, value in user_properties),
    }


def stored_messages(db: sqlite3.Connection, client: int, clock: Clock) -> Iterator[tuple[int, Outgoing | None]]:
    """Give each stored message of a client with its number, in order; `None` for one that is not what was written."""
    wall, monotonic = clock.now().timestamp(), clock.monotonic()
    first = client * NUMBERS_PER_CLIENT
    for row in db.execute(_SELECT, (first, first + NUMBERS_PER_CLIENT - 1)):
        number = row[0]
        try:
            yield number, _message_of(row, wall, monotonic)
        except (TypeError, ValueError, AttributeError):  # one bit of a row also says whether a value is text or bytes
            yield number, None


def _message_of(row: tuple[Any, ...], wall: float, monotonic: float) -> Outgoing | None:
    _, accepted, offset, qos, retain, expiry, topic, payload, properties, checksum = row
    if checksum != checksum_of(topic, payload, properties) or qos not in (0, 1):
        return None
    return Outgoing(
        topic,
        payload,
        promise=SILENT,
        accepted_at=monotonic - _age(accepted, offset, wall),
        qos=qos,
        retain=bool(retain),
        expiry_seconds=expiry,
        **({} if properties is None else _unpack(properties)),
    )


def _age(accepted: float, offset: float | None, wall: float) -> float:
    """Return the seconds since a message was accepted; 0 if no clock can tell: it rather lives too long than too short.

    That is so when the clock was never set while the process ran that accepted it, or is not set (or was put back) now.
    """
    if offset is None or accepted + offset < _CLOCK_NOT_SET:
        return 0.0
    return max(0.0, wall - (accepted + offset))
