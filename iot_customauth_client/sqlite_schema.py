"""The tables of a durable outbox, and how older files become today's.

A new file goes through the same steps as an old one, so there is one way to a table. Every step runs in the one
transaction of `migrate`: a process killed in between leaves the file as it was. A step that has been released is never
changed; what is new is a new step.

- `client`: a small number for each client id.
- `message`: its `number` is the client's number times 2**40 plus a count: so the messages of a client id lie together
  and in order without an index, and what is settled goes in ranges.
- `run`: one opening by one process. `message.accepted` is on that process's monotonic clock; `wall_offset` is what to
  add for the wall clock. It is corrected while the process runs: a device may get its time only after it has published.
- `memo`: short texts beyond a process, such as when to connect next.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Final
from zlib import crc32

APPLICATION_ID: Final = 0x494F5442
"""Written into the file's header, to tell an outbox from the database of another program."""
NUMBERS_PER_CLIENT: Final = 1 << 40

_FIRST: Final = (
    "CREATE TABLE client (number INTEGER PRIMARY KEY, client_id TEXT NOT NULL UNIQUE)",
    "CREATE TABLE run (number INTEGER PRIMARY KEY, wall_offset REAL NOT NULL)",
    """CREATE TABLE message (
        number INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        accepted REAL NOT NULL,
        qos INTEGER NOT NULL,
        retain INTEGER NOT NULL,
        expiry INTEGER,
        topic TEXT NOT NULL,
        payload BLOB NOT NULL,
        properties TEXT
    )""",
    "CREATE TABLE memo (client INTEGER, name TEXT, value TEXT NOT NULL, PRIMARY KEY (client, name)) WITHOUT ROWID",
)


def checksum_of(topic: str, payload: bytes, properties: str | None) -> int:
    """Return what shows a flipped bit: SQLite itself checks the structure of its pages, not what is in them."""
    checksum = crc32(payload, crc32(topic.encode()))
    return checksum if properties is None else crc32(properties.encode(), checksum)


def _create(db: sqlite3.Connection) -> None:
    for statement in _FIRST:
        db.execute(statement)


def _add_checksums(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE message ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0")
    rows = db.execute("SELECT number, topic, payload, properties FROM message")
    sums = [(checksum_of(topic, payload, properties), number) for number, topic, payload, properties in rows]
    db.executemany("UPDATE message SET checksum = ? WHERE number = ?", sums)


_STEPS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (_create, _add_checksums)
"""Step n makes version n + 1 of version n."""

VERSION: Final = len(_STEPS)


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring a file of an older `version` (0: empty) to `VERSION`, wholly or not at all."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in _STEPS[version:]:
            step(db)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
