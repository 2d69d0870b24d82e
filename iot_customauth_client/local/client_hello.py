"""The first message of a TLS client, read before TLS begins.

The service decides by what a client *offers*: the server name (SNI) selects the account, the application protocol
(ALPN) selects MQTT or HTTP. Python's `ssl` shows neither when it refuses, and completes the handshake with a
client whose ALPN it does not know. So the offer is read here, from the bytes themselves.

    TLS record (type 22) ──┐
    TLS record (type 22) ──┴─> handshake message ClientHello ─> server name, ALPN, versions

A ClientHello may be cut into several records, and a record into any number of TCP segments.
`ClientHelloReader` remembers where it stopped, so that a client which sends single bytes costs no more than others.

This is not a TLS implementation: it must never judge what OpenSSL will judge afterwards (cipher suites, key shares),
never raise anything but its own errors, and never keep more than `MAX_CLIENT_HELLO_BYTES`.
Sources: RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3 (SNI), RFC 7301 section 3.1 (ALPN), RFC 8701 (GREASE).
"""

from dataclasses import dataclass

MAX_CLIENT_HELLO_BYTES = 65_536
"""Most bytes, record headers included, in which a ClientHello must be complete. Real ones have 200 to 2,000."""

_HANDSHAKE_RECORD = 22
_RECORD_HEADER_BYTES = 5
_MAX_RECORD_BYTES = 16_384  # RFC 8446 section 5.1, plaintext records
_CLIENT_HELLO = 1
_MESSAGE_HEADER_BYTES = 4

_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS = 0, 16, 43  # IANA registry of TLS extension types
_HOST_NAME = 0

# The words that `ssl.SSLSocket.version()` uses.
_VERSIONS = {0x0300: "SSLv3", 0x0301: "TLSv1", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2", 0x0304: "TLSv1.3"}


class NotTls(ValueError):
    """The bytes cannot be the beginning of a TLS handshake."""


class BadClientHello(ValueError):
    """TLS records arrived, but what they hold is not a ClientHello that can be read."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a TLS client offers.

    `server_name` is the SNI as sent (case kept), None without one; some clients send an IP address there, which
    RFC 6066 forbids and which is let through. `alpn` holds the offered protocols in the client's order.
    `versions` uses the words of `ssl` ("TLSv1.3"); a client without the supported_versions extension gives one
    entry, its highest version. Bytes outside printable ASCII appear as `\\xNN`. GREASE values are left out.
    """

    server_name: str | None
    alpn: tuple[str, ...]
    versions: tuple[str, ...]


class ClientHelloReader:
    """Reads one ClientHello from bytes that arrive in pieces of any size.

    `feed` returns None until the message is complete; the result does not depend on how the bytes were cut.
    """

    __slots__ = ("_message", "_next_record", "_received")

    def __init__(self) -> None:
        self._received = bytearray()
        self._next_record = 0
        self._message = bytearray()

    @property
    def received(self) -> bytes:
        """Every byte fed so far, for handing on to TLS."""
        return bytes(self._received)

    def feed(self, data: bytes | bytearray) -> ClientHello | None:
        """Take the next bytes and return the ClientHello once it is complete.

        Raises `NotTls` or `BadClientHello`, each with a sentence that says what is wrong. Afterwards, and after
        a ClientHello was returned, the reader is used up.
        """
        self._received += data
        while self._take_record():
            if (hello := self._read_message()) is not None:
                return hello
        return None

    def _take_record(self) -> bool:
        """Move the next complete record's content to the message; False when bytes are missing."""
        start = self._next_record
        header = self._received[start : start + _RECORD_HEADER_BYTES]
        if header and header[0] != _HANDSHAKE_RECORD:
            if start == 0:
                raise NotTls(f"first byte 0x{header[0]:02x} is not that of a TLS handshake record (0x16)")
            raise BadClientHello(f"a TLS record of type {header[0]} interrupts the ClientHello")
        if len(header) > 1 and header[1] != 3:
            if start == 0:
                raise NotTls(f"second byte 0x{header[1]:02x} is not the major version of TLS (0x03)")
            raise BadClientHello(f"a record within the ClientHello has the major version {header[1]}")
        if len(header) < _RECORD_HEADER_BYTES:
            return False
        length = int.from_bytes(header[3:5], "big")
        if not 0 < length <= _MAX_RECORD_BYTES:
            raise BadClientHello(f"a TLS record of {length} bytes; 1 to {_MAX_RECORD_BYTES} are allowed")
        content = start + _RECORD_HEADER_BYTES
        if content + length > MAX_CLIENT_HELLO_BYTES:
            raise BadClientHello(f"the ClientHello is not complete within {MAX_CLIENT_HELLO_BYTES} bytes")
        if len(self._received) < content + length:
            return False
        self._message += self._received[content : content + length]
        self._next_record = content + length
        return True

    def _read_message(self) -> ClientHello | None:
        message = self._message
        if message[0] != _CLIENT_HELLO:
            raise BadClientHello(f"the first handshake message has type {message[0]}, not ClientHello (1)")
        if len(message) < _MESSAGE_HEADER_BYTES:
            return None
        end = _MESSAGE_HEADER_BYTES + int.from_bytes(message[1:4], "big")
        if end > MAX_CLIENT_HELLO_BYTES:
            raise BadClientHello(f"the ClientHello is longer than {MAX_CLIENT_HELLO_BYTES} bytes")
        if len(message) < end:
            return None
        return _read_body(bytes(message[_MESSAGE_HEADER_BYTES:end]))


def read_client_hello(data: bytes | bytearray) -> ClientHello | None:
    """Read the ClientHello at the start of `data`; None when more bytes are needed.

    For bytes that arrive over time use `ClientHelloReader`, which does not begin again.
    Raises `NotTls` or `BadClientHello`. Bytes after the ClientHello are not looked at.
    """
    return ClientHelloReader().feed(data)


class _Fields:
    """The fields of one structure, taken from front to back."""

    __slots__ = ("_at", "_data", "_name")

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise BadClientHello(f"the {self._name} is shorter than its length fields say")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def vector(self, width: int) -> bytes:
        """Bytes preceded by their length, which is `width` bytes wide."""
        return self.take(self.number(width))

    def end(self) -> None:
        if self.more:
            raise BadClientHello(f"the {self._name} is longer than its length fields say")


def _read_body(body: bytes) -> ClientHello:
    fields = _Fields(body, "ClientHello")
    legacy_version = fields.number(2)
    fields.take(32)  # random
    fields.vector(1)  # session id
    fields.vector(2)  # cipher suites
    fields.vector(1)  # compression methods
    extensions = _read_extensions(fields.vector(2)) if fields.more else {}
    fields.end()
    listed = extensions.get(_SUPPORTED_VERSIONS)
    versions = (legacy_version,) if listed is None else _read_versions(listed)
    return ClientHello(
        server_name=_read_server_name(extensions[_SERVER_NAME]) if _SERVER_NAME in extensions else None,
        alpn=_read_alpn(extensions[_ALPN]) if _ALPN in extensions else (),
        versions=tuple(_VERSIONS.get(version, f"0x{version:04x}") for version in versions),
    )


def _read_extensions(block: bytes) -> dict[int, bytes]:
    extensions: dict[int, bytes] = {}
    fields = _Fields(block, "list of extensions")
    while fields.more:
        kind = fields.number(2)
        content = fields.vector(2)
        if kind in extensions:  # RFC 8446 section 4.2: at most one of each type
            raise BadClientHello(f"extension {kind} is there twice")
        extensions[kind] = content
    return extensions


def _read_server_name(content: bytes) -> str | None:
    extension = _Fields(content, "server_name extension")
    names = _Fields(extension.vector(2), "server_name extension")
    extension.end()
    while names.more:
        kind = names.number(1)
        name = names.vector(2)
        if kind == _HOST_NAME:
            if not name:
                raise BadClientHello("the server name (SNI) is empty")
            return _printable(name)
    return None


def _read_alpn(content: bytes) -> tuple[str, ...]:
    extension = _Fields(content, "ALPN extension")
    names = _Fields(extension.vector(2), "ALPN extension")
    extension.end()
    offered: list[str] = []
    while names.more:
        name = names.vector(1)
        if not name:
            raise BadClientHello("an ALPN protocol name is empty")
        if not (len(name) == 2 and _is_grease(int.from_bytes(name, "big"))):
            offered.append(_printable(name))
    return tuple(offered)


def _read_versions(content: bytes) -> tuple[int, ...]:
    extension = _Fields(content, "supported_versions extension")
    listed = _Fields(extension.vector(1), "supported_versions extension")
    extension.end()
    versions: list[int] = []
    while listed.more:
        version = listed.number(2)
        if not _is_grease(version):
            versions.append(version)
    return tuple(versions)


def _is_grease(value: int) -> bool:
    """Whether this is one of RFC 8701's meaningless values 0x0A0A, 0x1A1A ... 0xFAFA."""
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


def _printable(name: bytes) -> str:
    """Text that is safe to log: a name comes from a stranger."""
    return "".join(chr(byte) if 0x20 < byte < 0x7F and byte != ord("\\") else f"\\x{byte:02x}" for byte in name)
