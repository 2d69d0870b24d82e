"""Whether a connection's socket is read from: only while nobody has a reason against it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio


class Pause(enum.Enum):
    """Why a socket is not read from."""

    AHEAD = "the client has sent too much ahead of its CONNACK"
    THROUGHPUT = "the client has used up its throughput"
    SILENT = "it is told to play dead"
    TURN = "what it has sent is more than its turn has room for"


_NONE: Final[frozenset[Pause]] = frozenset()  # one for all connections: an empty set has 216 bytes


class Reading:
    """The tap of one transport. Several may close it, each for a reason of its own."""

    __slots__ = ("_pauses", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport: Final = transport
        self._pauses: frozenset[Pause] = _NONE

    def pause(self, why: Pause) -> None:
        """Read nothing until `resume` for the same reason."""
        self._pauses |= {why}
        self._transport.pause_reading()

    def resume(self, why: Pause) -> None:
        """Read on, unless somebody else has a reason against it."""
        if why not in self._pauses:
            return
        self._pauses = self._pauses - {why} or _NONE
        if not self._pauses:
            self._transport.resume_reading()

    def resume_all(self) -> None:
        """Read on in any case."""
        self._pauses = _NONE
        self._transport.resume_reading()
