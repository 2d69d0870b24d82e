"""One direction of one connection: bytes as they arrive, packets as they become complete.

The idea: bytes that do not make a packet yet wait in a buffer, together with how many are needed before it is worth
looking again. When that many are there, the buffer becomes one `bytes` and all packets in it are read in place. So
every byte is copied a fixed number of times however small the pieces are that it comes in, and a burst that comes at
once is not buffered at all.

    awaits CONNECT ──CONNECT──> reads packets ──anything wrong──> failed: every further feed raises the same again

A decoder without a version is a server's: it wants CONNECT first, learns the version from it, and takes only what a
client may send. It must never buffer a packet that is too large: the fixed header alone decides.
"""

from typing import Final

from . import rules
from . import violations as rule
from .decode import READERS, read_version
from .errors import CodecError
from .packet_types import FROM_CLIENT, PacketType, Version
from .packets import Packet
from .primitives import scan_variable_byte_integer
from .reason_codes import ReasonCode
from .violations import Violation, malformed, protocol_error

DEFAULT_MAX_PACKET_BYTES: Final = 1_048_576  # several times what the largest CONNECT takes

_CONNECT_BYTE: Final = PacketType.CONNECT << 4


def _first_bytes(packet_types: frozenset[PacketType]) -> frozenset[int]:
    """The first bytes that packets of these types may have (table 2.2: flag bits)."""
    flags = {
        PacketType.PUBLISH: range(16),
        PacketType.PUBREL: (2,),
        PacketType.SUBSCRIBE: (2,),
        PacketType.UNSUBSCRIBE: (2,),
    }
    return frozenset(each << 4 | bits for each in packet_types for bits in flags.get(each, (0,)))


_KNOWN_TYPES: Final[dict[Version, frozenset[PacketType]]] = {
    Version.MQTT5: frozenset(PacketType) - {PacketType.WILL},
    Version.MQTT311: frozenset(PacketType) - {PacketType.WILL, PacketType.AUTH},
}
_DEPENDS_ON_SENDER: Final = frozenset({PacketType.PUBLISH, PacketType.DISCONNECT, PacketType.AUTH})
"""Packets with something that only a server may say: see `rules.check_from_client`."""
_FROM_EITHER: Final = {version: _first_bytes(types) for version, types in _KNOWN_TYPES.items()}
_AFTER_CONNECT: Final = {
    version: _first_bytes((types & FROM_CLIENT) - {PacketType.CONNECT}) for version, types in _KNOWN_TYPES.items()
}


class Decoder:
    """Reads what one peer of one connection sends.

    Args:
        version: the version that both sides agreed on; `None` for a server, whose first packet must be a CONNECT that
            says it. A decoder with a version takes packets of either direction.
        max_packet_bytes: the largest packet to accept, with its fixed header (MQTT 5's maximum packet size).

    Attributes:
        version: the version, as soon as it is known: also when the rest of the CONNECT that named it is refused.
    """

    def __init__(self, *, version: Version | None = None, max_packet_bytes: int = DEFAULT_MAX_PACKET_BYTES) -> None:
        self.version = version
        self._max_packet_bytes = max_packet_bytes
        self._is_server = version is None
        self._acceptable = frozenset({_CONNECT_BYTE}) if version is None else _FROM_EITHER[version]
        self._waiting = bytearray()
        self._needed_bytes = 2
        self._failure: CodecError | None = None

    @property
    def buffered_bytes(self) -> int:
        """How many bytes wait for the rest of their packet."""
        return len(self._waiting)

    def feed(self, data: bytes) -> list[Packet]:
        """Take the next bytes, in pieces of any size, and return the packets that they complete.

        Raises:
            CodecError: at the first packet that breaks a rule. Its `before` has the packets of this call that came
                earlier. Every later call raises the same error, then with nothing in `before`.
        """
        if self._failure is not None:
            raise _copy(self._failure)
        if self._waiting:
            self._waiting += data
            if len(self._waiting) < self._needed_bytes:
                return []
            data = bytes(self._waiting)
            self._waiting.clear()
        packets: list[Packet] = []
        try:
            consumed = self._read_all(bytes(data), packets)
        except Violation as violation:
            number = violation.rule.mqtt5 if self.version is Version.MQTT5 else violation.rule.mqtt311
            self._failure = CodecError(violation.reason_code, str(violation), rule=number)
            raise _copy(self._failure, tuple(packets)) from None
        if consumed < len(data):
            self._waiting += memoryview(data)[consumed:]
        return packets

    def _read_all(self, data: bytes, packets: list[Packet]) -> int:
        """Append the complete packets, note how many bytes the next one needs, return how many bytes were used."""
        offset, size = 0, len(data)
        while size - offset >= 2:
            first = data[offset]
            if first not in self._acceptable:
                raise self._unacceptable(first)
            kind = first >> 4
            length, begin = data[offset + 1], offset + 2
            try:
                if length >= 0x80:
                    found = scan_variable_byte_integer(data, offset + 1, size, "remaining length")
                    if found is None:
                        break
                    length, begin = found
                end = begin + length
                if end - offset > self._max_packet_bytes:
                    raise self._too_large(end - offset)
                if end > size:
                    self._needed_bytes = end - offset
                    return offset
                version = self.version
                if version is None:
                    version = self._learn_version(data, begin, end)
                packet = READERS[kind](first & 0x0F, data, begin, end, version)
                if self._is_server and kind in _DEPENDS_ON_SENDER:
                    rules.check_from_client(packet)
            except Violation as violation:
                raise _named(PacketType(kind), violation) from None
            packets.append(packet)
            offset = end
        # Not even a fixed header: whatever comes next is worth a look, and until then there are at most four bytes.
        self._needed_bytes = 2
        return offset

    def _learn_version(self, data: bytes, begin: int, end: int) -> Version:
        version, _ = read_version(data, begin, end)
        self.version = version
        self._acceptable = _AFTER_CONNECT[version]
        return version

    def _too_large(self, packet_bytes: int) -> Violation:
        return Violation(
            ReasonCode.PACKET_TOO_LARGE,
            f"it has {packet_bytes} bytes and {self._max_packet_bytes} are allowed; send less at once",
        )

    def _unacceptable(self, first: int) -> Violation:
        """Why a packet may not begin with this byte here and now."""
        kind, flags = PacketType(first >> 4), first & 0x0F
        if self.version is None:
            if kind is PacketType.CONNECT:
                return malformed(f"CONNECT: its reserved flag bits are {flags:04b}", rule.RESERVED_FLAGS)
            return protocol_error("the first packet is not CONNECT; is this an MQTT client?", rule.CONNECT_COMES_FIRST)
        if kind not in _KNOWN_TYPES[self.version]:
            return malformed(f"there is no packet of type {int(kind)} in this version of MQTT")
        if self._is_server and kind is PacketType.CONNECT:
            return protocol_error("CONNECT: it came a second time on one connection", rule.CONNECT_COMES_ONCE)
        if self._is_server and kind not in FROM_CLIENT:
            return protocol_error(f"{kind.name}: only a server may send it")
        return malformed(f"{kind.name}: its reserved flag bits are {flags:04b}", rule.RESERVED_FLAGS)


def _named(kind: PacketType, violation: Violation) -> Violation:
    """The same violation, with the packet's name in its sentence."""
    return Violation(violation.reason_code, f"{kind.name}: {violation}", violation.rule)


def _copy(failure: CodecError, before: tuple[Packet, ...] = ()) -> CodecError:
    """A fresh exception, so that no traceback of an earlier feed hangs on to it."""
    return CodecError(failure.reason_code, str(failure), rule=failure.rule, before=before)
