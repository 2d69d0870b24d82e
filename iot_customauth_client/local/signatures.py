"""Does the signature that a device sent fit the token that it sent?

AWS signs with RSASSA-PKCS1-v1_5 over SHA-256 and the exact bytes of the token value, in standard base64 (*custom
auth*). An authorizer has several keys while they are rotated, and a request does not say which one: each is tried.
The padding may be missing, as working clients send it so.

Whoever reads the log wants to know which of the usual mistakes it was, so a signature that is not base64 is told
apart from one that does not verify. Neither the token nor the signature is ever part of a sentence.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from ..limits import MIN_KEY_BITS
from .words import LOCAL_EXTRA, counted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_MISTAKES = (
    (" ", "it holds a space: a `+` was not percent-encoded as %2B"),
    ("%", "it still holds a `%`: it was percent-encoded twice"),
    ("\n", "it holds a line break: `openssl base64` adds them, remove them"),
    ("\r", "it holds a line break: `openssl base64` adds them, remove them"),
    ("-", "it is base64url: replace `-` by `+` and `_` by `/`"),
    ("_", "it is base64url: replace `-` by `+` and `_` by `/`"),
)


class SignatureError(Exception):
    """The signature is not good; `str()` is one sentence that says what is wrong with it, without quoting it."""


def load_public_keys(keys: Iterable[str | bytes | Path]) -> tuple[RSAPublicKey, ...]:
    """Read RSA public keys, each the path of a PEM file or the PEM text itself.

    Raises `ConfigurationError` for a file that cannot be read, for what is not a PEM public key, and for a key that
    the service would not take.
    """
    return tuple(_load_public_key(key) for key in keys)


def verify(token: str, signature: str, keys: Sequence[RSAPublicKey]) -> None:
    """Check `signature` (standard base64, padded or not) over the UTF-8 bytes of `token` with each of `keys`.

    Raises `SignatureError` if no key fits.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    raw = _decode(signature)

    def fits(text: str) -> bool:
        for key in keys:
            try:
                key.verify(raw, text.encode(), padding.PKCS1v15(), hashes.SHA256())
            except InvalidSignature:
                continue
            return True
        return False

    if fits(token):
        return
    if fits(f"{token}\n"):
        raise SignatureError(
            "the signature was made over the token and a line break at its end: sign with `printf %s` or `echo -n`"
        )
    raise SignatureError(
        f"the signature does not verify over the token value ({counted(len(keys), 'key')} tried): it must be RSA PKCS#1"
        f" v1.5 with SHA-256 over exactly the token's {counted(len(token.encode()), 'byte')}, no line break at its end,"
        " made with the private key of one of the authorizer's public keys"
    )


def _decode(signature: str) -> bytes:
    if not _BASE64.fullmatch(signature):
        why = next((why for sign, why in _MISTAKES if sign in signature), "it holds other characters")
        raise SignatureError(f"the signature is not standard base64: {why}")
    bare = signature.rstrip("=")
    if len(bare) % 4 == 1:
        raise SignatureError("the signature is not standard base64: its length is impossible, it was cut off")
    return base64.b64decode(bare + "=" * (-len(bare) % 4))


def _load_public_key(key: str | bytes | Path) -> RSAPublicKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    except ImportError as error:
        raise ImportError(LOCAL_EXTRA) from error

    name, pem = _read_pem(key)
    try:
        loaded = serialization.load_pem_public_key(pem)
    except ValueError as error:
        raise ConfigurationError(
            f"{name} holds no PEM public key: it must begin with -----BEGIN PUBLIC KEY-----"
            " (made by `openssl rsa -in key.pem -pubout`)"
        ) from error
    except UnsupportedAlgorithm:  # a kind of key, or a curve, that nobody here has heard of
        loaded = None
    if not isinstance(loaded, RSAPublicKey):
        raise ConfigurationError(f"{name} is not an RSA key: the service verifies token signatures with RSA only")
    if loaded.key_size < MIN_KEY_BITS:
        raise ConfigurationError(
            f"{name} is an RSA key of {loaded.key_size} bits: the service wants at least {MIN_KEY_BITS}"
        )
    return loaded


def _read_pem(key: str | bytes | Path) -> tuple[str, bytes]:
    """The key's name for messages, and its PEM text."""
    if isinstance(key, bytes):
        return "a public key", key
    if isinstance(key, str) and "-----BEGIN" in key:
        return "a public key", key.encode()
    try:
        return str(key), Path(key).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"public key {key} cannot be read: {error.strerror}") from error
