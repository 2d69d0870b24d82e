"""`SqliteOutbox`: what a user passes to `connect()` so that messages survive the process.

The parts behind it: `sqlite_journal.py` (one client id), `sqlite_store.py` (the writer of one file), `sqlite_file.py`
(opening), `sqlite_lock.py`, `sqlite_reserve.py`, `sqlite_schema.py`, `sqlite_rows.py`. None of them is imported before
the first connection opens the outbox.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from .clock import Clock
from .errors import ConfigurationError
from .outbox_values import OutboxLimits, WhenFull

if TYPE_CHECKING:
    from .journal import Journal
    from .sqlite_store import Store

Fsync: TypeAlias = Literal["group", "each", "never"]

_SYNCHRONOUS: Final = {"group": "FULL", "each": "FULL", "never": "NORMAL"}
_CLOSING_SECONDS: Final = 30.0


class SqliteOutbox:
    """Keeps messages in a SQLite file until they are acknowledged, also beyond the end of the process.

    A message is *stored* once its transaction is committed, and it is sent after that. What is stored survives
    `kill -9`, and with the default `fsync` a power cut; what was only accepted does not. The next process that
    connects with the same file and client id sends what is left first, in its order. A message whose acknowledgement
    was not noted in time goes out twice. It reaches 0.5 to 0.9 times the
    messages per second of the memory outbox, and a lone message also waits for its sync.

    - `path`: the file; its directory must exist, on a local disk. Beside it lie `-wal` (SQLite's log), `-lock` and
      `-reserve` (2 MiB set aside, so that a full disk can be emptied). All are readable by their owner only: an
      outbox that others can read is made private, with a warning in the log; a file of another program is not touched.
    - `max_messages`, `max_bytes` (of payload), per connection: what is stored is also held in memory until it is
      acknowledged.
    - `max_age_seconds`: older messages are given up; `None`: no limit. Age and expiry count on while no process runs,
      by the wall clock. Where the clock was not set when a message was accepted, or is not set (or was put back) at
      the next start, its age counts from that start: it may live too long, never too short.
    - `when_full`: `"raise"` refuses new messages with `OutboxFull`, `"drop_oldest"` gives up the oldest ones.
    - `fsync`: `"group"`: all messages that wait are committed together and the disk is told to make them safe: stored
      messages survive a power cut. `"each"`: the same with a commit for every message: slower, and none waits for
      others. `"never"`: commits do not wait for the disk: stored messages survive the process, but a power cut may
      lose the last ones. The file stays sound in all three, as far as the disk keeps its word.

    One object serves any number of connections of one process, one file any number of client ids; messages of a client
    id that never connects again stay in the file. One process, and one object in it, has the file at a time.

    Connecting with it raises `ConfigurationError` with one of these codes, and changes no stored message:
    `outbox_in_use`, `outbox_damaged`, `outbox_newer` (a later version of this package wrote it), `outbox_foreign`
    (another program did), `outbox_lock_failed` (a network file system), `outbox_not_private`, `outbox_unusable` (no
    directory, no permission), `outbox_disk_full`. While it is open, a message that finds no room on the disk fails with
    `OutboxFull`, code `outbox_disk_full`; stored messages still go out, which makes room.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_messages: int = 100_000,
        max_bytes: int = 64 * 1024 * 1024,
        max_age_seconds: float | None = None,
        when_full: WhenFull = "raise",
        fsync: Fsync = "group",
    ) -> None:
        text = os.fspath(path)
        if not text or text == ":memory:" or "\0" in text:
            raise ConfigurationError(
                f"an outbox file needs a path, not {text!r}", what_to_do="for an outbox in memory pass MemoryOutbox()"
            )
        if fsync not in _SYNCHRONOUS:
            raise ConfigurationError(f"fsync must be one of {', '.join(map(repr, _SYNCHRONOUS))}, not {fsync!r}")
        self._limits = OutboxLimits(max_messages, max_bytes, max_age_seconds, when_full)
        self._fsync: Fsync = fsync
        self._path = Path(os.path.realpath(text))
        self._lock = threading.Lock()
        self._store: Store | None = None

    @property
    def limits(self) -> OutboxLimits:
        """What one connection's outbox takes."""
        return self._limits

    @property
    def path(self) -> Path:
        """The file, without symbolic links."""
        return self._path

    def __repr__(self) -> str:
        return f"SqliteOutbox({str(self._path)!r}, fsync={self._fsync!r})"

    def open(self, client_id: str, *, clock: Clock) -> Journal:
        """Open the messages of one client id. Blocks: reads and checks the file. A connection calls this by itself."""
        try:
            from .sqlite_journal import SqliteJournal
        except ImportError as error:  # a Python that was built without it, as for small devices
            raise ConfigurationError(
                f"this Python has no usable sqlite3 module: {error}",
                code="outbox_no_sqlite",
                what_to_do="install the system's package for it (python3-sqlite3 or the like), or use MemoryOutbox()",
            ) from None
        store = self._enter(client_id)
        try:
            return SqliteJournal(store, client_id, clock)
        except BaseException:
            store.leave(client_id)
            raise

    def _enter(self, client_id: str) -> Store:
        from .sqlite_file import OutboxFile
        from .sqlite_store import Store

        with self._lock:
            if self._store is not None and not self._store.forked:
                entered = self._store.enter(client_id)
                if entered:
                    return self._store
                if entered is not None:
                    raise ConfigurationError(
                        f"the messages of client id {client_id!r} in {self._path} are in use by another connection",
                        code="outbox_in_use",
                        client_id=client_id,
                        what_to_do="close the other connection first, or give each client id one connection",
                    )
                self._store.wait_closed(_CLOSING_SECONDS)
            file = OutboxFile(self._path, synchronous=_SYNCHRONOUS[self._fsync])
            store = Store(file, group_messages=1) if self._fsync == "each" else Store(file)
            store.enter(client_id)
            self._store = store
            return store
