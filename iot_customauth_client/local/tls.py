"""The server side of TLS, as bytes in and bytes out.

OpenSSL is run over two memory buffers (`ssl.MemoryBIO`), so the bytes that were read to look at the ClientHello are
simply its first input, and no socket is needed:

    from the socket ── receive() ──> incoming ──┐
                                              OpenSSL ──> plaintext
    to the socket   <─────────────── outgoing <─┘ <── send(plaintext)

A client that refuses our certificate, offers only old versions, or talks nonsense ends in `TlsError`, which says why
in one sentence and carries the alert that must still be written. Nothing here may block, and no plaintext or key
material may reach a message.
"""

import contextlib
import re
import ssl
from typing import NamedTuple

# One TLS record's plaintext. A read returns at most one record, so a larger buffer would only be allocated in vain.
_MAX_RECORD_BYTES = 16_384

_ALERT_RECORD = 21
_TLS_1_2 = b"\x03\x03"  # what every record says, TLS 1.3's too
_FATAL = 2


class Received(NamedTuple):
    """What one `TlsStream.receive` gave: `plaintext` for the door, `to_write` for the socket."""

    plaintext: bytes
    to_write: bytes


class TlsError(Exception):
    """TLS failed for good; the connection has to be closed after `to_write` was written.

    `cause` is a stable slug, `explanation` one sentence for the log, `to_write` the alert that OpenSSL made
    (may be empty), `plaintext` what arrived whole before the failure in the same call: it is still good.
    """

    def __init__(self, cause: str, explanation: str, to_write: bytes = b"", plaintext: bytes = b"") -> None:
        super().__init__(explanation)
        self.cause = cause
        self.explanation = explanation
        self.to_write = to_write
        self.plaintext = plaintext


def alert(number: int) -> bytes:
    """Make a fatal alert as an unprotected TLS record, to be sent before any ServerHello.

    `number` is the alert's number (RFC 8446 section 6), for example 112 for unrecognized_name.
    """
    return bytes((_ALERT_RECORD, *_TLS_1_2, 0, 2, _FATAL, number))


class TlsStream:
    """One TLS connection, seen from the server.

    States: handshake (`handshake_done` is False) -> open -> the peer has ended (`eof`), or we have (`close`).
    `context` is a server context; `Certificates.server_context` makes fitting ones.
    """

    __slots__ = ("_closed", "_eof", "_failed", "_handshake_done", "_incoming", "_outgoing", "_tls")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._handshake_done = False
        self._eof = False
        self._closed = False
        self._failed = False

    @property
    def handshake_done(self) -> bool:
        """Whether plaintext can flow."""
        return self._handshake_done

    @property
    def version(self) -> str | None:
        """The version agreed on, "TLSv1.2" or "TLSv1.3"; None before the handshake is done."""
        return self._tls.version() if self._handshake_done else None

    @property
    def alpn(self) -> str | None:
        """The application protocol selected; None when the client offered none."""
        return self._tls.selected_alpn_protocol()

    @property
    def eof(self) -> bool:
        """Whether nothing more can arrive: the peer sent close_notify, or `end` was called."""
        return self._eof

    def receive(self, data: bytes | bytearray | memoryview) -> Received:
        """Take bytes from the socket, of any number and cut anywhere.

        Returns the plaintext they held (all of it, several records joined) and the bytes to write back.
        Bytes after the peer's close_notify, after `close` or after an error are dropped.
        Raises `TlsError`, which also holds the plaintext of the records before the failing one.
        """
        if self._eof or self._closed or self._failed:
            return Received(b"", b"")
        self._incoming.write(data)
        plaintext: list[bytes] = []
        try:
            if not self._handshake_done:
                self._tls.do_handshake()
                self._handshake_done = True
            while chunk := self._tls.read(_MAX_RECORD_BYTES):
                plaintext.append(chunk)
                # A read takes one record, whole. Where nothing is left there is no point in asking: the answer is an
                # exception that costs more than the read.
                if not self._incoming.pending and not self._tls.pending():
                    break
            else:
                self._eof = True  # an empty read means close_notify
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise self._failure(error, b"".join(plaintext)) from error
        return Received(plaintext[0] if len(plaintext) == 1 else b"".join(plaintext), self._outgoing.read())

    def send(self, plaintext: bytes | bytearray | memoryview) -> bytes:
        """Protect `plaintext` and return the bytes to write to the socket; b"" when there is nothing to send.

        Raises RuntimeError before the handshake is done and after `close` or an error: the caller lost track.
        """
        if not self._handshake_done or self._closed or self._failed:
            raise RuntimeError("TLS is not open: wait for handshake_done, and send nothing after close()")
        view = memoryview(plaintext)
        while view:
            view = view[self._tls.write(view) :]
        return self._outgoing.read()

    def end(self) -> None:
        """Note that the peer's TCP stream ended; `eof` is True afterwards.

        Raises `TlsError` (cause `closed_in_handshake`) when that happened before the handshake was done.
        """
        unfinished = not (self._handshake_done or self._closed or self._failed or self._eof)
        self._eof = True
        if unfinished:
            raise TlsError("closed_in_handshake", _CLOSED_IN_HANDSHAKE)

    def close(self) -> bytes:
        """End our side; returns the close_notify to write, b"" when there is none to send."""
        if self._closed or self._failed or not self._handshake_done:
            self._closed = True
            return b""
        self._closed = True
        with contextlib.suppress(ssl.SSLError):  # the peer's own close_notify is not waited for
            self._tls.unwrap()
        return self._outgoing.read()

    def _failure(self, error: ssl.SSLError, plaintext: bytes) -> TlsError:
        self._failed = True
        to_write = self._outgoing.read()
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return TlsError("closed_in_handshake", _CLOSED_IN_HANDSHAKE, to_write, plaintext)
        reason = _reason(error)
        if (known := _REASONS.get(reason)) is not None:
            cause, explanation = known
            return TlsError(cause, explanation, to_write, plaintext)
        words = reason.replace("_", " ").lower()
        stage = "connection" if self._handshake_done else "handshake"
        return TlsError("tls_failed", f"the TLS {stage} failed: {words} (OpenSSL's words)", to_write, plaintext)


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason as one word; Python knows the names of some, and has only the text of others."""
    if error.reason:
        return error.reason
    text = re.search(r"\] (.+?) \(_ssl", str(error))
    return text[1].replace(" ", "_").upper() if text else "NO_REASON_GIVEN"


_CLOSED_IN_HANDSHAKE = (
    "the client closed the connection in the middle of the TLS handshake without saying why: most likely it does not "
    "trust ca.pem, or it gave up waiting"
)

_DOES_NOT_TRUST = (
    "client_rejected_certificate",
    (
        "the client does not trust ca.pem (it sent the alert unknown_ca): give it the endpoint's ca.pem as its CA "
        "file. A ca.pem from an earlier start is another one unless --cert-dir kept it"
    ),
)
_REJECTS_CERTIFICATE = (
    "client_rejected_certificate",
    (
        "the client rejected the endpoint's certificate: either it does not trust ca.pem, or the host name it checks "
        "is not one of the served names"
    ),
)
_REJECTS_FOR_TIME = (
    "client_rejected_certificate",
    "the client says that the certificate has expired: look at the client's clock",
)
_NOTHING_IN_COMMON = (
    "no_shared_cipher",
    (
        "client and endpoint have no cipher suite, group or signature algorithm in common: the endpoint's certificate "
        "is ECDSA P-256 and it speaks OpenSSL's default suites of TLS 1.2 and 1.3; allow these in the client"
    ),
)
_OLD_VERSION = (
    "tls_version",
    "the client offers only TLS 1.1 or older: the service takes TLS 1.2 and 1.3",
)
_BROKEN_RECORD = (
    "bad_record",
    (
        "a TLS record could not be decrypted or read: the bytes were damaged on the way, or something wrote to the "
        "socket beside TLS"
    ),
)

# OpenSSL's reason words -> what they mean here. `..._ALERT_...` are alerts that the client sent.
_REASONS: dict[str, tuple[str, str]] = {
    "TLSV1_ALERT_UNKNOWN_CA": _DOES_NOT_TRUST,
    "SSLV3_ALERT_BAD_CERTIFICATE": _REJECTS_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REJECTS_CERTIFICATE,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _REJECTS_CERTIFICATE,
    "TLSV1_ALERT_ACCESS_DENIED": _REJECTS_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _REJECTS_FOR_TIME,
    "NO_SHARED_CIPHER": _NOTHING_IN_COMMON,
    "NO_SUITABLE_KEY_SHARE": _NOTHING_IN_COMMON,
    "NO_SHARED_GROUPS": _NOTHING_IN_COMMON,
    "NO_SUITABLE_GROUPS": _NOTHING_IN_COMMON,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": _NOTHING_IN_COMMON,
    "NO_SHARED_SIGNATURE_ALGORITHMS": _NOTHING_IN_COMMON,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _NOTHING_IN_COMMON,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _NOTHING_IN_COMMON,
    "UNSUPPORTED_PROTOCOL": _OLD_VERSION,
    "VERSION_TOO_LOW": _OLD_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD_VERSION,
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": _BROKEN_RECORD,
    "WRONG_VERSION_NUMBER": _BROKEN_RECORD,
    "BAD_RECORD_TYPE": _BROKEN_RECORD,
    "UNEXPECTED_RECORD": _BROKEN_RECORD,
    "PACKET_LENGTH_TOO_LONG": _BROKEN_RECORD,
}
