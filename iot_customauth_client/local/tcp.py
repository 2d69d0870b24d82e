"""What asyncio does not do with a TCP connection and the operating system can: reset it, look whether the peer has
closed it, and acknowledge at once.

None of this raises for a connection that is already gone.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

if TYPE_CHECKING:
    import asyncio

DropKind: TypeAlias = Literal["rst", "fin"]
"""How a TCP connection is dropped: reset, or ended without a farewell of TLS and MQTT."""

_LINGER_NOT: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: closing resets the connection
_PEER_HAS_CLOSED: Final = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)  # the last on Linux only


def reset_when_closed(transport: asyncio.Transport) -> None:
    """Have the connection reset when it is closed, instead of ended in good order."""
    with contextlib.suppress(OSError):
        _socket(transport).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)


def peer_has_closed(transport: asyncio.Transport) -> bool:
    """Tell whether the peer has closed a connection that is not read from."""
    poll = select.poll()
    poll.register(_socket(transport), _PEER_HAS_CLOSED)
    return bool(poll.poll(0))


def acknowledge_now(transport: asyncio.Transport) -> None:
    """Have the system acknowledge at once what has come, and what comes next.

    A client that lets TCP gather small writes (the default, and what awscrt does) holds back the last message of its
    handshake, and then its CONNECT, until what it wrote before is acknowledged. Linux would take 40 ms for each.
    """
    quick_acknowledge = getattr(socket, "TCP_QUICKACK", None)  # Linux only
    if quick_acknowledge is not None:
        with contextlib.suppress(OSError):
            _socket(transport).setsockopt(socket.IPPROTO_TCP, quick_acknowledge, 1)


def _socket(transport: asyncio.Transport) -> socket.socket:
    return cast("socket.socket", transport.get_extra_info("socket"))
