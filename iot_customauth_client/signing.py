"""Token signatures: what an authorizer with signing enabled verifies before it is called.

AWS IoT Core verifies RSASSA-PKCS1-v1_5 over SHA-256 and the exact bytes of the token value, so what is made here is
what `openssl dgst -sha256 -sign key.pem | openssl base64 -A` prints for a token without a line break at its end.

Signing and verifying is `awscrt`'s work, which every installation has; keys are read by `pem_keys.py`; decrypting them
and making new ones needs `cryptography`, the extra `signing` (docs/decisions/0004). All of these are imported when they
are first needed. This file must never show a token, a signature or a key: not in a message, not in a repr.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field

from ._validation import text
from .errors import ConfigurationError
from .limits import MIN_KEY_BITS
from .pem_keys import KeySource as KeySource
from .pem_keys import damaged, missing_extra, read_private_key, read_public_key

_MAX_KEY_BITS = 8_192
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both halves of an RSA key, as PEM text.

    `private_pem` (PKCS#8, not encrypted) stays with what signs; `public_pem` is what the authorizer is given
    (`aws iot create-authorizer --token-signing-public-keys`).
    """

    private_pem: str = field(repr=False)
    public_pem: str


def sign_token(token: str, private_key: KeySource, *, password: str | bytes | None = None) -> str:
    """Return the signature of a token for an authorizer with signing enabled: one line of standard base64, padded.

    Args:
        token: the exact token value; it is signed as UTF-8. A line break at its end would be signed too.
        private_key: an RSA key of at least 2,048 bits, PKCS#1 or PKCS#8: PEM text, bytes, or the path of a file.
        password: decrypts an encrypted key; this needs the extra `signing`.

    Raises:
        ConfigurationError: the key cannot be read, is no private RSA key, is damaged or too small; the password is
            wrong, missing, or given for a key that is not encrypted; the extra is missing.

    Source: AWS IoT developer guide, "Connecting to AWS IoT Core by using custom authentication".
    """
    digest = _digest(token)
    key = read_private_key(private_key, password)
    if key.bits % 8:
        raise ConfigurationError(
            f"{key.name} has {key.bits} bits, and only keys of whole bytes can sign here: make one of 2048 bits",
            code="key_invalid",
            phase="configuration",
        )
    from awscrt.crypto import RSA, RSASignatureAlgorithm

    try:
        signature = RSA.new_private_key_from_der_data(key.der).sign(RSASignatureAlgorithm.PKCS1_5_SHA256, digest)
    except (RuntimeError, ValueError):
        raise damaged(key.name) from None
    return base64.b64encode(signature).decode()


def verify_token(token: str, signature: str, public_key: KeySource) -> bool:
    """Tell whether `signature` fits `token`, as the service would.

    Args:
        token: the exact token value.
        signature: standard base64, padded or not; what is not base64 fits no token.
        public_key: an RSA key of at least 2,048 bits: PEM text, bytes, or the path of a file.

    Raises:
        ConfigurationError: the key cannot be read, is no public RSA key, is damaged or too small.
    """
    digest = _digest(token)
    key = read_public_key(public_key)
    from awscrt.crypto import RSA, RSASignatureAlgorithm

    try:
        native = RSA.new_public_key_from_der_data(key.der)
    except (RuntimeError, ValueError):
        raise damaged(key.name) from None
    data = _decode(signature)
    if data is None:
        return False
    try:
        return bool(native.verify(RSASignatureAlgorithm.PKCS1_5_SHA256, digest, data))
    except RuntimeError:
        raise damaged(key.name) from None  # a modulus or an exponent that no key has is noticed only now


def generate_key_pair(bits: int = MIN_KEY_BITS) -> KeyPair:
    """Make an RSA key pair of 2,048 to 8,192 bits, in whole bytes. Needs the extra `signing`.

    Raises `ConfigurationError` for another size, and where the extra is missing.
    """
    if not MIN_KEY_BITS <= bits <= _MAX_KEY_BITS or bits % 8:
        raise ConfigurationError(
            f"a key of {bits} bits cannot be used: 2048, 3072 and 4096 are usual, {MIN_KEY_BITS} to {_MAX_KEY_BITS} in "
            "steps of 8 are possible",
            code="key_invalid",
            phase="configuration",
        )
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError as error:
        raise missing_extra("making keys") from error
    key = rsa.generate_private_key(public_exponent=65_537, key_size=bits)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return KeyPair(private.decode(), public.decode())


def _digest(token: str) -> bytes:
    return hashlib.sha256(text(token, "token").encode()).digest()


def _decode(signature: str) -> bytes | None:
    """Return the bytes of a signature in standard base64, padded or not, or `None` if it is not."""
    bare = signature.rstrip("=")
    if not _BASE64.fullmatch(signature) or len(bare) % 4 == 1:
        return None
    return base64.b64decode(bare + "=" * (-len(bare) % 4))
