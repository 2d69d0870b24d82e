"""A journal of a SQLite outbox on a real file, with what it told; and children to do dangerous things in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from outbox_support import Ending

from iot_customauth_client import CustomAuthError
from iot_customauth_client.clock import Clock, SystemClock
from iot_customauth_client.outbox_sqlite import SqliteOutbox
from iot_customauth_client.outgoing import Outgoing

PATIENCE_SECONDS = 30.0


class Opened:
    """A journal that has been loaded and started."""

    def __init__(self, outbox: SqliteOutbox, client_id: str, clock: Clock) -> None:
        self.outbox = outbox
        self.stored: list[Outgoing] = []
        self.not_stored: list[tuple[Outgoing, CustomAuthError]] = []
        self.journal = outbox.open(client_id, clock=clock)
        self.loaded = list(self.journal.load())
        stored, not_stored = self.stored, self.not_stored
        self.journal.start(stored.extend, lambda entries, error: not_stored.extend((each, error) for each in entries))

    @property
    def loaded_topics(self) -> list[str]:
        """The topics of what an earlier process left."""
        return [entry.topic for entry in self.loaded]

    def add_now(self, *topics: str, payload: bytes = b"") -> list[Outgoing]:
        """Add messages and do not wait."""
        entries = [message_of(topic, payload) for topic in topics]
        for entry in entries:
            self.journal.add(entry)
        return entries

    def add(self, *topics: str) -> list[Outgoing]:
        """Add messages and wait until they are stored."""
        entries = self.add_now(*topics)
        assert self.journal.flush(PATIENCE_SECONDS)
        until(lambda: set(entries) <= set(self.stored))
        return entries

    def add_entries(self, entries: Sequence[Outgoing]) -> None:
        """Add these and wait until the journal is through with them."""
        for entry in entries:
            self.journal.add(entry)
        assert self.journal.flush(PATIENCE_SECONDS)

    def close(self) -> None:
        """Close the journal."""
        self.journal.close(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def opened(outbox: SqliteOutbox | Path, *, client_id: str = "device", clock: Clock | None = None) -> Opened:
    """Open a client id's messages in an outbox, or in a file."""
    return Opened(SqliteOutbox(outbox) if isinstance(outbox, Path) else outbox, client_id, clock or SystemClock())


def message_of(topic: str, payload: bytes = b"", *, clock: Clock | None = None, **properties: Any) -> Outgoing:
    """Return a message that was accepted now."""
    now = time.monotonic() if clock is None else clock.monotonic()
    return Outgoing(topic, payload, promise=Ending(), accepted_at=now, **properties)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def start_python(code: str, *arguments: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start a Python that can import what this test can."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [*before, sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, *arguments: str, before: Sequence[str] = ()) -> str:
    """Run a Python to its end, which must be good, and return what it printed."""
    child = start_python(code, *arguments, before=before)
    out, err = child.communicate(timeout=PATIENCE_SECONDS)
    assert child.returncode == 0, err
    return out
