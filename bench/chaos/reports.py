"""The lines in which a device tells its controller what it did: numbers of messages, and notes.

Each line is one `os.write` to a pipe: what was written survives the death of the writer, and lines of several threads
do not mix (they are far shorter than what a pipe takes at once).
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

Kind: TypeAlias = Literal[
    "offered", "handed", "stored", "acknowledged", "failed", "subscribed", "handled", "note", "figures", "done"
]

_KINDS: Final[frozenset[str]] = frozenset(get_args(Kind))


@dataclass(frozen=True, slots=True)
class Report:
    """One line: what happened to the messages `first` to `last`, or a text."""

    kind: Kind
    first: int = 0
    last: int = -1
    text: str = ""

    def line(self) -> bytes:
        """Write it down."""
        return f"{self.kind} {self.first} {self.last} {self.text.replace(chr(10), ' ')[:900]}\n".encode()

    @classmethod
    def read(cls, line: bytes) -> Report:
        """Read what `line()` wrote. Raises ValueError for anything else, such as a line that a kill has cut off."""
        words = line.decode().rstrip("\n").split(" ", 3)
        if not line.endswith(b"\n") or len(words) != 4 or words[0] not in _KINDS:
            raise ValueError(f"not a report: {line!r}")
        return cls(words[0], int(words[1]), int(words[2]), words[3])  # type: ignore[arg-type]


class Reporter:
    """The device's end of the pipe. Its methods may be called from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def tell(self, kind: Kind, first: int = 0, last: int | None = None, text: str = "") -> None:
        """Report on the messages `first` to `last` (one, without `last`)."""
        line = Report(kind, first, first if last is None else last, text).line()
        with self._lock:
            os.write(self._descriptor, line)

    def note(self, text: str) -> None:
        """Say something for people."""
        self.tell("note", 0, -1, text)
