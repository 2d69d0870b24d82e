"""What the first bytes of a stream begin.

Clients reach a port by mistake in a handful of ways, and each of them can be told by its first bytes. The table is
`recognise`: it needs at most a dozen bytes, and what it has once said no further byte changes, so it does not matter
how the bytes were cut. It only names what it sees; what follows from that is the business of `front` and `http_door`.
"""

from enum import Enum, auto

_METHODS = (b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE")


class Opening(Enum):
    """What the first bytes of a stream begin."""

    TLS_HANDSHAKE = auto()
    OTHER_TLS_RECORD = auto()
    SSL_2 = auto()
    MQTT = auto()
    HTTP = auto()
    SOCKS = auto()
    GARBAGE = auto()


def recognise(head: bytes) -> Opening | None:
    """Tell what `head` begins; None while more bytes are needed.

    Once an answer is given, no further byte changes it.
    """
    if not head:
        return None
    match head[0]:
        case 0x16:
            return _by_start(head, 1, (b"\x03",), Opening.TLS_HANDSHAKE)
        case 0x14 | 0x15 | 0x17 | 0x18:
            return _by_start(head, 1, (b"\x03",), Opening.OTHER_TLS_RECORD)
        case 0x10:
            return _recognise_mqtt(head)
        case 0x04:
            return _by_start(head, 1, (b"\x01", b"\x02"), Opening.SOCKS)
        case 0x05:
            return _by_start(head, 1, (b"\x01", b"\x02", b"\x03", b"\x04"), Opening.SOCKS)
        case first if first & 0x80:  # SSLv2: two bytes of length, CLIENT-HELLO, then the highest version wanted
            return _by_start(head, 2, (b"\x01\x00\x02", b"\x01\x03"), Opening.SSL_2)
        case _:
            return _by_start(head, 0, tuple(method + b" " for method in _METHODS), Opening.HTTP)


def _by_start(head: bytes, at: int, starts: tuple[bytes, ...], opening: Opening) -> Opening | None:
    """`opening` when one of `starts` stands at `at`; None while that may still come."""
    rest = head[at:]
    if rest.startswith(starts):
        return opening
    return None if any(start.startswith(rest) for start in starts) else Opening.GARBAGE


def _recognise_mqtt(head: bytes) -> Opening | None:
    """MQTT CONNECT: 0x10, remaining length of one to four bytes (MQTT 5 section 1.5.5), protocol name."""
    for at in range(1, 5):
        if at >= len(head):
            return None
        if head[at] < 0x80:
            return _by_start(head, at + 1, (b"\x00\x04MQTT", b"\x00\x06MQIsdp"), Opening.MQTT)
    return Opening.GARBAGE
