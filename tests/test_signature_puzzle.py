"""A signature with `+`, `/` and `=` in the MQTT user name arrives; each of the seven usual mistakes is named.

docs/pitfalls.md tells the story. The hand-made user names are sent as they stand, by a client of nothing but TLS and
MQTT packets: what a device does that builds its user name itself.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from iot_customauth_client import ConfigurationError, Credentials, KeyPair, connect, generate_key_pair, sign_token
from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.local.codec import ConnAck

sys.path.insert(0, str(Path(__file__).parent / "local"))
from mqtt_wire import WireClient

WAIT = 10.0
ALLOW: dict[str, object] = {
    "isAuthenticated": True,
    "principalId": "Puzzle",
    "disconnectAfterInSeconds": 3600,
    "refreshAfterInSeconds": 300,
    "policyDocuments": [
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
    ],
}
seen: list[dict[str, Any]] = []


def allow(event: dict[str, Any], context: object) -> dict[str, object]:
    seen.append(event)
    return ALLOW


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return generate_key_pair()


@pytest.fixture(scope="module")
def endpoint(keys: KeyPair) -> Iterator[LocalEndpoint]:
    signed = LocalAuthorizer(allow, token_key_name="token", public_keys=(keys.public_pem,))
    unsigned = LocalAuthorizer(allow, token_key_name="token", signing_disabled=True)
    with LocalEndpoint({"signed": signed, "unsigned": unsigned}) as running:
        yield running


@pytest.fixture(scope="module")
def token(keys: KeyPair) -> str:
    """A token whose signature holds each of the three characters (RSA of 2,048 bits always ends with `==`)."""
    return next(
        token
        for token in (f"device-{number}" for number in range(1_000))
        if {"+", "/"} <= set(sign_token(token, keys.private_pem))
    )


@pytest.fixture(scope="module")
def signature(token: str, keys: KeyPair) -> str:
    made = sign_token(token, keys.private_pem)
    assert "+" in made
    assert "/" in made
    assert made.endswith("==")
    return made


@pytest.mark.parametrize("protocol", ["mqtt5", "mqtt311"])
def test_a_signature_with_plus_slash_and_equals_reaches_the_authorizer(
    protocol: str, endpoint: LocalEndpoint, token: str, signature: str
) -> None:
    credentials = Credentials.from_signed_token(token, signature, token_key_name="token", authorizer="signed")
    settings = endpoint.settings(f"puzzle-{protocol}", protocol=protocol)  # type: ignore[arg-type]
    seen.clear()
    with connect(settings, credentials=credentials, timeout=WAIT) as connection:
        assert connection.connected
    assert seen[-1]["signatureVerified"] is True
    assert seen[-1]["token"] == token
    assert quote(signature, safe="") in seen[-1]["protocolData"]["mqtt"]["username"]


def refused(endpoint: LocalEndpoint, username: str) -> events.Refused:
    """Send a hand-made user name; return what the endpoint said of it. The function must not be called."""
    before, calls = endpoint.events.last_sequence, len(seen)
    with WireClient(endpoint) as client:
        answer = client.connect(client_id="by-hand", username=username, password=None)
    assert isinstance(answer, ConnAck)
    assert answer.reason_code == 135
    assert len(seen) == calls
    return endpoint.events.wait_for(events.Refused, timeout=WAIT, after=before)


def by_hand(token: str, signature: str, *, key: str = "token", authorizer: str = "signed") -> str:
    return f"?x-amz-customauthorizer-name={authorizer}&{key}={token}&x-amz-customauthorizer-signature={signature}"


def client_says(token: str, signature: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Credentials.from_signed_token(token, signature, token_key_name="token", authorizer="signed")
    return str(caught.value)


def test_mistake_a_a_plus_that_became_a_space(endpoint: LocalEndpoint, token: str, signature: str) -> None:
    spoilt = signature.replace("+", " ")
    assert "each was probably a '+'" in client_says(token, spoilt)
    assert "a `+` was not percent-encoded as %2B" in refused(endpoint, by_hand(token, spoilt)).explanation


def test_mistake_b_a_second_question_mark(endpoint: LocalEndpoint, token: str, signature: str) -> None:
    username = by_hand(token, quote(signature, safe="")) + "?SDK=JavaV2&Version=1.2.3"
    said = refused(endpoint, username)
    assert said.cause == "username_unreadable"
    assert "more than one `?`" in said.explanation
    with pytest.raises(ConfigurationError, match="holds a '\\?'"):
        Credentials(username=username)


def test_mistake_c_line_breaks_of_openssl(endpoint: LocalEndpoint, token: str, signature: str) -> None:
    wrapped = "\n".join(signature[start : start + 64] for start in range(0, len(signature), 64)) + "\n"
    assert "openssl base64 -A" in client_says(token, wrapped)
    said = refused(endpoint, by_hand(token, quote(wrapped, safe="")))
    assert "it holds a line break: `openssl base64` adds them" in said.explanation


def test_mistake_d_base64url_of_a_jwt(endpoint: LocalEndpoint, token: str, signature: str) -> None:
    url_safe = base64.urlsafe_b64encode(base64.b64decode(signature)).decode()
    assert "base64url" in client_says(token, url_safe)
    assert "it is base64url: replace `-` by `+`" in refused(endpoint, by_hand(token, url_safe)).explanation


def test_mistake_e_another_token_key_name(endpoint: LocalEndpoint, token: str, signature: str) -> None:
    said = refused(endpoint, by_hand(token, quote(signature, safe=""), key="token-name"))
    assert said.cause == "token_missing"
    assert "append it as `token=TOKEN`" in said.explanation
    assert "parameters that came: `x-amz-customauthorizer-name`, `token-name`" in said.explanation
    assert token not in said.explanation


def test_mistake_f_signed_with_the_line_break_of_echo(endpoint: LocalEndpoint, token: str, keys: KeyPair) -> None:
    echoed = quote(sign_token(f"{token}\n", keys.private_pem), safe="")
    assert "sign with `printf %s` or `echo -n`" in refused(endpoint, by_hand(token, echoed)).explanation
    other = quote(sign_token("something else", keys.private_pem), safe="")
    assert "does not verify over the token value (1 key tried)" in refused(endpoint, by_hand(token, other)).explanation


def test_mistake_g_a_signature_for_an_authorizer_with_signing_disabled(
    endpoint: LocalEndpoint, token: str, signature: str
) -> None:
    before = endpoint.events.last_sequence
    with WireClient(endpoint) as client:
        client.connect(client_id="by-hand", username=by_hand(token, quote(signature, safe=""), authorizer="unsigned"))
    warned = endpoint.events.wait_for(events.Warned, timeout=WAIT, after=before)
    assert warned.cause == "signature_not_verified"
    assert "made with signing disabled" in warned.explanation
    assert seen[-1]["signatureVerified"] is False


def test_encoded_twice_is_named_too(endpoint: LocalEndpoint, token: str, signature: str) -> None:
    assert "encoded already" in client_says(token, quote(signature, safe=""))
    twice = quote(quote(signature, safe=""), safe="")
    assert "it was percent-encoded twice" in refused(endpoint, by_hand(token, twice)).explanation
