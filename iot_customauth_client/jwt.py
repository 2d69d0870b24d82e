"""A signed JWT as credentials: its first two parts are the token, its third is the signature of exactly these.

The idea
--------
AWS IoT Core verifies an RSA signature over the text of the token and knows nothing of JWTs. But a JWT signed by RS256
is just that: `header.payload`, and RSASSA-PKCS1-v1_5 with SHA-256 over this text (RFC 7515, RFC 7518 section 3.3). So
the token travels as it is; the signature is only spelt otherwise, in standard base64 instead of base64url.

Nothing is verified here: that is the service's work. What is read is what the device needs to know: the algorithm,
since any other can only be refused, and `exp` and `iat`, since they say how long the token lasts. No message may hold
anything of the token, not even a claim.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ._validation import text
from .errors import ConfigurationError
from .limits import MIN_KEY_BITS

_PART = re.compile(r"[A-Za-z0-9_-]+")
_TO_STANDARD: Final = str.maketrans("-_", "+/")

_WANTED = "the service verifies RSASSA-PKCS1-v1_5 with SHA-256 (RS256) and nothing else"
_INSTEAD: Final = (
    "have the JWT issued with RS256; or use an authorizer with signing disabled, whose function verifies the JWT "
    "itself, and Credentials.from_bearer_token()"
)
_OTHER_ALGORITHMS: Final = {
    "none": "not signed at all (none)",
    **dict.fromkeys(
        ("HS256", "HS384", "HS512"), "authenticated with a shared secret ({}), not signed with a private key"
    ),
    **dict.fromkeys(("RS384", "RS512"), "signed with RSA, but over another hash ({})"),
    **dict.fromkeys(("PS256", "PS384", "PS512"), "signed with RSA, but with another padding, PSS ({})"),
    **dict.fromkeys(("ES256", "ES384", "ES512", "ES256K"), "signed with an elliptic curve key ({})"),
    **dict.fromkeys(("EdDSA", "Ed25519", "Ed448"), "signed with an Edwards curve key ({})"),
}


@dataclass(frozen=True, slots=True, repr=False)
class SignedJwt:
    """What a JWT gives to credentials. `longest_seconds` is the lifetime from its issue, if it says when that was."""

    token: str
    signature: str
    expires_at: datetime | None
    longest_seconds: float | None

    def __repr__(self) -> str:
        return "SignedJwt(<hidden>)"


def read_jwt(encoded: str, *, with_times: bool = True) -> SignedJwt:
    """Take an RS256 JWT apart; `with_times` says whether `exp` and `iat` are to be read.

    Raises `ConfigurationError` (code `jwt_invalid`, or `jwt_algorithm` for another algorithm than RS256).
    """
    parts = _parts(text(encoded, "JWT"))
    header, claims, signature = parts
    _check_algorithm(_object(header, "header").get("alg"))
    values = _object(claims, "payload")
    expires_at, longest = _times(values) if with_times else (None, None)
    return SignedJwt(f"{header}.{claims}", _standard(signature), expires_at, longest)


def _parts(encoded: str) -> list[str]:
    if re.search(r"\s", encoded):
        raise _invalid(
            "the JWT holds white space: pass its three parts alone, without 'Bearer ' and a line break at the end"
        )
    parts = encoded.split(".")
    if len(parts) == 5:
        raise ConfigurationError(
            "this is an encrypted JWT (JWE, five parts): it has no signature that the service could verify",
            code="jwt_algorithm",
            phase="configuration",
            what_to_do=_INSTEAD,
        )
    if len(parts) != 3:
        raise _invalid(f"not a signed JWT: that is three parts with dots in between, this has {len(parts)}")
    return parts


def _check_algorithm(algorithm: object) -> None:
    if algorithm == "RS256":
        return
    known = _OTHER_ALGORITHMS.get(algorithm) if isinstance(algorithm, str) else None
    what = known.format(algorithm) if known else "signed by an algorithm that is not known here"
    raise ConfigurationError(
        f"the JWT is {what}: {_WANTED}", code="jwt_algorithm", phase="configuration", what_to_do=_INSTEAD
    )


def _standard(signature: str) -> str:
    """Return the third part in standard base64, padded."""
    if re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", signature) and not _PART.fullmatch(signature):
        raise _invalid(
            "the JWT's signature was turned into standard base64 already: pass the JWT as it was issued, or its token "
            "and signature to Credentials.from_signed_token()"
        )
    size = len(_decode(signature, "signature"))
    if size < MIN_KEY_BITS // 8:
        raise _invalid(
            f"the JWT's signature has {size} bytes: it was cut off, or made with a key of fewer than {MIN_KEY_BITS} "
            "bits, which the service does not take"
        )
    return signature.translate(_TO_STANDARD) + "=" * (-len(signature) % 4)


def _object(part: str, what: str) -> dict[str, object]:
    data = _decode(part, what)
    value: object = None
    with contextlib.suppress(ValueError, RecursionError):  # json's and Unicode's errors would hold the text
        value = json.loads(data.decode())
    if not isinstance(value, dict):
        raise _invalid(f"not a JWT: its {what} is not a JSON object")
    return value


def _decode(part: str, what: str) -> bytes:
    if not part:
        raise _invalid(f"the JWT's {what} is empty")
    if not _PART.fullmatch(part):
        raise _invalid(f"not a JWT: its {what} is not base64url without padding")
    if len(part) % 4 == 1:
        raise _invalid(f"the JWT was cut off: its {what} cannot have this length")
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


# -- time -------------------------------------------------------------------------------------------------------------


def _times(claims: dict[str, object]) -> tuple[datetime | None, float | None]:
    """Return when the token ends, and how long it lasts from its issue (RFC 7519, sections 4.1.4 and 4.1.6)."""
    expiry, issued = _seconds(claims, "exp"), _seconds(claims, "iat")
    if expiry is None:
        return None, None
    expires_at = None
    with contextlib.suppress(ValueError, OverflowError, OSError):
        expires_at = datetime.fromtimestamp(expiry, UTC)
    if expires_at is None:
        raise _unreadable_time("exp", "is no date that a calendar has: seconds since 1970 are wanted, not milliseconds")
    return expires_at, None if issued is None else expiry - issued


def _seconds(claims: dict[str, object], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _unreadable_time(name, "is not a number of seconds since 1970")
    with contextlib.suppress(OverflowError):
        if math.isfinite(seconds := float(value)):
            return seconds
    raise _unreadable_time(name, "is too large for a time")


def _unreadable_time(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the JWT's claim {name} {why}",
        code="jwt_invalid",
        phase="configuration",
        what_to_do="if you know when it ends, pass expires_at= or expires_in_seconds=: then its own times are not read",
    )


def _invalid(message: str) -> ConfigurationError:
    return ConfigurationError(message, code="jwt_invalid", phase="configuration")
