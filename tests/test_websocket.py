"""MQTT over WebSocket: where the credentials travel, what a refusal of the upgrade is called, and the proxy."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from awscrt import mqtt, mqtt5
from client_support import WAIT
from door_servers import (
    FORBIDDEN,
    ConnectProxy,
    HttpDoor,
    Reply,
    Seen,
    all_told_by,
    usual_reply,
)

from iot_customauth_client import (
    AuthenticationRefused,
    ClosedBeforeConnack,
    ConfigurationError,
    ConnectError,
    ConnectionBuilder,
    ConnectTimeout,
    Credentials,
    CredentialsUnavailable,
    EndpointUnreachable,
    ProxyRefused,
    State,
    StateChange,
    Throttled,
    connect,
)
from iot_customauth_client.carriage import RawCredentials, read_username
from iot_customauth_client.links.base import Accepted, Link, LinkEnd
from iot_customauth_client.links.mqtt5 import Mqtt5Link
from iot_customauth_client.links.mqtt311 import Mqtt311Link
from iot_customauth_client.local.codec import ConnAck, Packet, Publish, SubAck, Subscribe
from iot_customauth_client.messages import Message
from iot_customauth_client.runtime import runtime

pytest_plugins = ("door_servers",)

BOTH = pytest.mark.parametrize("protocol", ["mqtt5", "mqtt311"])
PLACES = pytest.mark.parametrize("place", ["connect", "headers", "query"])
TOKEN = "header.payload-with-%41-and-a-+"
SIGNATURE = "ab+/cd=="
PASSWORD = "marker-password-93e7"
SIGNED = Credentials.from_signed_token(
    TOKEN,
    SIGNATURE,
    token_key_name="Token-Key",
    authorizer="gate=,@",
    username="marker-user",
    password=PASSWORD,
    parameters={"more": "1 2"},
)
PARAMETERS = [
    ("x-amz-customauthorizer-name", "gate=,@"),
    ("x-amz-customauthorizer-signature", SIGNATURE),
    ("Token-Key", TOKEN),
    ("more", "1 2"),
]
SECRETS = (TOKEN, SIGNATURE, PASSWORD, "marker-user")


def refusing(status: int, body: bytes = FORBIDDEN) -> Any:
    return lambda _seen: Reply(status=status, body=body)


# -- what travels where -----------------------------------------------------------------------------------------------


@BOTH
@PLACES
def test_a_message_goes_out_and_back_and_the_credentials_are_where_they_were_asked_to_be(
    protocol: Any, place: Any, door: HttpDoor
) -> None:
    def echo(packet: Packet) -> list[Packet]:
        match packet:
            case Subscribe():
                return [SubAck(packet.packet_id, (1,)), Publish(topic="t", payload=b"hello", qos=0)]
            case _:
                return list(usual(packet))

    usual = door.answer_mqtt
    door.answer_mqtt = echo
    settings = door.settings(protocol=protocol, transport="websocket", credentials_in=place)
    with connect(settings, credentials=SIGNED, timeout=WAIT) as connection:
        with connection.subscribe("t") as messages:
            assert messages.get(WAIT).payload == b"hello"
        connection.publish("t", b"there").result(WAIT)

    (upgrade,) = door.upgrades()
    (packet,) = door.connects()
    assert (upgrade.path.path, upgrade.headers.get("sec-websocket-protocol")) == ("/mqtt", "mqtt")
    assert door.alpn == [None]
    assert packet.client_id == "device-1"
    in_query = list(upgrade.path.parameters)
    in_headers = [pair for pair in upgrade.raw_headers if pair[0].lower() in dict_of_names()]
    read = read_username(packet.username or "")
    assert (read.base, packet.password) == ("marker-user", PASSWORD.encode())
    assert in_query == (PARAMETERS if place == "query" else [])
    assert upgrade.path.query is None or place == "query"
    assert [(n.lower(), v) for n, v in in_headers] == (
        [(n.lower(), v) for n, v in PARAMETERS] if place == "headers" else []
    )
    assert list(read.parameters) == (PARAMETERS if place == "connect" else [])
    assert [each.payload for each in door.packets if isinstance(each, Publish)] == [b"there"]


def dict_of_names() -> set[str]:
    return {name.lower() for name, _ in PARAMETERS}


@BOTH
@pytest.mark.parametrize("place", ["headers", "query"])
def test_without_user_name_and_password_connect_carries_neither(protocol: Any, place: Any, door: HttpDoor) -> None:
    bearer = Credentials.from_bearer_token("token", token_key_name="key", authorizer="gate")
    settings = door.settings(protocol=protocol, transport="websocket", credentials_in=place)
    with connect(settings, credentials=bearer, timeout=WAIT):
        pass
    (packet,) = door.connects()
    assert (packet.username, packet.password) == (None, None)


@BOTH
def test_the_native_object_is_awscrts_own_and_unstarted(protocol: Any, door: HttpDoor) -> None:
    builder = ConnectionBuilder(
        door.settings(protocol=protocol, transport="websocket", credentials_in="headers"), SIGNED
    )
    native = builder.mqtt5() if protocol == "mqtt5" else builder.mqtt311()
    assert isinstance(native, mqtt5.Client | mqtt.Connection)
    assert door.accepted == 0


def test_a_builders_own_mqtt311_connection_upgrades_with_the_credentials(door: HttpDoor) -> None:
    builder = ConnectionBuilder(
        door.settings(protocol="mqtt311", transport="websocket", credentials_in="headers"), SIGNED
    )
    native = builder.mqtt311()
    native.connect().result(WAIT)
    native.disconnect().result(WAIT)
    assert door.upgrades()[0].headers.signature == SIGNATURE


def test_what_a_header_cannot_carry_is_refused_before_anything_is_dialled(door: HttpDoor) -> None:
    bad = Credentials.from_bearer_token("a\nInjected: yes", token_key_name="key")
    settings = door.settings(transport="websocket", credentials_in="headers")
    with pytest.raises(ConfigurationError, match="control characters") as caught:
        connect(settings, credentials=bad, timeout=WAIT)
    assert caught.value.code == "credentials_not_for_headers"
    assert "Injected" not in all_told_by(caught.value)
    assert 'credentials_in="query"' in str(caught.value)
    assert door.accepted == 0


# -- the source of the credentials is asked on every attempt ----------------------------------------------------------


class Watcher:
    """A listener of a link."""

    def __init__(self) -> None:
        self.ends: list[LinkEnd] = []
        self.accepted: list[Accepted] = []
        self.changed = threading.Condition()

    def link_connected(self, link: Link, accepted: Accepted) -> None:
        with self.changed:
            self.accepted.append(accepted)
            self.changed.notify_all()

    def link_ended(self, link: Link, end: LinkEnd) -> None:
        with self.changed:
            self.ends.append(end)
            self.changed.notify_all()

    def receive(self, message: Message, acknowledge: Any) -> None:
        pass

    def wait(self, *, ends: int = 0, accepted: int = 0) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.ends) >= ends and len(self.accepted) >= accepted, WAIT)


def make_link(protocol: str, settings: Any, carried: Any, watcher: Watcher) -> Link:
    builder = ConnectionBuilder(settings, Credentials(), carried=carried)
    kind = Mqtt5Link if protocol == "mqtt5" else Mqtt311Link
    return kind(builder, watcher, runtime(), watcher)


@BOTH
@pytest.mark.parametrize("place", ["headers", "query"])
def test_every_attempt_asks_for_the_credentials_anew_and_the_same_native_object_uses_them(
    protocol: Any, place: Any, door: HttpDoor
) -> None:
    answers = iter(["first", "second"])

    def carried() -> RawCredentials:
        return RawCredentials(token_key_name="key", token=next(answers))

    door.answer = lambda seen: (
        usual_reply(seen) if "second" in (seen.headers.get("key"), seen.path.get("key")) else Reply(status=403)
    )
    watcher = Watcher()
    settings = door.settings(protocol=protocol, transport="websocket", credentials_in=place)
    link = make_link(protocol, settings, carried, watcher)
    native = link.native
    link.attempt()
    watcher.wait(ends=1)
    assert watcher.ends[0].error_name == "AWS_ERROR_HTTP_WEBSOCKET_UPGRADE_FAILURE"
    link.attempt()
    watcher.wait(accepted=1)
    assert link.native is native
    assert link.capabilities.renews_in_place
    link.end()
    watcher.wait(ends=2)


@BOTH
@pytest.mark.parametrize("mistake", [ValueError("secret-in-text"), CredentialsUnavailable("the vault is closed")])
def test_an_error_of_the_source_ends_the_attempt_with_that_error(
    protocol: Any, mistake: Exception, door: HttpDoor
) -> None:
    def carried() -> RawCredentials:
        raise mistake

    watcher = Watcher()
    settings = door.settings(protocol=protocol, transport="websocket", credentials_in="headers")
    link = make_link(protocol, settings, carried, watcher)
    link.attempt()
    watcher.wait(ends=1)
    (end,) = watcher.ends
    assert isinstance(end.error, CredentialsUnavailable)
    assert end.error is mistake or end.error.__cause__ is mistake
    assert "secret-in-text" not in str(end.error)
    assert door.upgrades() == []


@BOTH
def test_a_source_that_never_answers_ends_the_attempt_in_time_and_the_link_can_try_again(
    protocol: Any, door: HttpDoor
) -> None:
    never = threading.Event()
    calls: list[int] = []

    def carried() -> RawCredentials:
        calls.append(1)
        if len(calls) == 1:
            never.wait(WAIT)
        return RawCredentials(token_key_name="key", token="late")

    watcher = Watcher()
    settings = door.settings(
        protocol=protocol, transport="websocket", credentials_in="query", connect_timeout_seconds=0.3
    )
    link = make_link(protocol, settings, carried, watcher)
    link.attempt()
    watcher.wait(ends=1)
    error = watcher.ends[0].error
    assert isinstance(error, CredentialsUnavailable)
    assert error.code == "credentials_timeout"
    never.set()  # the late answer must not touch a request that is gone
    link.attempt()
    watcher.wait(accepted=1)
    link.end()
    watcher.wait(ends=2)


# -- refusals of the upgrade ------------------------------------------------------------------------------------------


@BOTH
@PLACES
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_upgrade_is_raised_at_once_with_the_status_and_the_trace_id(
    protocol: Any, place: Any, status: int, door: HttpDoor
) -> None:
    door.answer = refusing(status)
    settings = door.settings(protocol=protocol, transport="websocket", credentials_in=place)
    with pytest.raises(AuthenticationRefused) as caught:
        connect(settings, credentials=SIGNED, timeout=WAIT)
    error = caught.value
    assert (error.reason_code, error.reason_string) == (status, "Forbidden")
    assert error.trace_id == "99999999-aaaa-bbbb-cccc-dddddddddddd"
    assert error.trace_id in str(error)
    assert (error.client_id, error.phase) == ("device-1", "connect")
    assert not any(secret in all_told_by(error) for secret in SECRETS)
    first, probe = door.upgrades()  # one attempt, one probe, which asks for just the same
    assert probe.target == first.target
    assert probe.headers.get("token-key") == first.headers.get("token-key")
    assert probe.headers.get("host") == first.headers.get("host")
    assert probe.headers.get("sec-websocket-protocol") == "mqtt"


@BOTH
@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (429, Throttled, "throttled"),
        (500, EndpointUnreachable, "server_unavailable"),
        (503, EndpointUnreachable, "server_unavailable"),
        (404, ConnectError, "upgrade_refused"),
        (431, ConnectError, "upgrade_too_large"),
    ],
)
def test_another_answer_is_tried_again_and_explained_by_one_probe(
    protocol: Any, status: int, kind: type[ConnectError], code: str, door: HttpDoor
) -> None:
    door.answer = refusing(status, b'{"message":"later","traceId":"t-1"}')
    changes: list[StateChange] = []
    settings = door.settings(protocol=protocol, transport="websocket", credentials_in="headers")
    with pytest.raises(ConnectTimeout) as caught:
        connect(settings, credentials=SIGNED, timeout=1.5, on_state_change=changes.append)
    last = caught.value.__cause__
    assert type(last) is kind
    assert last.code == code
    assert f"HTTP {status}" in str(caught.value)
    waits = [change for change in changes if change.state is State.WAITING]
    attempts = len(changes) and max(change.attempt for change in changes)
    assert waits
    assert len(door.upgrades()) <= attempts + 1


def test_an_endpoint_that_recovers_is_connected_to(door: HttpDoor) -> None:
    def recovering(seen: Seen) -> Reply:
        return Reply(status=503, body=b"") if len(door.upgrades()) <= 2 else usual_reply(seen)

    door.answer = recovering
    settings = door.settings(transport="websocket", credentials_in="headers")
    with connect(settings, credentials=SIGNED, timeout=WAIT) as connection:
        assert connection.state is State.CONNECTED


def test_a_denied_connect_after_the_upgrade_is_a_refusal_by_reason_code(door: HttpDoor) -> None:
    door.answer_mqtt = lambda _packet: [ConnAck(session_present=False, reason_code=135)]
    settings = door.settings(transport="websocket", credentials_in="query")
    with pytest.raises(AuthenticationRefused) as caught:
        connect(settings, credentials=SIGNED, timeout=WAIT)
    assert caught.value.reason_code == 135
    assert len(door.upgrades()) == 1


def test_a_hang_up_after_the_upgrade_is_raised_at_the_second_time(door: HttpDoor) -> None:
    def hang_up(_packet: Packet) -> list[Packet]:
        raise EOFError

    door.answer_mqtt = hang_up
    settings = door.settings(protocol="mqtt311", transport="websocket", credentials_in="headers")
    with pytest.raises(ClosedBeforeConnack) as caught:
        connect(settings, credentials=SIGNED, timeout=WAIT)
    assert "client id" in caught.value.likely_causes[0]
    assert len(door.upgrades()) == 2


# -- through a proxy --------------------------------------------------------------------------------------------------


@BOTH
@PLACES
def test_a_proxy_with_basic_authentication_lets_a_websocket_through(
    protocol: Any, place: Any, door: HttpDoor, proxy: ConnectProxy
) -> None:
    settings = door.settings(protocol=protocol, transport="websocket", credentials_in=place, http_proxy=proxy.url)
    with connect(settings, credentials=SIGNED, timeout=WAIT) as connection:
        connection.publish("t", b"through").result(WAIT)
    assert proxy.targets == [f"localhost:{door.port}"]
    assert door.server_names == ["localhost"]


@BOTH
def test_a_refusal_behind_a_proxy_is_asked_for_through_the_proxy(
    protocol: Any, door: HttpDoor, proxy: ConnectProxy
) -> None:
    door.answer = refusing(403)
    settings = door.settings(protocol=protocol, transport="websocket", credentials_in="query", http_proxy=proxy.url)
    with pytest.raises(AuthenticationRefused):
        connect(settings, credentials=SIGNED, timeout=WAIT)
    assert len(proxy.targets) == door.accepted == 2


@BOTH
def test_a_proxy_that_wants_other_credentials_is_named(protocol: Any, door: HttpDoor, proxy: ConnectProxy) -> None:
    wrong = f"http://proxy-user:marker-wrong-77@127.0.0.1:{proxy.port}"
    settings = door.settings(protocol=protocol, transport="websocket", http_proxy=wrong)
    with pytest.raises(ProxyRefused) as caught:
        connect(settings, credentials=SIGNED, timeout=WAIT)
    assert caught.value.status == 407
    assert "marker-wrong-77" not in all_told_by(caught.value)
    assert door.accepted == 0
