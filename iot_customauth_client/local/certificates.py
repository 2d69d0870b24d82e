"""The endpoint's certificate authority, and the server certificate it issues.

A client has to trust *something*: `ca.pem`. In a directory that the user names it is made once and found again, so
that devices keep their copy; without one it lives in a temporary directory and ends with the endpoint. The server
certificate is new at every start, names exactly the served host names and is never written down.

    cert_dir/ca.pem       the authority's certificate, for clients
    cert_dir/ca-key.pem   its private key, mode 0600: whoever has it can pose as any host to those clients

Two endpoints may start on one empty directory at once: a lock on the directory lets one of them make the pair, and
each file appears whole or not at all, the key first. A pair that does not fit is an error, never silently replaced.
"""

import contextlib
import fcntl
import functools
import os
import shutil
import ssl
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from iot_customauth_client.errors import ConfigurationError

from .doors import ServedNames

try:
    import trustme
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
except ImportError as error:
    raise ImportError(
        'the local endpoint needs trustme and cryptography: pip install "iot-customauth-client[local]"'
    ) from error

CA_FILE_NAME = "ca.pem"
KEY_FILE_NAME = "ca-key.pem"

_NEW_PAIR = (
    f"delete both {CA_FILE_NAME} and {KEY_FILE_NAME} to have new ones made, then give clients the new {CA_FILE_NAME}"
)


class CertificateError(ConfigurationError):
    """The certificate directory cannot be used as it is; the message says what to do."""

    default_code = "certificates"


class Certificates:
    """A certificate authority on disk and a server certificate for the served host names.

    Made by `Certificates.open`; a context manager, whose exit is `close`.
    """

    def __init__(
        self,
        ca_file: Path,
        leaf: trustme.LeafCert,
        remove: Callable[[], object] | None,
    ) -> None:
        self._ca_file = ca_file
        self._leaf = leaf
        self._finalizer = None if remove is None else weakref.finalize(self, remove)

    @classmethod
    def open(cls, cert_dir: Path | None, hostnames: Sequence[str]) -> Self:
        """Find or make the authority in `cert_dir`, and issue a certificate for `hostnames`.

        cert_dir: made when it is missing; None for a temporary directory that `close` removes.
        hostnames: DNS names (`*.` as first label allowed) or IP addresses. The certificate covers these and no
            others: a client that connects by another name is turned away before it sees a certificate.

        Raises `CertificateError` (a directory or file that cannot be used, a pair that does not fit, an expired
        authority) and its base `ConfigurationError` for what is not a host name.
        """
        names = ServedNames(hostnames).names
        remove = None
        if cert_dir is None:
            cert_dir = Path(tempfile.mkdtemp(prefix="iot-customauth-"))
            remove = functools.partial(_remove, cert_dir, os.getpid())
        try:
            authority = _open_authority(cert_dir)
            return cls(cert_dir / CA_FILE_NAME, _issue(authority, names), remove)
        except BaseException:
            if remove is not None:
                remove()
            raise

    @property
    def ca_file(self) -> Path:
        """The PEM file that clients must trust."""
        return self._ca_file

    def server_context(self, alpn: Sequence[str]) -> ssl.SSLContext:
        """Make a TLS 1.2 and 1.3 server context that selects one of `alpn`, first preferred.

        No session resumption by ticket, as in the service (Dev Guide "Transport security"), and no
        renegotiation, which no MQTT client needs.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        context.set_alpn_protocols(list(alpn))
        self._leaf.configure_cert(context)
        return context

    def close(self) -> None:
        """Remove the temporary directory, if there is one. Contexts made before go on working."""
        if self._finalizer is not None:
            self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _remove(directory: Path, process: int) -> None:
    """Remove a temporary directory, but not in a forked process: it has a copy of everything, the files are not its."""
    if os.getpid() == process:
        try:
            shutil.rmtree(directory, ignore_errors=True)
        except BaseException:  # Ctrl+C: nobody will come back for the rest
            shutil.rmtree(directory, ignore_errors=True)
            raise


def _issue(authority: trustme.CA, names: Sequence[str]) -> trustme.LeafCert:
    try:
        return authority.issue_cert(*names)
    except UnicodeError as error:  # of idna, for a label such as `ab--cd`
        raise ConfigurationError(f"no certificate can be made for one of the host names {names}: {error}") from error


def _open_authority(directory: Path) -> trustme.CA:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _locked(directory):
            if (directory / CA_FILE_NAME).exists():
                return _load(directory)
            # A key without its certificate is what a crash between the two writes leaves: replaced.
            return _make(directory)
    except OSError as error:
        raise CertificateError(
            f"the certificate directory {directory} cannot be used: {error.strerror or error}. "
            "Name a directory that this user may write to (--cert-dir)"
        ) from error


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory against other endpoints; freed by the kernel when the process dies."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Some network file systems cannot lock a directory. Then only the renames protect the pair, and one that
        # does not fit is found when it is loaded.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(directory: Path) -> trustme.CA:
    authority = trustme.CA(organization_name="iot-customauth local endpoint", organization_unit_name="local authority")
    _write_whole(directory / KEY_FILE_NAME, authority.private_key_pem.bytes(), mode=0o600)
    _write_whole(directory / CA_FILE_NAME, authority.cert_pem.bytes(), mode=0o644)
    return authority


def _write_whole(file: Path, content: bytes, *, mode: int) -> None:
    """Let `file` appear with all its content at once; `mkstemp` makes it readable by its owner only."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), mode)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _load(directory: Path) -> trustme.CA:
    ca_file, key_file = directory / CA_FILE_NAME, directory / KEY_FILE_NAME
    if not key_file.exists():
        raise CertificateError(
            f"{ca_file} is there without its private key {KEY_FILE_NAME}: put the key beside it, or delete "
            f"{CA_FILE_NAME} to have new ones made and give clients the new {CA_FILE_NAME}"
        )
    certificate_pem, key_pem = ca_file.read_bytes(), key_file.read_bytes()
    _check_pair(ca_file, certificate_pem, key_file, key_pem)
    return trustme.CA.from_pem(certificate_pem, key_pem)


def _check_pair(ca_file: Path, certificate_pem: bytes, key_file: Path, key_pem: bytes) -> None:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        extensions = certificate.extensions
    except ValueError as error:
        raise CertificateError(f"{ca_file} is damaged: no PEM certificate can be read from it; {_NEW_PAIR}") from error
    try:
        key = load_pem_private_key(key_pem, password=None)
    except TypeError as error:
        raise CertificateError(
            f"{key_file} is protected by a passphrase: write it there without one, or {_NEW_PAIR}"
        ) from error
    except ValueError as error:
        # No cause is shown: the parser's words might quote the key.
        raise CertificateError(f"{key_file} is damaged: no PEM private key can be read from it; {_NEW_PAIR}") from error
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey)):
        raise CertificateError(f"{key_file} is neither an RSA nor an elliptic-curve key; {_NEW_PAIR}")
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*spki) != certificate.public_key().public_bytes(*spki):
        raise CertificateError(f"{key_file} is not the private key of {ca_file}; {_NEW_PAIR}")
    try:
        authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        authority = False
    if not authority:
        raise CertificateError(
            f"{ca_file} is not the certificate of an authority (CA:TRUE with a subject key identifier); {_NEW_PAIR}"
        )
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise CertificateError(f"{ca_file} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; {_NEW_PAIR}")
    if certificate.not_valid_before_utc > now:
        raise CertificateError(
            f"{ca_file} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d} on: look at this machine's "
            f"clock, or {_NEW_PAIR}"
        )
