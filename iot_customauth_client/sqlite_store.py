"""The one writer of an open outbox file: it commits in groups what the journals of all client ids have to say.

The idea
--------
Publishers never wait for the disk. A journal keeps what it is told in queues and puts itself on a list; the writer's
thread takes everything from the listed journals, writes it in one transaction, and tells each journal. What arrives
meanwhile makes the next group: the slower the disk, the larger the groups, without a timer.

What is settled only makes the file smaller, so it never costs a transaction of its own while messages come: it
goes with the next group, or after half a second of rest. A process killed before that sends it again: at least once.

::

    journal.add / settled  -->  its queues  -->  BEGIN, INSERT, DELETE, COMMIT  -->  journal.committed
                                                        | no room
                                                        +--> let the reserve go, delete, fold the log in, take the
                                                             reserve back, insert again; else journal.rejected

The thread ends after a few seconds without work and starts again with it. The database belongs to whoever holds
`_database`. The file is closed when the last journal has left, also by garbage collection.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from .errors import CustomAuthError, OperationError, OutboxFull
from .sqlite_file import OutboxFile, disk_is_full, translate
from .sqlite_rows import INSERT

if TYPE_CHECKING:
    from .sqlite_journal import Group, SqliteJournal

_log = logging.getLogger("iot_customauth_client.outbox")

_GROUP_MESSAGES: Final = 1_000
_GROUP_BYTES: Final = 384 * 1024
_PAGE_BYTES: Final = 4096
_ROW_BYTES: Final = 1024
_PIECE_MESSAGES: Final = 64
_REST_SECONDS: Final = 0.5
_IDLE_RESTS: Final = 6
_DELETE: Final = "DELETE FROM message WHERE number BETWEEN ? AND ?"


class _NoReserve(sqlite3.OperationalError):
    """There is no room to set the reserve aside: the disk counts as full before it is."""


class Store:
    """An open file and its writer; at most `group_messages` messages share one transaction."""

    def __init__(self, file: OutboxFile, *, group_messages: int = _GROUP_MESSAGES) -> None:
        self.file = file
        self.forked = False
        self._group_messages = group_messages
        self._database = threading.Lock()
        self._wake = threading.Condition()  # with an RLock: a journal may be collected while it is held
        self._urgent: list[SqliteJournal] = []
        self._later: list[SqliteJournal] = []
        self._running = False
        self._members: set[str] = set()
        self._leaving: deque[str] = deque()
        self._ending = False
        self._full = False
        self._closed = threading.Event()
        (last_run,) = file.db.execute("SELECT coalesce(max(number), 0) FROM run").fetchone()
        self._last_run = int(last_run)
        _stores.add(self)

    # -- who uses it --------------------------------------------------------------------------------------------------

    def enter(self, client_id: str) -> bool | None:
        """Note a journal; `False` if there is one for this client id, `None` if the store is closing."""
        with self._wake:
            self._note_left()
            if self._ending or self.forked:
                return None
            if client_id in self._members:
                return False
            self._members.add(client_id)
            return True

    def leave(self, client_id: str) -> None:
        """Forget a journal; after the last one the file is closed. Also called by the garbage collector, anywhere."""
        if self.forked:
            return
        self._leaving.append(client_id)
        with self._wake:
            self._start()
            self._wake.notify()

    def wait_closed(self, timeout: float) -> bool:
        """Wait until the file is closed; at once true while journals are still using it."""
        with self._wake:
            self._note_left()
            if not self._ending:
                return True
            orphaned, self._running = not self._running and not self._closed.is_set(), True
        if orphaned:
            self._finish()
        return self._closed.wait(timeout)

    def _note_left(self) -> None:
        while self._leaving:
            self._members.discard(self._leaving.popleft())
            self._ending = not self._members

    def next_run(self) -> int:
        """Return a number for one opening of one client id's messages."""
        with self._wake:
            self._last_run += 1
            return self._last_run

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the database to a thread that may block."""
        with self._database:
            try:
                yield self.file.db
            except sqlite3.Error as error:
                raise translate(error, self.file.path) from None

    # -- what there is to write ---------------------------------------------------------------------------------------

    def list_urgent(self, journal: SqliteJournal) -> None:
        """Write what this journal has, as soon as possible."""
        with self._wake:
            self._urgent.append(journal)
            self._start()
            self._wake.notify()

    def list_later(self, journal: SqliteJournal) -> None:
        """Write what this journal has with the next group, or after a rest."""
        with self._wake:
            self._later.append(journal)
            self._start()

    def write_here(self) -> None:
        """Write what there is on this thread, if there can be no other: the interpreter is ending."""
        with self._wake:
            running = self._running
        if not running:
            self._write_some(everything=True)

    def _start(self) -> None:
        if self._running:
            return
        self._running = True
        try:
            threading.Thread(target=self._run, name="iot-customauth-outbox", daemon=True).start()
        except RuntimeError:
            self._running = False  # no thread to be had: the next call tries again, and close() writes by itself

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        rests = 0
        while True:
            with self._wake:
                self._note_left()
                rested = False
                if not self._urgent and not self._ending:
                    rested = not self._wake.wait(_REST_SECONDS)
                    rests += rested
                if self._ending and not self._urgent and not self._later:
                    break  # for good: `_running` stays true, so that no other thread starts
                if rests > _IDLE_RESTS and not self._urgent and not self._later and not self._leaving:
                    self._running = False
                    return
            if self._write_some(everything=rested or self._ending):
                rests = 0
        self._finish()

    def _finish(self) -> None:
        with self._database:
            self.file.close()
        self._closed.set()

    def _write_some(self, *, everything: bool) -> bool:
        """Write one group; `False` if there was nothing to write."""
        with self._wake:
            if not self._urgent and not everything:
                return False
            journals, self._urgent, self._later = [*self._urgent, *self._later], [], []
        with self._database:
            groups = list(self._groups(journals))
            try:
                failure = self._write(groups)
            except Exception as error:  # noqa: BLE001 - whatever it is, the other messages of the process must go on
                _log.exception("writing to the outbox %s failed", self.file.path)
                failure = self._failure(error)
        for group in groups:
            group.end(failure)
        return bool(journals)

    def _groups(self, journals: Iterable[SqliteJournal]) -> Iterator[Group]:
        messages, size = self._group_messages, _GROUP_BYTES
        for journal in journals:
            group = journal.take(messages, size)
            messages -= len(group.rows)
            size -= group.payload_bytes
            yield group

    def _write(self, groups: list[Group]) -> CustomAuthError | None:
        error: sqlite3.Error | None = None
        inserting = any(group.rows for group in groups)
        if inserting and (self.file.log_is_long() or not self.file.reserve.take()):
            error = self._make_room(groups)
        else:
            error = self._transact(groups, rows=inserting)
            if error is not None:
                error = self._make_room(groups)
        if inserting and error is None and self._full:
            self._full = False
            _log.warning("there is room again for the outbox %s", self.file.path)
        return None if error is None else self._failure(error)

    def _make_room(self, groups: list[Group]) -> sqlite3.Error | None:
        """Write after a failure, or without a reserve: first what makes the file smaller, then new messages."""
        reserve = self.file.reserve
        reserve.let_go()
        self._fold_log()
        error = self._delete_in_pieces(groups) or self._transact(groups, rows=False)
        self._fold_log()
        if not any(group.rows for group in groups):
            return error
        if error is None and self._fits_in_free_pages(groups):
            error = self._transact(groups, rows=True)
            self._fold_log()
            return error
        if not reserve.take() or self.file.log_is_long():
            return error or _NoReserve()
        return self._transact(groups, rows=True)

    def _fits_in_free_pages(self, groups: list[Group]) -> bool:
        """Whether new messages do not make the file larger: then only the log takes room, and not for long."""
        needed = sum(group.payload_bytes + _ROW_BYTES * len(group.rows) for group in groups)
        (free,) = self.file.db.execute("PRAGMA freelist_count").fetchone()
        return bool(needed < free * _PAGE_BYTES / 2)

    def _delete_in_pieces(self, groups: list[Group]) -> sqlite3.Error | None:
        """Delete with so little log at a time that the room of the reserve is enough."""
        for group in groups:
            while group.ranges:
                first, last = group.ranges[0]
                end = min(last, first + _PIECE_MESSAGES - 1)
                try:
                    self.file.db.execute(_DELETE, (first, end))
                except sqlite3.Error as error:
                    return error
                group.ranges[:1] = [] if end == last else [(end + 1, last)]
                self._fold_log()
        return None

    def _transact(self, groups: list[Group], *, rows: bool) -> sqlite3.Error | None:
        """Write in one transaction what is not written yet; return the error if nothing was."""
        db = self.file.db
        try:
            db.execute("BEGIN IMMEDIATE")
            for group in groups:
                if rows and group.rows:
                    group.journal.note_run(db)
                    db.executemany(INSERT, group.rows)
                if group.ranges:
                    db.executemany(_DELETE, group.ranges)
                group.write_memos(db)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            return error
        for group in groups:
            group.written(rows=rows)
        return None

    def _fold_log(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.file.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _failure(self, error: Exception) -> CustomAuthError:
        path = self.file.path
        if isinstance(error, sqlite3.Error) and (isinstance(error, _NoReserve) or disk_is_full(error)):
            if not self._full:
                self._full = True
                _log.warning("there is no room on the disk for the outbox %s: messages are refused", path)
            return OutboxFull(
                f"the message was not stored: there is no room on the disk of the outbox {path}",
                code="outbox_disk_full",
                likely_causes=["the disk is full", "a quota or a limit for the size of files is reached"],
                what_to_do="make room on that disk (df shows it); what was stored before is safe and still goes out",
            )
        reason = str(error) if isinstance(error, sqlite3.Error) else type(error).__name__
        return OperationError(
            f"the message was not stored: writing to the outbox {path} failed: {reason}",
            code="outbox_write_failed",
            likely_causes=["the disk or SD card fails: see the kernel's log (dmesg)"],
            what_to_do="what was stored before still goes out; if it is gone after a restart, restore the disk",
        )


# -- fork -------------------------------------------------------------------------------------------------------------

_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_stores):
        store.forked = True
        store.file.disown()
    _stores.clear()


_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)  # not on Windows
if _register is not None:
    _register(after_in_child=_after_fork)


def deadline_after(timeout: float) -> Callable[[], float]:
    """Return a function that gives the seconds left of `timeout`."""
    end = time.monotonic() + timeout
    return lambda: max(0.0, end - time.monotonic())
