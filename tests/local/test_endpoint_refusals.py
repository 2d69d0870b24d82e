"""Every way to be refused: what the wire says, and the one sentence of the log that names the cause."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Callable

import pytest
from authorizer_functions import HeldBack
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from mqtt_wire import AUTHORIZER, USERNAME, WireClient

from iot_customauth_client.carriage import RawCredentials, write_connect
from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint, events
from iot_customauth_client.local.codec import (
    ConnAck,
    Connect,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscribeRequest,
    Version,
)

EITHER = pytest.mark.parametrize("version", [Version.MQTT5, Version.MQTT311], ids=["mqtt5", "mqtt311"])
MakeEndpoint = Callable[..., LocalEndpoint]
Result = dict[str, object]

ALLOW_ALL: Result = {
    "isAuthenticated": True,
    "principalId": "principal",
    "policyDocuments": [
        {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}}
    ],
}


def refused(endpoint: LocalEndpoint, version: Version, **connect: object) -> events.Refused:
    """Connect, insist on the consequence that the protocol version has, and return what the log says."""
    before = endpoint.events.last_sequence
    with WireClient(endpoint, version) as client:
        answer = client.connect(**connect)  # type: ignore[arg-type]
        if version is Version.MQTT5:
            assert isinstance(answer, ConnAck)
            assert answer.reason_code == 135
            assert client.receive() is None
        else:
            assert answer is None  # 3.1.1 is hung up on, without a CONNACK
    client_id = connect.get("client_id", "client_id")
    event = endpoint.wait_for(events.Refused, after=before, client_id=client_id, timeout=5)
    assert event.reason_code == (135 if version is Version.MQTT5 else None)
    return event


@EITHER
def test_a_wrong_password(endpoint: LocalEndpoint, version: Version) -> None:
    event = refused(endpoint, version, password=b"wrong")
    assert event.cause == "not_authenticated"
    assert AUTHORIZER in event.explanation
    assert "isAuthenticated" in event.explanation


@EITHER
def test_a_client_id_that_the_policy_does_not_allow(endpoint: LocalEndpoint, version: Version) -> None:
    event = refused(endpoint, version, client_id="another_id")
    assert "iot:Connect" in event.explanation
    assert endpoint.wait_for(events.Decided, timeout=0, action="iot:Connect", allowed=False)


@EITHER
def test_an_unknown_authorizer(endpoint: LocalEndpoint, version: Version) -> None:
    event = refused(endpoint, version, username="user01?x-amz-customauthorizer-name=custom_auth_mqtt")
    assert event.cause == "authorizer_unknown"
    assert "`custom_auth_mqtt` is unknown" in event.explanation
    assert f"Did you mean `{AUTHORIZER}`?" in event.explanation
    assert not endpoint.events.of_kind("authorizer_called")


def raises(event: object, context: object) -> Result:
    raise LookupError("no table of users")


def leaves(event: object, context: object) -> Result:
    sys.exit("I quit")


def dashed(event: object, context: object) -> Result:
    return {**ALLOW_ALL, "principalId": "device-7"}


def nothing(event: object, context: object) -> None:
    return None


def not_json(event: object, context: object) -> Result:
    return {**ALLOW_ALL, "policyDocuments": {1, 2}}


async def asynchronous(event: object, context: object) -> Result:
    return ALLOW_ALL


FAULTS: list[tuple[Callable[..., object], str, str, str]] = [
    (raises, "failed", "authorizer_failed", "LookupError: no table of users"),
    (leaves, "failed", "authorizer_failed", "SystemExit: I quit"),
    (dashed, "invalid", "authorizer_result_invalid", "'-'"),
    (nothing, "invalid", "authorizer_result_invalid", "return"),
    (not_json, "invalid", "authorizer_result_invalid", "JSON"),
    (asynchronous, "invalid", "authorizer_result_invalid", "async def"),
]


@EITHER
@pytest.mark.parametrize(("function", "outcome", "cause", "named"), FAULTS, ids=[each[0].__name__ for each in FAULTS])
def test_a_faulty_authorizer(
    make_endpoint: MakeEndpoint,
    version: Version,
    function: Callable[..., object],
    outcome: str,
    cause: str,
    named: str,
) -> None:
    endpoint = make_endpoint({AUTHORIZER: function})
    event = refused(endpoint, version)
    assert event.cause == cause
    assert named in event.explanation
    assert endpoint.wait_for(events.AuthorizerAnswered, timeout=0).outcome == outcome


def test_an_authorizer_that_takes_six_seconds_is_not_waited_for(make_endpoint: MakeEndpoint) -> None:
    def sleepy(event: object, context: object) -> Result:
        time.sleep(6)
        return ALLOW_ALL

    endpoint = make_endpoint({AUTHORIZER: sleepy})
    with WireClient(endpoint, Version.MQTT311) as old:  # both at once: the limit is 5 s of real time
        from iot_customauth_client.local.codec import Connect

        old.send(Connect(Version.MQTT311, "old", username=USERNAME, password=b"pass01"))
        event = refused(endpoint, Version.MQTT5)
        assert event.cause == "authorizer_timed_out"
        assert "5 s" in event.explanation
        assert old.receive() is None
    assert len(endpoint.events.of_kind(events.Refused)) == 2
    answered = endpoint.wait_for(events.AuthorizerAnswered, timeout=0)
    assert answered.outcome == "timed_out"
    assert answered.elapsed_seconds >= 5


def test_a_secret_in_an_exception_stays_out_of_the_log(
    make_endpoint: MakeEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    def careless(event: dict[str, dict[str, dict[str, str]]], context: object) -> Result:
        mqtt = event["protocolData"]["mqtt"]
        raise ValueError(f"bad password {base64.b64decode(mqtt['password']).decode()} of {mqtt['username']}")

    endpoint = make_endpoint({AUTHORIZER: careless})
    event = refused(endpoint, Version.MQTT5)
    assert "bad password" in event.explanation
    printed = capsys.readouterr().err
    assert "Traceback" in printed  # as Lambda writes it to its log
    for told in (event.explanation, printed):
        assert "pass01" not in told
        assert "user01" not in told


# -- how the user name is written ----------------------------------------------------------------------------------

WRITTEN: list[tuple[str | None, str, str]] = [
    (None, "authorizer_not_named", "x-amz-customauthorizer-name=NAME"),
    ("user01", "authorizer_not_named", "no authorizer is named"),
    ("user01?X-Amz-CustomAuthorizer-Name=a", "authorizer_not_named", "lower case"),
    ("user01&x-amz-customauthorizer-name=a", "authorizer_not_named", "without a `?`"),
    (f"{USERNAME}?SDK=PythonV2&Version=1.7", "username_unreadable", "more than one `?`"),
    (f"{USERNAME}&x-amz-customauthorizer-name=other", "parameter_repeated", "more than once"),
    (f"user01?x-amz-customauthorizer-name='{AUTHORIZER}'", "authorizer_unknown", "quotation marks"),
    ("user01?x-amz-customauthorizer-name=a%2540b", "authorizer_unknown", "twice"),
]


@EITHER
@pytest.mark.parametrize(("username", "cause", "named"), WRITTEN, ids=[str(each[0]) for each in WRITTEN])
def test_the_usual_mistakes_in_a_user_name_are_named(
    endpoint: LocalEndpoint, version: Version, username: str | None, cause: str, named: str
) -> None:
    password = None if username is None else b"pass01"  # in 3.1.1 there is none without a user name
    event = refused(endpoint, version, username=username, password=password)
    assert event.cause == cause
    assert named in event.explanation
    assert "user01" not in event.explanation


@EITHER
def test_an_inactive_authorizer(make_endpoint: MakeEndpoint, version: Version) -> None:
    inactive = LocalAuthorizer(lambda event, context: ALLOW_ALL, signing_disabled=True, status="INACTIVE")
    event = refused(make_endpoint({AUTHORIZER: inactive}), version)
    assert event.cause == "authorizer_inactive"


# -- signatures ----------------------------------------------------------------------------------------------------

KEYS = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
PUBLIC = tuple(
    key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for key in KEYS
)
TOKEN = "a token with /+= and ü"


def signature(token: str = TOKEN, key: int = 0) -> str:
    return base64.b64encode(KEYS[key].sign(token.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


def signed_name(token: str | None, value: str | None, key_name: str = "tok") -> str:
    raw = RawCredentials(username="bot", authorizer=AUTHORIZER, token_key_name=key_name, token=token, signature=value)
    username = write_connect(raw).username
    assert username is not None
    return username


@pytest.fixture
def signing_endpoint(make_endpoint: MakeEndpoint) -> tuple[LocalEndpoint, list[dict[str, object]]]:
    received: list[dict[str, object]] = []

    def authorizer(event: dict[str, object], context: object) -> Result:
        received.append(event)
        return ALLOW_ALL

    return make_endpoint({AUTHORIZER: LocalAuthorizer(authorizer, token_key_name="tok", public_keys=PUBLIC)}), received


@pytest.mark.parametrize("key", [0, 1])
@pytest.mark.parametrize("padded", [True, False])
def test_a_signature_of_any_of_the_keys_is_accepted(
    signing_endpoint: tuple[LocalEndpoint, list[dict[str, object]]], key: int, padded: bool
) -> None:
    endpoint, received = signing_endpoint
    value = signature(key=key) if padded else signature(key=key).rstrip("=")
    with WireClient(endpoint) as client:
        client.connected(username=signed_name(TOKEN, value), password=None)
    assert received[0]["token"] == TOKEN
    assert received[0]["signatureVerified"] is True
    endpoint.wait_for("closed", timeout=5)
    told = "\n".join(str(event.fields()) for event in endpoint.events)
    assert "signatureVerified" in told
    assert TOKEN not in told
    assert value[:20] not in told


def test_a_plus_in_the_signature_reaches_the_check(
    signing_endpoint: tuple[LocalEndpoint, list[dict[str, object]]],
) -> None:
    endpoint, _ = signing_endpoint
    token = next(f"token {n}" for n in range(100) if "+" in signature(f"token {n}"))
    with WireClient(endpoint) as client:
        client.connected(username=signed_name(token, signature(token)), password=None)


def test_the_signature_of_a_jwt_fits_its_first_two_parts(
    signing_endpoint: tuple[LocalEndpoint, list[dict[str, object]]],
) -> None:
    endpoint, received = signing_endpoint
    parts = [base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in (b'{"alg":"RS256"}', b'{"sub":"bot"}')]
    token = ".".join(parts)
    third = base64.urlsafe_b64encode(KEYS[0].sign(token.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    value = third.rstrip("=").replace("-", "+").replace("_", "/")
    with WireClient(endpoint) as client:
        client.connected(username=signed_name(token, value), password=None)
    assert received[0]["token"] == token


def base64url(value: str) -> str:
    return value.replace("+", "-").replace("/", "_")


UNSIGNED: list[tuple[str, str | None, str | None, str, str]] = [
    ("no signature", TOKEN, None, "signature_missing", "x-amz-customauthorizer-signature"),
    ("no token", None, signature(), "token_missing", "tok=TOKEN"),
    ("another token", TOKEN + "x", signature(), "signature_invalid", "2 keys tried"),
    ("a line break", TOKEN, signature()[:64] + "\n" + signature()[64:], "signature_invalid", "line break"),
    ("a space", TOKEN, signature()[:64] + " " + signature()[65:], "signature_invalid", "%2B"),
    ("base64url", TOKEN, base64url("+/" + signature()[2:]), "signature_invalid", "base64url"),
    ("encoded twice", TOKEN, "%2B" + signature()[1:], "signature_invalid", "twice"),
    ("cut off", TOKEN, signature().rstrip("=")[:-1], "signature_invalid", "cut off"),
]


@EITHER
@pytest.mark.parametrize(
    ("token", "value", "cause", "named"), [each[1:] for each in UNSIGNED], ids=[each[0] for each in UNSIGNED]
)
def test_a_bad_signature_never_reaches_the_function(
    signing_endpoint: tuple[LocalEndpoint, list[dict[str, object]]],
    version: Version,
    token: str | None,
    value: str | None,
    cause: str,
    named: str,
) -> None:
    endpoint, received = signing_endpoint
    event = refused(endpoint, version, username=signed_name(token, value), password=None)
    assert event.cause == cause
    assert named in event.explanation
    assert "a token with" not in event.explanation
    assert not received


def test_a_repeated_token_is_not_guessed_at(
    signing_endpoint: tuple[LocalEndpoint, list[dict[str, object]]],
) -> None:
    endpoint, _ = signing_endpoint
    username = signed_name(TOKEN, signature()) + "&tok=another"
    assert refused(endpoint, Version.MQTT5, username=username).cause == "parameter_repeated"


# -- after CONNACK -------------------------------------------------------------------------------------------------


@EITHER
def test_a_forbidden_publish(endpoint: LocalEndpoint, version: Version) -> None:
    with WireClient(endpoint, version) as client:
        client.connected()
        client.send(Publish("other-topic", b"", 1, packet_id=7))
        answer = client.receive()
        if version is Version.MQTT5:
            assert isinstance(answer, PubAck)
            assert (answer.packet_id, answer.reason_code) == (7, 135)
        else:
            assert answer is None
    decided = endpoint.wait_for(events.Decided, timeout=5, action="iot:Publish")
    assert not decided.allowed
    assert "topic/other-topic" in decided.explanation


@EITHER
def test_a_forbidden_subscribe(endpoint: LocalEndpoint, version: Version) -> None:
    with WireClient(endpoint, version) as client:
        client.connected()
        client.send(Subscribe(8, (SubscribeRequest("my-topic", 1), SubscribeRequest("my-topic/#", 1))))
        answer = client.receive()
        if version is Version.MQTT5:
            assert isinstance(answer, SubAck)
            assert answer.reason_codes == (1, 135)
        else:
            assert answer is None
    assert not endpoint.wait_for(events.Decided, timeout=5, resource=lambda arn: arn.endswith("/#")).allowed


def test_a_forbidden_subscribe_can_be_answered_instead_of_hanging_up(
    make_endpoint: MakeEndpoint, password_authorizer: LocalAuthorizer
) -> None:
    endpoint = make_endpoint({AUTHORIZER: password_authorizer}, refused_subscribe_311="suback")
    with WireClient(endpoint, Version.MQTT311) as client:
        client.connected()
        client.send(Subscribe(8, (SubscribeRequest("other-topic", 1),)))
        assert client.receive() == SubAck(8, (128,))


@EITHER
def test_a_client_that_leaves_before_the_answer(make_endpoint: MakeEndpoint, version: Version) -> None:
    slow = HeldBack()
    endpoint = make_endpoint({AUTHORIZER: slow})
    with WireClient(endpoint, version) as client:
        client.send(Connect(version, "client_id", username=USERNAME))
        endpoint.wait_for("authorizer_called", timeout=5)
    endpoint.wait_for("closed", timeout=5)
    slow.release.set()
    assert endpoint.wait_for(events.Refused, timeout=5).cause == "client_left"
    assert not endpoint.events.of_kind("connected")
