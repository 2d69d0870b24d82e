"""Opening the file of a durable outbox: alone, private, sound and of today's schema; or an error that says why not.

Nothing here deletes or overwrites a message. A file that cannot be used stays as it is.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import stat
from pathlib import Path
from typing import Final

from .errors import ConfigurationError
from .sqlite_lock import FileLock, in_use, lock_failed
from .sqlite_reserve import Reserve
from .sqlite_schema import APPLICATION_ID, VERSION, migrate

_log = logging.getLogger("iot_customauth_client.outbox")

_LOG_PAGES: Final = 256
_LOG_BYTES: Final = 4 * 1024 * 1024
_MAGIC: Final = b"SQLite format 3\0"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


class OutboxFile:
    """An open database and its lock. Raises `ConfigurationError`; see `SqliteOutbox` for the codes."""

    def __init__(self, path: Path, *, synchronous: str) -> None:
        self.path = path
        try:
            if path.exists() and not path.is_file():
                raise IsADirectoryError if path.is_dir() else OSError(errno.EINVAL, "it is not a regular file")
            self._lock = FileLock(path)
        except OSError as error:
            raise _unusable(path, error) from None
        try:
            _prepare(path)
            self.db = _connect(path, synchronous)
        except BaseException as error:
            self._lock.release()
            if isinstance(error, sqlite3.Error):
                raise translate(error, path) from None
            if isinstance(error, OSError):
                raise _unusable(path, error) from None
            raise
        self.reserve = Reserve(path)
        self._log_path = path.with_name(path.name + "-wal")

    def log_is_long(self) -> bool:
        """Whether the write-ahead log could not be folded into the database for a while."""
        try:
            return self._log_path.stat().st_size > _LOG_BYTES
        except OSError:
            return False

    def close(self) -> None:
        """Fold the log in, close, and let the next one in."""
        with contextlib.suppress(sqlite3.Error):  # a full disk: the log stays beside the database, whole
            self.db.close()
        self._lock.release()

    def disown(self) -> None:
        """In a forked child: never touch the database again, not even to close it; the parent goes on with it.

        Closing would fold the parent's log in and delete it. Python closes a connection that nobody refers to, at the
        latest when the child ends; so one reference more is counted than there are.
        """
        self._lock.release()
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.db))


def _prepare(path: Path) -> None:
    """See that there is a regular file that only its owner can read; SQLite gives its log the same mode."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        pass
    else:
        os.close(descriptor)
        _sync_directory(path.parent)
    log = path.with_name(path.name + "-wal")
    if not path.stat().st_size and log.exists() and log.stat().st_size:
        raise _damaged(path, "it is empty, but its log is not")
    if not _is_of_others(path):
        for each in (path, log):
            with contextlib.suppress(FileNotFoundError):
                _make_private(each)


def _is_of_others(path: Path) -> bool:
    """Whether it is a file of another program, which is refused soon: then its mode is none of our business.

    A path may be mistyped, and the program may be root: /etc/passwd must stay readable.
    """
    with path.open("rb") as file:
        header = file.read(100)
    return bool(header) and not (header.startswith(_MAGIC) and header[68:72] == APPLICATION_ID.to_bytes(4, "big"))


def _make_private(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & _OTHERS:
        return
    try:
        path.chmod(mode & ~_OTHERS)
    except OSError as error:
        raise ConfigurationError(
            f"the outbox {path} can be read by other users (mode {mode:04o}), and that cannot be changed: "
            f"{error.strerror}",
            code="outbox_not_private",
            what_to_do="let the user that runs this program own the file, with mode 0600: it holds what you publish",
        ) from None
    _log.warning("the outbox %s could be read by other users (mode %04o); it is private now", path, mode)


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can; those that cannot keep names safe otherwise
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
    try:
        # Exclusive: no shared-memory file, and tools such as sqlite3 are kept out while messages are on their way.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = _version(db, path)
        if not version:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA secure_delete = OFF")  # wiping what is deleted is much to write, for a private file
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _damaged(path, " ".join(verdict.split()))
        if version < VERSION:
            migrate(db, version)
            if version:
                _log.info("the outbox %s was brought from schema %d to %d", path, version, VERSION)
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk: they go next time
            db.execute("DELETE FROM run WHERE number NOT IN (SELECT run FROM message)")
    except BaseException:
        db.close()
        raise
    return db


def _version(db: sqlite3.Connection, path: Path) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    if pages and application != APPLICATION_ID:
        raise ConfigurationError(
            f"{path} is a SQLite database, but not an outbox: another program made it",
            code="outbox_foreign",
            what_to_do="give the outbox a path of its own",
        )
    if version > VERSION:
        raise ConfigurationError(
            f"the outbox {path} has schema {version}; this version of the package knows up to {VERSION}",
            code="outbox_newer",
            likely_causes=["a newer version of the package wrote it, and was then replaced by this older one"],
            what_to_do="install the newer version again, or move the file aside; nothing in it was changed",
        )
    return int(version)


def _damaged(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"the outbox {path} is damaged: {what}",
        code="outbox_damaged",
        likely_causes=[
            "the disk or SD card fails, or power was cut while it was writing",
            "another program wrote to it",
        ],
        what_to_do=f"move {path.name} and {path.name}-wal aside together and start again: a new outbox is made; "
        "nothing was deleted, and `sqlite3 OLD .recover` may still get messages out of the old one",
    )


def damaged_message(path: Path) -> ConfigurationError:
    """Return the error for a message whose checksum is wrong."""
    return _damaged(path, "a stored message is not what was written")


def translate(error: sqlite3.Error, path: Path) -> ConfigurationError:
    """Say what an error of SQLite means for somebody who wants to open the file."""
    code, name = _primary(error), getattr(error, "sqlite_errorname", None) or ""
    if isinstance(error, sqlite3.OperationalError) and not name:  # of Python's module: a text that is not UTF-8
        return damaged_message(path)
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return _damaged(path, "it is not a database" if code == sqlite3.SQLITE_NOTADB else str(error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return in_use(path, None)
    if code in (sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOLFS) or "LOCK" in name:
        return lock_failed(path, str(error))
    if disk_is_full(error):
        return _no_room(path)
    return ConfigurationError(f"the outbox {path} cannot be opened: {error}", code="outbox_unusable")


def _no_room(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"the outbox {path} cannot be set up: the disk is full",
        code="outbox_disk_full",
        what_to_do="make room on that disk (df shows it), or put the outbox on another one",
    )


def disk_is_full(error: sqlite3.Error) -> bool:
    """Whether there was no room: on the disk, within a quota, or within the largest size that a file may have.

    SQLite reports the last two as failed writes, and does not tell why a write failed.
    """
    full = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_SHMSIZE)
    return _primary(error) == sqlite3.SQLITE_FULL or getattr(error, "sqlite_errorcode", None) in full


def _primary(error: sqlite3.Error) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _unusable(path: Path, error: OSError) -> ConfigurationError:
    directory = path.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _no_room(path)
    if path.is_dir():
        message, what_to_do = f"the outbox {path} is a directory", "give a file in it, such as outbox.db"
    elif error.errno == errno.EINVAL:
        message, what_to_do = f"the outbox {path} cannot be used: {error.strerror}", "give a path of its own"
    elif not directory.is_dir():
        message = f"the outbox {path} cannot be made: there is no directory {directory}"
        what_to_do = f"make the directory first: mkdir -p {directory}"
    else:
        message = f"the outbox {path} cannot be written: {error.strerror}"
        what_to_do = (
            f"the user that runs this program must be able to write in {directory}: beside the file lie its log, its "
            "lock and its reserve"
        )
    return ConfigurationError(message, code="outbox_unusable", what_to_do=what_to_do)
