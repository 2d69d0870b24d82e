"""Every way in, with every kind of credentials, right and wrong: the table of docs/doors.md, a test for each cell.

A door is a protocol, a transport and a place for the credentials. What each answer means to our client is `EXPECTED`;
what the endpoint makes of it is read from its events: above all, that a wrong signature never calls the function.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from client_support import States

from iot_customauth_client import (
    AuthenticationRefused,
    ClosedBeforeConnack,
    ConfigurationError,
    Credentials,
    CustomAuthError,
    HttpsPublisher,
    KeyPair,
    State,
    connect,
    generate_key_pair,
)
from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.signing import sign_token

pytest_plugins = ("client_support",)
pytestmark = pytest.mark.usefixtures("no_secret_in_logs")

WAIT = 15.0
USER, PASSWORD, TOKEN, WRONG = "marker-user-5b1c", "marker-password-93e7", "marker-token+/=?&%41", "marker-wrong-0d42"
ALLOW: dict[str, object] = {
    "isAuthenticated": True,
    "principalId": "EveryDoor",
    "disconnectAfterInSeconds": 3600,
    "refreshAfterInSeconds": 300,
    "policyDocuments": [
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
    ],
}
DENY: dict[str, object] = {"isAuthenticated": False}


@dataclass(frozen=True)
class Door:
    name: str
    protocol: str | None  # None: HTTPS
    transport: str
    credentials_in: str

    @property
    def in_upgrade(self) -> bool:
        return self.protocol is not None and self.credentials_in != "connect"


DOORS = [
    *(
        Door(f"{protocol}-{transport}-{place}", protocol, transport, place)
        for protocol in ("mqtt5", "mqtt311")
        for transport, place in (
            ("tls", "connect"),
            ("websocket", "connect"),
            ("websocket", "headers"),
            ("websocket", "query"),
        )
    ),
    Door("https-headers", None, "https", "headers"),
    Door("https-query", None, "https", "query"),
]
KINDS = ("password", "signed", "jwt", "bearer")
WRONGS = ("wrong secret", "wrong signature", "unknown authorizer", "inactive authorizer")


def by_password(event: dict[str, Any], context: object) -> dict[str, object]:
    mqtt = event["protocolData"]["mqtt"]
    known = mqtt.get("username", "").partition("?")[0] == USER
    return ALLOW if known and base64.b64decode(mqtt.get("password", "")) == PASSWORD.encode() else DENY


def by_token(event: dict[str, Any], context: object) -> dict[str, object]:
    return ALLOW if event["token"] == TOKEN else DENY


def by_claims(event: dict[str, Any], context: object) -> dict[str, object]:
    assert event["signatureVerified"] is True
    claims = event["token"].split(".")[1]
    return ALLOW if json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"] == USER else DENY


@pytest.fixture(scope="module")
def keys() -> KeyPair:
    return generate_key_pair()


@pytest.fixture(scope="module")
def service(keys: KeyPair) -> Iterator[LocalEndpoint]:
    signing: dict[str, Any] = {"token_key_name": "token", "public_keys": (keys.public_pem,)}
    bearing: dict[str, Any] = {"token_key_name": "token", "signing_disabled": True}
    functions: dict[str, tuple[Callable[..., dict[str, object]], dict[str, Any]]] = {
        "password": (by_password, {"signing_disabled": True}),
        "signed": (by_token, signing),
        "jwt": (by_claims, signing),
        "bearer": (by_token, bearing),
    }
    authorizers = {name: LocalAuthorizer(function, **rest) for name, (function, rest) in functions.items()}
    inactive = {
        f"{name}-inactive": LocalAuthorizer(function, status="INACTIVE", **rest)
        for name, (function, rest) in functions.items()
    }
    with LocalEndpoint(authorizers | inactive) as endpoint:
        yield endpoint


def jwt(keys: KeyPair, subject: str) -> str:
    parts = [{"alg": "RS256", "typ": "JWT"}, {"sub": subject, "iat": int(time.time()), "exp": int(time.time()) + 600}]
    token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    signature = base64.b64decode(sign_token(token, keys.private_pem))
    return f"{token}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def credentials_for(kind: str, keys: KeyPair, wrong: str | None) -> Credentials:
    authorizer = {"unknown authorizer": "nobody", "inactive authorizer": f"{kind}-inactive"}.get(wrong or "", kind)
    secret_is_wrong = wrong == "wrong secret"
    if kind == "password":
        return Credentials.from_password(USER, WRONG if secret_is_wrong else PASSWORD, authorizer=authorizer)
    token = WRONG if secret_is_wrong else TOKEN
    if kind == "bearer":
        return Credentials.from_bearer_token(token, token_key_name="token", authorizer=authorizer)
    if kind == "jwt":
        made = Credentials.from_jwt(
            jwt(keys, WRONG if secret_is_wrong else USER), token_key_name="token", authorizer=authorizer
        )
    else:
        signature = sign_token(token, keys.private_pem)
        made = Credentials.from_signed_token(token, signature, token_key_name="token", authorizer=authorizer)
    if wrong != "wrong signature":
        return made
    other = sign_token("another token", keys.private_pem)
    assert made.token is not None
    return Credentials.from_signed_token(
        made.token.get_secret_value(), other, token_key_name="token", authorizer=authorizer
    )


def expected(door: Door, wrong: str) -> tuple[type[CustomAuthError], int | None]:
    """Return the error and the code that our client sees."""
    if door.protocol is None:
        return AuthenticationRefused, 403
    if door.in_upgrade and wrong != "wrong secret":
        return AuthenticationRefused, 403  # known before the upgrade is answered
    if door.protocol == "mqtt5":
        return AuthenticationRefused, 135
    return ClosedBeforeConnack, None  # all that MQTT 3.1.1 can say


def knock(door: Door, service: LocalEndpoint, credentials: Credentials) -> CustomAuthError | None:
    """Go through a door once; return what went wrong, or `None`."""
    client_id = f"door-{uuid.uuid4().hex[:12]}"
    settings = service.settings(client_id)
    if door.protocol is None:
        with HttpsPublisher(settings, credentials) as publisher:
            try:
                publisher.publish(f"doors/{client_id}", b"x", credentials_in=door.credentials_in, timeout=WAIT)  # type: ignore[arg-type]
            except CustomAuthError as error:
                return error
            return None
    states = States()
    connection = connect(
        settings.replace(protocol=door.protocol, transport=door.transport, credentials_in=door.credentials_in),
        credentials=credentials,
        timeout=0,
        on_state_change=states,
    )
    try:
        change = states.wait_for(State.CONNECTED, State.WAITING, State.CLOSED)
        if change.state is State.CONNECTED:
            with connection.subscribe(f"doors/{client_id}") as messages:
                connection.publish(f"doors/{client_id}", b"there and back").result(WAIT)
                assert messages.get(WAIT).payload == b"there and back"
        assert change.error is None or isinstance(change.error, CustomAuthError)
        return change.error
    finally:
        connection.close()


def https_cannot(door: Door, kind: str) -> bool:
    return door.protocol is None and kind == "password"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_the_right_credentials_pass(door: Door, kind: str, service: LocalEndpoint, keys: KeyPair) -> None:
    credentials = credentials_for(kind, keys, None)
    if https_cannot(door, kind):
        error = knock(door, service, credentials)
        assert isinstance(error, ConfigurationError), "HTTPS has no place for a user name and a password"
        return
    assert knock(door, service, credentials) is None


@pytest.mark.parametrize("wrong", WRONGS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_the_wrong_credentials_are_refused_with_the_reason(
    door: Door, kind: str, wrong: str, service: LocalEndpoint, keys: KeyPair
) -> None:
    if https_cannot(door, kind) or (wrong == "wrong signature" and kind in ("password", "bearer")):
        return  # there is no such thing
    before = service.events.last_sequence
    error = knock(door, service, credentials_for(kind, keys, wrong))
    kind_of_error, code = expected(door, wrong)
    assert isinstance(error, kind_of_error), error
    if isinstance(error, AuthenticationRefused):
        assert error.reason_code == code
    happened = list(service.events.since(before))
    refused = [event for event in happened if isinstance(event, events.Refused)]
    assert refused, [event.kind for event in happened]
    causes = {
        "wrong secret": "not_authenticated",
        "wrong signature": "signature_invalid",
        "unknown authorizer": "authorizer_unknown",
        "inactive authorizer": "authorizer_inactive",
    }
    assert {event.cause for event in refused} == {causes[wrong]}
    called = any(isinstance(event, events.AuthorizerCalled) for event in happened)
    assert called == (wrong == "wrong secret"), "the function is asked about the secret, and about nothing else"
