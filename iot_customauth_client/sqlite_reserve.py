"""Disk space set aside, so that a full disk cannot keep an outbox from shrinking.

To delete a message SQLite must first write, and what its log holds needs room in the database before the log can be
cut. On a disk that the outbox itself has filled, nothing could ever be deleted. So some space is held in a file of
its own; it is let go while settled messages are deleted, and taken back before new messages are stored.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

RESERVED_BYTES: Final = 2 * 1024 * 1024
"""More than the log can need: it is folded in after 1 MiB, and one transaction adds at most about half of that."""


class Reserve:
    """The file `<database>-reserve`. Its owner calls it from one thread at a time."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + "-reserve")
        self._held = False

    def take(self) -> bool:
        """Hold the space, and say whether it is held."""
        if not self._held:
            self._held = self._fill()
        return self._held

    def let_go(self) -> None:
        """Give the space to whoever writes next."""
        self._held = False
        with contextlib.suppress(OSError):
            os.truncate(self._path, 0)

    def _fill(self) -> bool:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, RESERVED_BYTES)
            else:
                os.pwrite(descriptor, bytes(RESERVED_BYTES), 0)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            return False
        finally:
            os.close(descriptor)
        return True
