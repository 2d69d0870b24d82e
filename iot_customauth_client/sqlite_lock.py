"""One process at a time for the file of a durable outbox.

The lock is the kernel's, on a small file beside the database: it ends with its process, however that ends, so a lock
left behind cannot exist. The file also holds the process id, only for the message to whoever comes second. It is a
file of its own since closing the database file once, anywhere in this process, would drop SQLite's own locks on it.
It is never deleted: a second process could hold the deleted one, and a third lock a new one.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from .errors import ConfigurationError

if sys.platform != "win32":
    import fcntl


class FileLock:
    """Held from the constructor to `release()`. Raises `ConfigurationError` if another holds it, or if it cannot be."""

    def __init__(self, database: Path) -> None:
        self._descriptor: int | None = None
        path = database.with_name(database.name + "-lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor, database)
            with contextlib.suppress(OSError):  # a full disk: only the number for a message is missing then
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Let the next one in. In a forked child this only lets go of the child's copy: the parent's lock stands."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int, database: Path) -> None:
    if sys.platform == "win32":
        return  # SQLite's own exclusive lock is all there is
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise in_use(database, _holder(descriptor)) from None
    except OSError as error:
        raise lock_failed(database, error.strerror or str(error)) from None


def _holder(descriptor: int) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(os.pread(descriptor, 32, 0))
    return None


def in_use(database: Path, holder: int | None) -> ConfigurationError:
    """Return the error for a file that somebody else has open; `holder` is the process id, if known."""
    if holder == os.getpid():
        return ConfigurationError(
            f"the outbox {database} is open in this process already, in another SqliteOutbox",
            code="outbox_in_use",
            what_to_do="make one SqliteOutbox for the file and pass it to every connection",
        )
    who = "another process" if holder is None else f"another process (pid {holder})"
    return ConfigurationError(
        f"the outbox {database} is in use by {who}",
        code="outbox_in_use",
        likely_causes=["a second copy of this program is running", "a tool such as sqlite3 has the file open"],
        what_to_do="end the other process, or give each process a file of its own",
    )


def lock_failed(database: Path, reason: str) -> ConfigurationError:
    """Return the error for a file system that cannot lock."""
    return ConfigurationError(
        f"the outbox {database} cannot be locked: {reason}",
        code="outbox_lock_failed",
        likely_causes=["the file is on a network file system (NFS, SMB) that has no locks"],
        what_to_do="put the outbox on a local disk: without locks two processes could damage it",
    )
