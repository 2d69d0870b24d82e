"""`Credentials.from_jwt`: any RS256 JWT becomes a token and a signature that verify; all else is told from it."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_support import all_shown_by, base64url, make_jwt, public_pem

import iot_customauth_client.credentials as credentials_module
from iot_customauth_client import ConfigurationError, Credentials
from iot_customauth_client.jwt import read_jwt
from iot_customauth_client.signing import verify_token

SECRET = "QmarkerQ"
ISSUED = 1_790_000_000
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
claims = st.dictionaries(st.text(max_size=10).filter(lambda name: name not in ("exp", "iat")), json_values, max_size=5)
headers = st.dictionaries(st.text(max_size=10), json_values, max_size=3).map(lambda more: more | {"alg": "RS256"})


def from_jwt(encoded: str, **more: Any) -> Credentials:
    return Credentials.from_jwt(encoded, token_key_name="jwt", **more)


def set_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the wall clock stand at so many seconds since 1970."""

    class WallClock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(seconds, tz)

    monkeypatch.setattr(credentials_module, "datetime", WallClock)


def left(credentials: Credentials) -> float:
    """Return how many seconds the credentials have left, to the nearest ten."""
    now = time.monotonic()
    return next(seconds for seconds in range(-20, 100_000, 10) if credentials.expired(now + seconds + 5))


# -- what it gives ----------------------------------------------------------------------------------------------------


@given(claims, headers)
def test_any_rs256_jwt_becomes_a_token_and_a_signature_that_verify(
    claims: dict[str, object], header: dict[str, object]
) -> None:
    encoded = make_jwt(claims, header)
    raw = from_jwt(encoded).reveal()
    assert raw.token is not None
    assert raw.signature is not None
    assert raw.token == encoded.rpartition(".")[0]
    assert verify_token(raw.token, raw.signature, public_pem())
    assert len(raw.signature) % 4 == 0
    assert not set("-_") & set(raw.signature)


def test_all_else_is_passed_on() -> None:
    raw = from_jwt(make_jwt({}), authorizer="A", username="u", password="p", parameters={"x": "y"}).reveal()
    assert (raw.token_key_name, raw.authorizer, raw.username, raw.password) == ("jwt", "A", "u", b"p")
    assert raw.parameters == (("x", "y"),)


def test_json_may_be_written_with_white_space_and_any_unicode() -> None:
    raw = from_jwt(make_jwt('{ "name" : "\u00e5\u2603" }\n', ' {"alg" : "RS256"}\r\n')).reveal()
    assert raw.token is not None
    assert raw.signature is not None
    assert verify_token(raw.token, raw.signature, public_pem())


# -- how long it lasts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exp", [ISSUED + 3_600, ISSUED + 3_600.0, ISSUED + 3_600.25])
def test_the_expiry_is_the_claim_exp(exp: float) -> None:
    assert from_jwt(make_jwt({"exp": exp})).expires_at == datetime.fromtimestamp(exp, UTC)


def test_without_exp_it_never_expires() -> None:
    for times in ({}, {"iat": ISSUED}, {"exp": None}):
        credentials = from_jwt(make_jwt(times))
        assert credentials.expires_at is None
        assert not credentials.expired(float("inf"))


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (0, 3_600),  # a device has no clock at boot: 1970
        (946_684_800, 3_600),  # or 2000
        (ISSUED - 30, 3_600),  # or one that is a little slow
        (ISSUED, 3_600),
        (ISSUED + 600, 3_000),
        (ISSUED + 3_600, 0),
    ],
)
def test_the_lifetime_is_never_longer_than_from_issue_to_expiry(
    now: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, now)
    credentials = from_jwt(make_jwt({"iat": ISSUED, "exp": ISSUED + 3_600}))
    assert left(credentials) == expected
    assert credentials.expires_at == datetime.fromtimestamp(ISSUED + 3_600, UTC)


def test_without_iat_the_clock_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, ISSUED)
    assert left(from_jwt(make_jwt({"exp": ISSUED + 3_600}))) == 3_600


def test_copies_and_pickles_keep_the_bound_of_the_lifetime(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 0)
    credentials = from_jwt(make_jwt({"iat": ISSUED, "exp": ISSUED + 3_600}))
    assert left(pickle.loads(pickle.dumps(credentials))) == 3_600
    assert left(credentials.model_copy()) == 3_600


def test_setting_the_clock_later_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    set_clock(monkeypatch, 0)
    credentials = from_jwt(make_jwt({"iat": ISSUED, "exp": ISSUED + 3_600}))
    set_clock(monkeypatch, ISSUED + 86_400)
    assert left(credentials) == 3_600


@pytest.mark.parametrize("how", ["at", "in"])
def test_an_expiry_that_is_given_wins_over_the_claims(how: str) -> None:
    encoded = make_jwt({"iat": "yesterday", "exp": "tomorrow"})
    moment = datetime.now(UTC) + timedelta(seconds=600)
    credentials = from_jwt(encoded, **({"expires_at": moment} if how == "at" else {"expires_in_seconds": 600}))
    assert left(credentials) == 600


# -- what is refused --------------------------------------------------------------------------------------------------

ALGORITHMS = {
    "none": r"not signed at all \(none\)",
    "HS256": r"authenticated with a shared secret \(HS256\)",
    "HS512": r"authenticated with a shared secret \(HS512\)",
    "RS384": r"signed with RSA, but over another hash \(RS384\)",
    "RS512": r"over another hash",
    "PS256": r"with another padding, PSS \(PS256\)",
    "ES256": r"with an elliptic curve key \(ES256\)",
    "ES384": r"with an elliptic curve key",
    "EdDSA": r"with an Edwards curve key",
    "rs256": r"an algorithm that is not known here",
    SECRET: r"an algorithm that is not known here",
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_algorithm_is_refused_with_the_reason_and_a_way_out(algorithm: str) -> None:
    with pytest.raises(ConfigurationError, match=ALGORITHMS[algorithm]) as caught:
        from_jwt(make_jwt({}, {"alg": algorithm}))
    assert caught.value.code == "jwt_algorithm"
    assert "(RS256) and nothing else" in str(caught.value)
    assert "from_bearer_token" in str(caught.value)
    assert SECRET not in all_shown_by(caught.value)


@pytest.mark.parametrize("header", [{"typ": "JWT"}, {"alg": None}, {"alg": ["RS256"]}, {"alg": {"a": 1}}])
def test_a_header_without_an_algorithm_is_refused(header: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="not known here"):
        from_jwt(make_jwt({}, header))


def test_an_unsigned_jwt_is_called_unsigned_and_not_cut_off() -> None:
    token = make_jwt({}, {"alg": "none"}).rpartition(".")[0]
    with pytest.raises(ConfigurationError, match="not signed at all"):
        from_jwt(f"{token}.")


SIGNED = make_jwt({"name": SECRET, "exp": ISSUED})
HEADER, PAYLOAD, SIGNATURE = SIGNED.split(".")
GARBAGE: dict[str, tuple[Callable[[], object], str]] = {
    "nothing": (lambda: from_jwt(""), "not a signed JWT"),
    "a word": (lambda: from_jwt(SECRET), "this has 1"),
    "two parts": (lambda: from_jwt(f"{HEADER}.{PAYLOAD}"), "this has 2"),
    "four parts": (lambda: from_jwt(f"{SIGNED}.{SECRET}"), "this has 4"),
    "five parts": (lambda: from_jwt(f"{HEADER}.{SECRET}.{SECRET}.{SECRET}.{SECRET}"), r"an encrypted JWT \(JWE"),
    "Bearer": (lambda: from_jwt(f"Bearer {SIGNED}"), "white space: .*'Bearer '"),
    "a line break": (lambda: from_jwt(f"{SIGNED}\n"), "white space"),
    "in quotes": (lambda: from_jwt(f'"{SIGNED}"'), "header is not base64url"),
    "no header": (lambda: from_jwt(f".{PAYLOAD}.{SIGNATURE}"), "header is empty"),
    "no payload": (lambda: from_jwt(f"{HEADER}..{SIGNATURE}"), "payload is empty"),
    "no signature": (lambda: from_jwt(f"{HEADER}.{PAYLOAD}."), "signature is empty"),
    "half a signature": (lambda: from_jwt(SIGNED[:-100]), "cut off, or made with a key of fewer than 2048"),
    "one character less": (lambda: from_jwt(SIGNED[:-1]), "cut off"),
    "a signature in base64": (
        lambda: from_jwt(f"{HEADER}.{PAYLOAD}.{'ab+/' * 86}"),
        "into standard base64 already: .*from_signed_token",
    ),
    "a signature with padding": (lambda: from_jwt(f"{HEADER}.{PAYLOAD}.{'ab-_' * 86}=="), "base64url without padding"),
    "a mixture": (lambda: from_jwt(f"{HEADER}.{PAYLOAD}.{'a-+/' * 86}"), "signature is not base64url"),
    "a percent sign": (lambda: from_jwt(f"{HEADER}.{PAYLOAD}.%{SIGNATURE}"), "signature is not base64url"),
    "no JSON": (lambda: from_jwt(make_jwt(SECRET)), "payload is not a JSON object"),
    "half JSON": (lambda: from_jwt(make_jwt(f'{{"a": "{SECRET}')), "payload is not a JSON object"),
    "a list": (lambda: from_jwt(make_jwt(f'["{SECRET}"]')), "payload is not a JSON object"),
    "no UTF-8": (
        lambda: from_jwt(f"{base64url(SECRET.encode() + bytes([255]))}.{PAYLOAD}.{SIGNATURE}"),
        "header is not",
    ),
    "deep JSON": (lambda: from_jwt(make_jwt("[" * 200_000)), "payload is not a JSON object"),
    "long numbers": (lambda: from_jwt(make_jwt('{"exp": ' + "9" * 5_000 + "}")), "payload is not a JSON object"),
    "exp as text": (lambda: from_jwt(make_jwt({"exp": SECRET})), "claim exp is not a number"),
    "exp as bool": (lambda: from_jwt(make_jwt({"exp": True})), "claim exp is not a number"),
    "iat as text": (lambda: from_jwt(make_jwt({"exp": ISSUED, "iat": SECRET})), "claim iat is not a number"),
    "exp in milliseconds": (lambda: from_jwt(make_jwt({"exp": ISSUED * 1_000})), "exp is no date .*not milliseconds"),
    "exp not a number": (lambda: from_jwt(make_jwt('{"exp": NaN}')), "exp is too large for a time"),
    "exp infinite": (lambda: from_jwt(make_jwt('{"exp": 1e999}')), "exp is too large for a time"),
    "exp enormous": (lambda: from_jwt(make_jwt({"exp": 10**400})), "exp is too large for a time"),
    "iat not a number": (lambda: from_jwt(make_jwt('{"exp": 5, "iat": NaN}')), "iat is too large for a time"),
    "bytes": (lambda: from_jwt(SIGNED.encode()), "JWT must be a str"),  # type: ignore[arg-type]
    "lone surrogate": (lambda: from_jwt(SIGNED + "\ud800"), "lone surrogate"),
    "too long a token": (lambda: from_jwt(make_jwt({"name": SECRET * 1_000})), "the service takes 6144"),
    "two expiries": (lambda: from_jwt(SIGNED, expires_at=datetime.now(UTC), expires_in_seconds=5), "not both"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_what_is_no_rs256_jwt_is_refused_by_what_it_is_and_never_shown(what: str) -> None:
    bad, message = GARBAGE[what]
    with pytest.raises(ConfigurationError, match=message) as caught:
        bad()
    shown = all_shown_by(caught.value)
    assert caught.value.__context__ is None
    for secret in (SECRET, base64url(SECRET.encode())[:-1], PAYLOAD, SIGNATURE, str(ISSUED), "9999"):
        assert secret not in shown


@given(st.text(max_size=60) | st.lists(st.text("ab-_.+=", max_size=9), min_size=3, max_size=3).map(".".join))
def test_any_other_text_is_refused_by_our_own_error(encoded: str) -> None:
    with pytest.raises(ConfigurationError):
        from_jwt(encoded)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_content_of_a_payload_is_taken_or_refused_by_our_own_error(before: bytes, after: bytes) -> None:
    encoded = f"{HEADER}.{base64url(before + json.dumps({'a': 1}).encode() + after)}.{SIGNATURE}"
    try:
        credentials = from_jwt(encoded)
    except ConfigurationError:
        return
    assert credentials.reveal().token == encoded.rpartition(".")[0]


def test_what_was_read_is_not_shown() -> None:
    assert repr(read_jwt(SIGNED)) == "SignedJwt(<hidden>)"
    assert PAYLOAD not in repr(from_jwt(SIGNED))
