"""What the tests of tokens share: keys of every kind, JWTs, and all that an error can show."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

PASSWORD = "open s\u00e9same"
PEM = serialization.Encoding.PEM

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None and "IOT_TESTS_REQUIRE_ALL" not in os.environ, reason="openssl is not installed"
)


@cache
def rsa_key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    """Make one RSA key per size and number."""
    assert number >= 0
    return rsa.generate_private_key(public_exponent=65_537, key_size=bits)


@cache
def other_key(kind: str) -> PrivateKeyTypes:
    """Make a key that is no RSA key."""
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else ed25519.Ed25519PrivateKey.generate()


def private_pem(key: PrivateKeyTypes | None = None, *, pkcs1: bool = False, encrypted: bool = False) -> str:
    """Return a private key as PEM text."""
    form = serialization.PrivateFormat.TraditionalOpenSSL if pkcs1 else serialization.PrivateFormat.PKCS8
    lock = serialization.BestAvailableEncryption(PASSWORD.encode()) if encrypted else serialization.NoEncryption()
    return (key or rsa_key()).private_bytes(PEM, form, lock).decode()


def public_pem(key: PrivateKeyTypes | None = None, *, pkcs1: bool = False) -> str:
    """Return the public half of a key as PEM text."""
    form = serialization.PublicFormat.PKCS1 if pkcs1 else serialization.PublicFormat.SubjectPublicKeyInfo
    return (key or rsa_key()).public_key().public_bytes(PEM, form).decode()


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    """Run openssl and return what it prints."""
    return subprocess.run(["openssl", *arguments], input=given, check=True, capture_output=True).stdout


# -- JWTs -------------------------------------------------------------------------------------------------------------


def base64url(data: bytes) -> str:
    """Encode as JWTs do: base64url, not padded."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_jwt(claims: Mapping[str, object] | str, header: Mapping[str, object] | str | None = None) -> str:
    """Sign claims as RFC 7515 says; with another `alg` in `header` the signature is the same and a lie."""
    parts = [header or {"alg": "RS256", "typ": "JWT"}, claims]
    texts = [part if isinstance(part, str) else json.dumps(part) for part in parts]
    token = ".".join(base64url(text.encode()) for text in texts)
    signature = rsa_key().sign(token.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{token}.{base64url(signature)}"


# -- errors -----------------------------------------------------------------------------------------------------------


def all_shown_by(error: BaseException | None) -> str:
    """Return all text that an error, and every error that it drags along, can show to a log or a crash reporter."""
    return "\n".join(_shown_by(error))


def _shown_by(error: BaseException | None) -> Iterator[str]:
    if error is None:
        return
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    for name in ("object", "doc", "filename"):  # of UnicodeError, JSONDecodeError, OSError
        yield repr(getattr(error, name, None))
    yield from _shown_by(error.__cause__)
    yield from _shown_by(error.__context__)
