"""TLS clients of Python's `ssl` that live in memory, for the tests of the endpoint's front."""

import ssl
from collections.abc import Sequence


class MemoryClient:
    """The client's end of one TLS connection; `read()` gives what it wants to send."""

    def __init__(self, context: ssl.SSLContext, server_name: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    def feed(self, data: bytes) -> None:
        self._incoming.write(data)

    def read(self) -> bytes:
        return self._outgoing.read()

    def shake(self) -> bool:
        """Go on with the handshake; whether it is done. Raises what `ssl` raises."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True


def client_context(
    *,
    ca: str | None = None,
    alpn: Sequence[str] = (),
    lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """A client context that trusts the PEM file `ca`, or anybody when there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = ca is not None
    context.verify_mode = ssl.CERT_NONE if ca is None else ssl.CERT_REQUIRED
    if ca is not None:
        context.load_verify_locations(ca)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    context.minimum_version = lowest
    context.maximum_version = highest
    return context


def client_hello(
    server_name: str | None = "localhost",
    alpn: Sequence[str] = ("mqtt",),
    *,
    lowest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> bytes:
    """The first bytes of a real client."""
    client = MemoryClient(client_context(alpn=alpn, lowest=lowest, highest=highest), server_name)
    client.shake()
    return client.read()


def in_records(hello: bytes, payload_bytes: int) -> bytes:
    """The same ClientHello, cut into records of at most `payload_bytes` each."""
    message = hello[5:]
    return b"".join(
        b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
        for part in (message[at : at + payload_bytes] for at in range(0, len(message), payload_bytes))
    )
