"""How much of the one thread a connection gets before the others have their turn.

The loop asks the selector which sockets can be read, and then reads one after the other. A client waits for all those
before it, so what a turn takes is what everybody waits: `TURN_SECONDS` are divided among those that have something to
be done. What a connection has sent beyond its share waits in its `Backlog`, and its socket is not read meanwhile:

    a read of 16 KiB ──> pieces, as small as the share is ──> the share is used up ──> the rest, in the next turns

Who is alone is not divided. What a few take beyond their share, such as a burst for a hundred subscribers, comes out of
a reserve that all have together in a turn, as long as it lasts: cut up, it would cost each subscriber more writes.

Never here: what the bytes mean.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import Final, TypeAlias

TURN_SECONDS: Final = 0.05
"""How long the loop should be busy with what has been read, however many connections have sent something."""
SECONDS_PER_BYTE: Final = 2e-6
"""What the smallest packets, frames and requests cost, measured: a PINGREQ of two bytes takes 4 us."""
RESERVE_SECONDS: Final = 0.03
"""What all together may take beyond their shares in one turn."""
MIN_PIECE_BYTES: Final = 64
"""So much of a connection is dealt with in any turn, whether its share has room for it or not."""

Taker: TypeAlias = Callable[[bytes], None]


class Turns(selectors.DefaultSelector):
    """The selector of the endpoint's loop: it knows how many connections want a turn.

    Attributes: `unfinished` is the number of connections with a backlog; `share_seconds` and `piece_bytes` are what
    each may take in the present turn, and after how many bytes it should look at the clock; `reserve_seconds` is left
    of the reserve.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unfinished = 0
        self.share_seconds = TURN_SECONDS
        self.reserve_seconds = RESERVE_SECONDS
        self.piece_bytes = int(TURN_SECONDS / SECONDS_PER_BYTE)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for sockets, and divide the turn that follows among them and those that were not done."""
        ready = super().select(timeout)
        self.share_seconds = TURN_SECONDS / (len(ready) + self.unfinished or 1)
        self.reserve_seconds = RESERVE_SECONDS
        self.piece_bytes = max(MIN_PIECE_BYTES, int(self.share_seconds / SECONDS_PER_BYTE))
        return ready


class Backlog:
    """What one connection has sent and nobody has dealt with yet, in its order."""

    __slots__ = ("_pieces", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns: Final = turns
        self._pieces: list[tuple[Taker, bytes]] = []  # three at most; an empty deque would hold 600 bytes

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def put(self, taker: Taker, data: bytes) -> None:
        """Put bytes behind all others."""
        self._pieces.append((taker, data))

    def put_first(self, taker: Taker, data: bytes) -> None:
        """Put bytes before all others."""
        self._pieces.insert(0, (taker, data))

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()

    def work(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Hand on what one turn has room for, one piece at least. A taker may put, and clear."""
        turns = self._turns
        share_ends = now = clock() + turns.share_seconds
        ends = share_ends + turns.reserve_seconds
        piece_bytes = turns.piece_bytes
        while self._pieces:
            taker, data = self._pieces.pop(0)
            if len(data) > piece_bytes:
                self._pieces.insert(0, (taker, data[piece_bytes:]))
                data = data[:piece_bytes]
            taker(data)
            now = clock()
            if now >= ends:
                break
            piece_bytes *= 2  # these bytes are cheap: large payloads are not to pay for small packets
        if now > share_ends:
            turns.reserve_seconds = max(0.0, turns.reserve_seconds - (now - share_ends))
