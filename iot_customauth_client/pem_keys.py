"""RSA keys as people have them: a PEM file or its text, of any of five kinds, told from all that is something else.

The idea
--------
A PEM block says by its label what it holds, and what it holds is a few nested values of DER. Both are read here, as far
as is needed to say what is wrong in words, to know how many bits a key has, and to hand the bare key (PKCS#1) on:

=========================  =======================================================  ===================
label                      what is inside                                           read by
=========================  =======================================================  ===================
`RSA PRIVATE KEY`          the bare key (PKCS#1), or encrypted by OpenSSL's old way  here, `cryptography`
`PRIVATE KEY`              PKCS#8: version, algorithm, the bare key                  here
`ENCRYPTED PRIVATE KEY`    PKCS#8, encrypted by a password                           `cryptography`
`RSA PUBLIC KEY`           the bare key (PKCS#1)                                     here
`PUBLIC KEY`               SubjectPublicKeyInfo: algorithm, the bare key             here
=========================  =======================================================  ===================

No arithmetic with keys is done here: the library that gets the bare key checks it. No message may hold any of a key,
a password or a text that was passed by mistake; a path is shown only if it looks like one. Sources: RFC 7468, RFC 5958,
RFC 8017 appendix A, RFC 5280 section 4.1.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from .errors import ConfigurationError
from .limits import MIN_KEY_BITS

KeySource: TypeAlias = str | bytes | os.PathLike[str]
"""PEM text, as `str` or `bytes`, or the path of a file that holds it."""

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_OLD_ENCRYPTION = "Proc-Type: 4,ENCRYPTED"
_KEY_FILE = re.compile(r"[^\x00-\x1f\x7f]{1,200}\.(pem|key|pub|crt|cer|der|p8|txt)", re.IGNORECASE)
_RSA = bytes.fromhex("2a864886f70d010101")
_OTHER_ALGORITHMS: Final = {
    "2a864886f70d01010a": "an RSA key that may sign by RSA-PSS only",
    "2a8648ce3d0201": "an elliptic curve key",
    "2b6570": "an Ed25519 key",
    "2b6571": "an Ed448 key",
    "2a8648ce380401": "a DSA key",
}
_PRIVATE: Final = ("PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
_PUBLIC: Final = ("PUBLIC KEY", "RSA PUBLIC KEY")
_PRIVATE_WANTED: Final = "to sign, pass the private key that belongs to it"
_PUBLIC_WANTED: Final = "pass the public key (`openssl rsa -in key.pem -pubout`)"
_WHAT_ELSE: Final = {
    "EC PRIVATE KEY": "is an elliptic curve key, not an RSA key",
    "DSA PRIVATE KEY": "is a DSA key, not an RSA key",
    "OPENSSH PRIVATE KEY": "is in OpenSSH's own format: convert a copy by `ssh-keygen -p -m PEM -f COPY`",
    "CERTIFICATE": "is a certificate: its public key comes from `openssl x509 -in FILE -noout -pubkey`",
    "CERTIFICATE REQUEST": "is a certificate request, not a key",
}
_SEQUENCE, _INTEGER, _BITS, _OCTETS, _OBJECT = 0x30, 0x02, 0x03, 0x04, 0x06


@dataclass(frozen=True, slots=True, repr=False)
class RsaKey:
    """One RSA key: its size, and the bare key as PKCS#1 DER. `name` is what messages call it."""

    name: str
    bits: int
    der: bytes

    def __repr__(self) -> str:
        return f"RsaKey({self.name}, {self.bits} bits)"


class _Malformed(Exception):
    """DER that is not what it should be; holds nothing of it."""


# -- what is asked for ------------------------------------------------------------------------------------------------


def read_private_key(source: KeySource, password: str | bytes | None = None) -> RsaKey:
    """Read a private key of at least 2,048 bits; `password` decrypts it, and is refused where nothing is encrypted.

    Raises `ConfigurationError`, whose `code` is `file_unreadable`, `extra_missing` or `key_invalid`.
    """
    name, pem = _read(source, "private key")
    label, block, body = _find(name, pem, _PRIVATE)
    if label in _PUBLIC:
        raise _invalid(f"{name} is a public key: {_PRIVATE_WANTED}")
    if label == "ENCRYPTED PRIVATE KEY" or _OLD_ENCRYPTION in body:
        der, label = _decrypt(name, block, password), "PRIVATE KEY"
    elif password is not None:
        raise _invalid(f"{name} is not encrypted, and a password was given: leave it out, or encrypt the key")
    else:
        der = _decode(name, body)
    return _checked(name, der, label)


def read_public_key(source: KeySource) -> RsaKey:
    """Read a public key of at least 2,048 bits. Raises `ConfigurationError` as `read_private_key` does."""
    name, pem = _read(source, "public key")
    label, _, body = _find(name, pem, _PUBLIC)
    if label in _PRIVATE:
        raise _invalid(f"{name} is a private key, which belongs on the device only: {_PUBLIC_WANTED}")
    return _checked(name, _decode(name, body), label)


def missing_extra(what: str) -> ConfigurationError:
    """Return the error for work that needs `cryptography` where it is not installed."""
    return ConfigurationError(
        f"{what} needs the library cryptography, which is not installed",
        code="extra_missing",
        phase="configuration",
        what_to_do="pip install 'iot-customauth-client[signing]'",
    )


def damaged(name: str) -> ConfigurationError:
    """Return the error for a key whose content cannot be right."""
    return _invalid(f"{name} is damaged: what is inside is not a complete RSA key; copy the file again")


# -- text -------------------------------------------------------------------------------------------------------------


def _read(source: KeySource, what: str) -> tuple[str, str]:
    """Return what messages may call the key, and its text."""
    name = f"the {what}"
    if isinstance(source, str) and not ("-----" in source or "\n" in source):
        if _KEY_FILE.fullmatch(source):
            name += f" {source}"
            problem = f"{name} cannot be read"
        else:  # a token or half a key, passed by mistake, must not be shown as a path
            problem = f"{name} has no -----BEGIN line, so it was taken for a path, which cannot be read"
        pem: object = _read_file(source, problem)
    elif isinstance(source, os.PathLike):
        name += f" {os.fspath(source)}"
        pem = _read_file(source, f"{name} cannot be read")
    else:
        pem = source
    if isinstance(pem, bytes):
        return name, pem.decode("latin-1")  # PEM is ASCII; anything else will be told by its content
    if not isinstance(pem, str):
        raise _invalid(f"{name} must be PEM text, bytes or a path, not {type(pem).__name__}")
    return name, pem


def _read_file(path: str | os.PathLike[str], problem: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or "the system gives no reason"
    except ValueError:
        reason = "no file can have such a name"
    raise ConfigurationError(f"{problem}: {reason}", code="file_unreadable", phase="configuration")


def _find(name: str, pem: str, wanted: tuple[str, ...]) -> tuple[str, str, str]:
    """Return label, block and body of the first block that is wanted, or else of the first that is any key."""
    blocks = {found[1]: (found[1], found[0], found[2]) for found in reversed(list(_BLOCK.finditer(pem)))}
    for label in (*wanted, *_PRIVATE, *_PUBLIC):
        if label in blocks:
            return blocks[label]
    for label, what in _WHAT_ELSE.items():
        if label in blocks:
            raise _invalid(f"{name} {what}")
    if "-----BEGIN" in pem:
        raise _invalid(
            f"{name} is damaged: it has no whole block from -----BEGIN ... KEY----- to -----END ... KEY-----"
        )
    if pem.startswith("\x30\x82"):
        raise _invalid(
            f"{name} is DER, not PEM: convert it by `openssl pkey -inform DER -in FILE` (`-pubin`, if public)"
        )
    raise _invalid(f"{name} is not PEM: it must begin with -----BEGIN, as `openssl genrsa` and `openssl rsa` write it")


def _decode(name: str, body: str) -> bytes:
    with contextlib.suppress(ValueError):
        return base64.b64decode("".join(body.split()), validate=True)
    if "\\n" in body:
        raise _invalid(f"{name} holds a backslash and an n where line breaks should be: put real line breaks there")
    raise _invalid(f"{name} is damaged: between its first and last line is something that is not base64")


def _decrypt(name: str, block: str, password: str | bytes | None) -> bytes:
    """Decrypt a PEM block, by `cryptography`, to PKCS#8."""
    if not password:
        raise _invalid(f"{name} is encrypted: pass its password=, which cannot be empty")
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise missing_extra(f"{name} is encrypted, and decrypting") from error
    secret = password.encode(errors="surrogatepass") if isinstance(password, str) else password
    try:
        key = serialization.load_pem_private_key(block.encode("ascii", "replace"), secret)
        return key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    except UnsupportedAlgorithm:
        why = "is encrypted in a way that cannot be read: encrypt it anew by `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
    except ValueError:  # no more can be told: with one wrong password in 256, decrypting seems to succeed
        why = "does not open with this password: the password is wrong, or the key is damaged"
    raise _invalid(f"{name} {why}")


# -- DER --------------------------------------------------------------------------------------------------------------


def _checked(name: str, der: bytes, label: str) -> RsaKey:
    """Unwrap the bare key, and refuse what the service would not take."""
    try:
        bare, algorithm = _UNWRAP[label](der)
        bits = _modulus_bits(bare, private=label in _PRIVATE) if algorithm == _RSA else 0
    except _Malformed:
        raise damaged(name) from None
    if algorithm != _RSA:
        other = _OTHER_ALGORITHMS.get(algorithm.hex(), "a key of another algorithm")
        raise _invalid(f"{name} is {other}, not an RSA key for PKCS#1 v1.5, which is all that the service verifies")
    if bits < MIN_KEY_BITS:
        raise _invalid(f"{name} has {bits} bits: the service takes RSA keys of {MIN_KEY_BITS} bits and more")
    return RsaKey(name, bits, bare)


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Return the content of the first DER value of `data`, which must have this tag, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise _Malformed
    size, start = data[1], 2
    if size & 0x80:  # the long form: so many bytes of length follow
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    if size > len(data) - start:
        raise _Malformed
    return data[start : start + size], data[start + size :]


def _only(data: bytes, tag: int) -> bytes:
    """Return the content of the one DER value that `data` is."""
    content, rest = _take(data, tag)
    if rest:
        raise _Malformed
    return content


def _modulus_bits(bare: bytes, *, private: bool) -> int:
    numbers = _only(bare, _SEQUENCE)
    if private:
        _, numbers = _take(numbers, _INTEGER)  # the version
    return int.from_bytes(_take(numbers, _INTEGER)[0], "big").bit_length()


def _algorithm(data: bytes) -> tuple[bytes, bytes]:
    """Return the object identifier of an AlgorithmIdentifier, and what follows it."""
    identifier, rest = _take(data, _SEQUENCE)
    return _take(identifier, _OBJECT)[0], rest


def _bare(der: bytes) -> tuple[bytes, bytes]:
    return der, _RSA


def _from_pkcs8(der: bytes) -> tuple[bytes, bytes]:
    _, rest = _take(_only(der, _SEQUENCE), _INTEGER)  # the version
    algorithm, rest = _algorithm(rest)
    return _take(rest, _OCTETS)[0], algorithm  # attributes may follow


def _from_public_key_info(der: bytes) -> tuple[bytes, bytes]:
    algorithm, rest = _algorithm(_only(der, _SEQUENCE))
    return _only(rest, _BITS)[1:], algorithm  # the first byte counts unused bits: none


_UNWRAP: Final = {
    "RSA PRIVATE KEY": _bare,
    "PRIVATE KEY": _from_pkcs8,
    "RSA PUBLIC KEY": _bare,
    "PUBLIC KEY": _from_public_key_info,
}


def _invalid(message: str) -> ConfigurationError:
    return ConfigurationError(message, code="key_invalid", phase="configuration")
