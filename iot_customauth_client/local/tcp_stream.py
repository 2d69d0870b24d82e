"""The TCP side of one connection of the endpoint: its socket, and all that can be done to a socket.

::

    OPEN ────────── finish ───────────> FINISHING ──the peer closes, or takes too long──> ended
     │  ^                                                                                   ^
     │  └──speak_again──┐                                                                   │
     ├───fall_silent──> SILENT                                                              │
     └──────── close, abort, or the peer ends it: from every state ─────────────────────────┘

FINISHING has written its last bytes and discards what still comes, for a time: closing a socket with unread bytes in it
would take the last answer away from the peer. SILENT neither reads nor writes, while the TCP connection stays.

Never here: what the bytes mean. Runs on the event loop's thread; its timers end with it.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast

from . import tcp, time_limits
from .reading import Pause, Reading

READ_BYTES: Final = 16_384
"""What is read of one connection before the others have their turn: one TLS record. Of the smallest packets, frames
or chunks that is some 30 ms of work; 256 KiB, asyncio's own measure, would be half a second."""


class StreamOwner(Protocol):
    """Who is told what happens to the socket."""

    def opened(self, source_ip: str | None, peer: str) -> None:
        """Begin: a peer has connected; `peer` is its address and port for people."""
        ...

    def received(self, data: bytes) -> None:
        """Take bytes of the peer."""
        ...

    def peer_reads(self) -> None:
        """Note that the peer has read most of what waited for it."""
        ...

    def ended(self) -> None:
        """Clean up; called once, whoever has ended the connection."""
        ...


class TcpStream(asyncio.BufferedProtocol):
    """One accepted socket. inbox: where what is read is put; one buffer serves all connections."""

    __slots__ = ("_finishing", "_holding", "_inbox", "_lingering", "_owner", "_transport", "reading", "silent")

    reading: Reading
    """Whether the socket is read from; set, as the transport, by `connection_made`, which comes before all else."""
    _transport: asyncio.Transport

    def __init__(self, owner: StreamOwner, inbox: memoryview) -> None:
        self._owner: Final = owner
        self._inbox: Final = inbox
        self._finishing = False
        self._holding: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self.silent = False
        """Whether it is told to play dead."""

    # -- called by asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin. asyncio has set TCP_NODELAY on the socket."""
        self._transport = cast("asyncio.Transport", transport)
        self.reading = Reading(self._transport)
        peer = cast("tuple[str, int] | None", transport.get_extra_info("peername"))
        if peer is None:
            self._owner.opened(None, "unknown")
            return
        address, port = peer[:2]
        self._owner.opened(address, f"[{address}]:{port}" if ":" in address else f"{address}:{port}")

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the socket's bytes go: it is emptied before the next socket is read."""
        del sizehint
        return self._inbox

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the socket gave."""
        if not (self.silent or self._finishing):
            self._owner.received(bytes(self._inbox[:nbytes]))

    def resume_writing(self) -> None:
        """Tell that the peer has read most of what waited for it."""
        self._owner.peer_reads()

    def eof_received(self) -> None:
        """Let asyncio close the connection: nothing is sent to a peer that has ended its side."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End; asyncio gives the reset or broken pipe, but for the client the connection is lost all the same."""
        del exc
        for timer in (self._holding, self._lingering):
            if timer is not None:
                timer.cancel()
        self._owner.ended()

    # -- the way out -------------------------------------------------------------------------------------------------

    @property
    def is_closing(self) -> bool:
        """Whether the connection is over, or about to be: nothing can be written."""
        return self._transport.is_closing()

    @property
    def unsent_bytes(self) -> int:
        """What waits for the peer to read."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> int:
        """Write bytes, none of them once the connection is over; returns how many wait for the peer to read."""
        transport = self._transport
        if self.silent or transport.is_closing():
            return 0
        transport.write(data)
        return transport.get_write_buffer_size()

    def acknowledge_now(self) -> None:
        """Have the system acknowledge at once what has come: see `tcp.acknowledge_now`."""
        tcp.acknowledge_now(self._transport)

    # -- the way in --------------------------------------------------------------------------------------------------

    def hold(self, seconds: float) -> None:
        """Read nothing for so long: the client has used up its throughput."""
        if self._holding is not None:
            self._holding.cancel()
        self.reading.pause(Pause.THROUGHPUT)
        self._holding = asyncio.get_running_loop().call_later(seconds, self.reading.resume, Pause.THROUGHPUT)

    # -- ends --------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Say that there will be no more, discard what still comes, and wait a little for the peer to close."""
        self._finishing = True
        loop = asyncio.get_running_loop()
        self._lingering = loop.call_later(time_limits.LINGER_SECONDS, self._transport.abort)
        if self._transport.is_closing():  # which takes as long as the peer does not read what waits for it
            return
        try:
            self._transport.write_eof()
        except OSError:  # the peer has reset the connection, and asyncio has not noticed yet
            self._transport.abort()
            return
        self.reading.resume_all()

    def close(self) -> None:
        """End in good order: what was written is sent, and the peer is not waited for."""
        self._transport.close()

    def abort(self) -> None:
        """End at once; what was not sent is lost."""
        self._transport.abort()

    def reset_when_closed(self) -> None:
        """Have the connection end with a TCP reset, whoever ends it."""
        tcp.reset_when_closed(self._transport)

    # -- playing dead ------------------------------------------------------------------------------------------------

    def fall_silent(self) -> None:
        """Read and write nothing any more, while the TCP connection stays."""
        self.silent = True
        self.reading.pause(Pause.SILENT)

    def speak_again(self) -> None:
        """Write again, so that the connection can end in good order."""
        self.silent = False

    @property
    def is_dead(self) -> bool:
        """Whether it plays dead and its peer has closed: nothing else would notice that."""
        return self.silent and tcp.peer_has_closed(self._transport)
