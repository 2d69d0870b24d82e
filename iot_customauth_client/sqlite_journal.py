"""The stored messages of one client id: what it was told, on its way to the writer of the file (`sqlite_store.py`).

Publishers and the native thread append to queues and leave; only the writer's thread, which calls `take` and then the
`Group`, touches numbers and rows. So the hot paths share no lock with the disk.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from .clock import Clock
from .errors import ConfigurationError, ConnectionClosed, CustomAuthError, OperationError
from .journal import NotStored, Stored
from .outgoing import Outgoing
from .sqlite_file import damaged_message
from .sqlite_rows import Row, row_of, stored_messages
from .sqlite_schema import NUMBERS_PER_CLIENT
from .sqlite_store import Store, deadline_after

_log = logging.getLogger("iot_customauth_client.outbox")

T = TypeVar("T")

_MANY_SETTLED: Final = 2_000
_ENDING_SECONDS: Final = 5.0
_CLOCK_MOVED_SECONDS: Final = 1.0
_MEMO: Final = "INSERT OR REPLACE INTO memo (client, name, value) VALUES (?, ?, ?)"
_FORGET: Final = "DELETE FROM memo WHERE client = ? AND name = ?"


class SqliteJournal:
    """A `Journal` (see there) on a shared file. Made by `SqliteOutbox.open`, on a thread that may block."""

    def __init__(self, store: Store, client_id: str, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._stored: Stored | None = None
        self._not_stored: NotStored | None = None
        self._added: deque[Outgoing] = deque()
        self._settled: deque[Outgoing] = deque()
        self._memos: deque[tuple[str, str | None]] = deque()
        self._flushes: deque[threading.Event] = deque()
        self._is_urgent = False
        self._is_later = False
        self._closed = False
        # -- the writer's own
        self._numbers: dict[Outgoing, int] = {}
        self._withdrawn: set[Outgoing] = set()
        self._undeleted: list[int] = []
        self._offset: float | None = None
        self._new_offset: float | None = None
        with store.reading() as db:
            self._client = _client_number(db, client_id)
            memos = db.execute("SELECT name, value FROM memo WHERE client = ?", (self._client,))
            self._remembered: dict[str, str] = dict(memos.fetchall())
        self._run = store.next_run()
        self._next = self._client * NUMBERS_PER_CLIENT
        # At exit the session closes what is open; here it would only be too late for a thread.
        self._leave = weakref.finalize(self, store.leave, client_id)
        self._leave.atexit = False

    # -- what the outbox asks -----------------------------------------------------------------------------------------

    def load(self) -> Sequence[Outgoing]:
        """Return what earlier processes left, in order. Raises `ConfigurationError` if one of them is damaged."""
        entries: list[Outgoing] = []
        try:
            with self._store.reading() as db:
                for number, entry in stored_messages(db, self._client, self._clock):
                    if entry is None:
                        raise damaged_message(self._store.file.path)
                    self._numbers[entry] = number
                    self._next = number + 1
                    entries.append(entry)
        except ConfigurationError:
            self._end(_ENDING_SECONDS)
            raise
        return entries

    def start(self, stored: Stored, not_stored: NotStored) -> None:
        """Begin to write."""
        self._stored, self._not_stored = stored, not_stored

    def add(self, entry: Outgoing) -> None:
        """Store a message soon. Raises `ConnectionClosed` after `close`, `ConfigurationError` in a forked child."""
        if self._closed:
            raise ConnectionClosed("the message was not stored: its connection has closed the outbox")
        self._added.append(entry)
        if not self._is_urgent:
            self._hurry()

    def settled(self, entry: Outgoing) -> None:
        """Forget a message, when there is time."""
        settled = self._settled
        settled.append(entry)
        if not self._is_later:
            self._is_later = True
            if not self._store.forked:
                self._store.list_later(self)
        elif len(settled) > _MANY_SETTLED and not self._is_urgent:
            self._hurry()

    def recall(self, name: str) -> str | None:
        """Return what was remembered under `name`."""
        return self._remembered.get(name)

    def remember(self, name: str, value: str | None) -> None:
        """Remember a text, or with `None` forget it."""
        if value is None:
            self._remembered.pop(name, None)
        else:
            self._remembered[name] = value
        self._memos.append((name, value))
        self._hurry()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was told so far is committed."""
        if self._closed:
            return not self._added
        done = threading.Event()
        self._flushes.append(done)
        self._hurry()
        self._store.write_here()
        return done.wait(timeout)

    def close(self, timeout: float) -> None:
        """Commit, and close the file if nobody else of this process uses it."""
        left = deadline_after(timeout)
        if self._store.forked or self._closed:
            return
        self.flush(left())
        self._end(left())

    def _end(self, timeout: float) -> None:
        self._closed = True
        self._leave()
        self._store.wait_closed(timeout)

    def _hurry(self) -> None:
        if self._store.forked:
            raise ConfigurationError(
                "this outbox was opened before fork(): only the parent process may write to it",
                code="used_after_fork",
                what_to_do="connect after the fork, with an outbox file of its own",
            )
        if not self._closed and not self._is_urgent:
            self._is_urgent = True
            self._store.list_urgent(self)

    # -- what the writer asks -----------------------------------------------------------------------------------------

    def take(self, most_messages: int, most_bytes: int) -> Group:
        """Take what is to be written next: at most so many messages, and messages until there are so many bytes."""
        # First the flags, then the queues: who appends later looks at the flags later, and lists the journal again.
        self._is_urgent = self._is_later = False
        flushes = list(_drain(self._flushes))
        memos = dict(_drain(self._memos))
        deletes, self._undeleted = self._undeleted, []
        for entry in _drain(self._settled):
            known = self._numbers.pop(entry, None)
            if known is not None:
                deletes.append(known)
            else:
                self._withdrawn.add(entry)
        entries, rows, size = self._take_rows(most_messages, most_bytes)
        if self._added:
            self._flushes.extendleft(reversed(flushes))
            flushes = []
            if not self._is_urgent:
                self._is_urgent = True
                self._store.list_urgent(self)
        else:
            self._withdrawn.clear()
        return Group(self, entries, rows, deletes, memos, flushes, size)

    def _take_rows(self, most_messages: int, most_bytes: int) -> tuple[list[Outgoing], list[Row], int]:
        added, withdrawn, numbers, run = self._added, self._withdrawn, self._numbers, self._run
        entries: list[Outgoing] = []
        rows: list[Row] = []
        size, number = 0, self._next
        while added and len(rows) < most_messages and size < most_bytes:
            entry = added.popleft()
            if entry in withdrawn:
                withdrawn.discard(entry)
                continue
            try:
                rows.append(row_of(entry, number, run))
            except (TypeError, ValueError):
                self._refuse(entry)
                continue
            entries.append(entry)
            numbers[entry] = number
            size += len(entry.payload)
            number += 1
        self._next = number
        return entries, rows, size

    def note_run(self, db: sqlite3.Connection) -> None:
        """Store how the wall clock relates to the clock of the messages, when that has changed."""
        offset = self._clock.now().timestamp() - self._clock.monotonic()
        if self._offset is None or abs(offset - self._offset) > _CLOCK_MOVED_SECONDS:
            db.execute("INSERT OR REPLACE INTO run (number, wall_offset) VALUES (?, ?)", (self._run, offset))
            self._new_offset = offset

    def run_noted(self) -> None:
        """What `note_run` wrote is committed."""
        self._offset = self._new_offset

    def committed(self, entries: Sequence[Outgoing]) -> None:
        """Tell that these are stored."""
        if self._stored is not None:
            try:
                self._stored(entries)
            except Exception:  # noqa: BLE001 - somebody else's code on the writer's thread
                _log.exception("telling that messages are stored failed")

    def rejected(self, entries: Sequence[Outgoing], error: CustomAuthError) -> None:
        """Tell that these are not stored."""
        for entry in entries:
            self._numbers.pop(entry, None)
        if self._not_stored is not None:
            try:
                self._not_stored(entries, error)
            except Exception:  # noqa: BLE001 - as above
                _log.exception("telling that messages are not stored failed")

    def put_back(
        self, numbers: Iterable[int], memos: dict[str, str | None], flushes: Iterable[threading.Event]
    ) -> None:
        """Keep for later what could not be written now; after `close` it is left to the next process."""
        if self._closed:
            return
        self._undeleted.extend(numbers)
        self._memos.extendleft(reversed(memos.items()))
        self._flushes.extendleft(flushes)
        if not self._is_later:
            self._is_later = True
            self._store.list_later(self)

    @property
    def client(self) -> int:
        """The number of the client id in this file."""
        return self._client

    def _refuse(self, entry: Outgoing) -> None:
        error = OperationError(
            f"the message to {entry.topic!a} was not stored: its topic or a property holds what UTF-8 or JSON cannot "
            "carry",
            code="outbox_not_storable",
            what_to_do="pass user properties as pairs of str, and texts without lone surrogates",
        )
        self.rejected((entry,), error)


class Group:
    """What one journal puts into one transaction."""

    __slots__ = ("_deletes", "_entries", "_flushes", "_memos", "_shrunk", "journal", "payload_bytes", "ranges", "rows")

    def __init__(
        self,
        journal: SqliteJournal,
        entries: list[Outgoing],
        rows: list[Row],
        deletes: list[int],
        memos: dict[str, str | None],
        flushes: list[threading.Event],
        payload_bytes: int,
    ) -> None:
        self.journal = journal
        self.rows = rows
        self.ranges = _ranges(deletes)
        self.payload_bytes = payload_bytes
        self._entries = entries
        self._deletes = deletes
        self._memos = memos
        self._flushes = flushes
        self._shrunk = not (deletes or memos)

    def write_memos(self, db: sqlite3.Connection) -> None:
        """Write what is to be remembered."""
        for name, value in self._memos.items():
            if value is None:
                db.execute(_FORGET, (self.journal.client, name))
            else:
                db.execute(_MEMO, (self.journal.client, name, value))

    def written(self, *, rows: bool) -> None:
        """It is committed, with or without the new messages."""
        self._shrunk = True
        self.ranges = []
        self._memos = {}
        if rows:
            if self.rows:
                self.journal.run_noted()
            self.rows = []

    def end(self, failure: CustomAuthError | None) -> None:
        """Tell the journal what became of it; `failure` says why new messages were not written."""
        journal, entries = self.journal, self._entries
        if entries and not self.rows:
            journal.committed(entries)
        elif entries and failure is not None:
            journal.rejected(entries, failure)
        if self._shrunk:
            for done in self._flushes:
                done.set()
        else:
            journal.put_back(self._deletes, self._memos, self._flushes)


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Return the numbers as ranges without gaps: what is acknowledged in order goes in one piece."""
    ranges: list[tuple[int, int]] = []
    first = last = -1
    for number in sorted(numbers):
        if number != last + 1:
            if last >= 0:
                ranges.append((first, last))
            first = number
        last = number
    if last >= 0:
        ranges.append((first, last))
    return ranges


def _drain(queue: deque[T]) -> Iterator[T]:
    while queue:
        yield queue.popleft()


def _client_number(db: sqlite3.Connection, client_id: str) -> int:
    db.execute("INSERT OR IGNORE INTO client (client_id) VALUES (?)", (client_id,))
    (number,) = db.execute("SELECT number FROM client WHERE client_id = ?", (client_id,)).fetchone()
    return int(number)
