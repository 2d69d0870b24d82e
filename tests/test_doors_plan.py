"""Settings, builder and plans of the HTTP doors: what is refused, what is shown, and commands that really work."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import typing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from client_support import WAIT
from door_servers import ConnectProxy, HttpDoor, Seen

from iot_customauth_client import (
    ConfigurationError,
    ConnectionBuilder,
    ConnectionSettings,
    Credentials,
    HttpsPublisher,
    connect,
)
from iot_customauth_client.settings import SettingsDict

pytest_plugins = ("door_servers",)

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
HOST = "xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com"
TOKEN = "marker.token/+ %41"
SIGNATURE = "bWFya2Vy+/=="
PASSWORD = "marker-password"
USER = "marker-user"
SIGNED = Credentials.from_signed_token(
    TOKEN,
    SIGNATURE,
    token_key_name="Token-Key",
    authorizer="gate=,@",
    username=USER,
    password=PASSWORD,
    parameters={"more": "marker-more"},
)
BARE = Credentials.from_signed_token(
    TOKEN, SIGNATURE, token_key_name="Token-Key", authorizer="gate=,@", parameters={"more": "marker-more"}
)
SECRETS = (TOKEN, quote(TOKEN, safe=""), SIGNATURE, quote(SIGNATURE, safe=""), PASSWORD, USER, "marker")
PLACES = pytest.mark.parametrize("place", ["connect", "headers", "query"])


def settings(**values: Any) -> ConnectionSettings:
    return ConnectionSettings(**({"endpoint": HOST, "client_id": "device-1"} | values))


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "offered"),
    [
        ({}, "mqtt"),
        ({"alpn": None}, None),
        ({"transport": "websocket"}, None),
        ({"transport": "websocket", "alpn": "http/1.1"}, "http/1.1"),
        ({"transport": "websocket", "alpn": None}, None),
    ],
)
def test_the_alpn_name_follows_from_the_transport(given: dict[str, Any], offered: str | None) -> None:
    assert settings(**given).alpn_name == offered


@pytest.mark.parametrize("place", ["headers", "query"])
def test_credentials_in_an_upgrade_need_websocket(place: str) -> None:
    with pytest.raises(ConfigurationError, match='needs transport="websocket"'):
        settings(credentials_in=place)
    with pytest.raises(ConfigurationError, match='needs transport="websocket"'):
        settings(transport="websocket", credentials_in=place).replace(transport="tls")


def test_alpn_mqtt_with_websocket_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigurationError, match="never answers the upgrade"):
        settings(transport="websocket", alpn="mqtt")


def test_the_keyword_arguments_of_connect_are_the_settings() -> None:
    hints = set(typing.get_type_hints(SettingsDict))
    assert hints == set(ConnectionSettings.model_fields) - {"endpoint", "client_id"}


def test_both_settings_come_from_files_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "device.toml"
    file.write_text(f'[connection]\nendpoint = "{HOST}"\ntransport = "websocket"\n')
    monkeypatch.setenv("IOT_CUSTOMAUTH_CREDENTIALS_IN", "query")
    loaded = ConnectionSettings.load(file)
    assert (loaded.transport, loaded.credentials_in) == ("websocket", "query")


# -- the builder ------------------------------------------------------------------------------------------------------


@PLACES
def test_the_builder_tells_awscrt_about_websocket(place: Any) -> None:
    builder = ConnectionBuilder(settings(transport="websocket", credentials_in=place), SIGNED)
    assert builder.mqtt5_options().websocket_handshake_transform is not None
    sent = builder.carried.username or ""
    assert sent.partition("?")[0] == USER
    assert ("?" in sent) == (place == "connect")
    assert builder.carried.password == PASSWORD.encode()
    assert ConnectionBuilder(settings(), SIGNED).mqtt5_options().websocket_handshake_transform is None


def test_the_handshake_transform_is_the_builders_own() -> None:
    with pytest.raises(ConfigurationError, match="transport and credentials_in"):
        ConnectionBuilder(settings(), SIGNED).mqtt5_options(websocket_handshake_transform=print)


def test_the_builder_refuses_credentials_that_the_place_cannot_carry() -> None:
    bad = Credentials.from_bearer_token("line\nbreak", token_key_name="k")
    with pytest.raises(ConfigurationError, match="control characters"):
        ConnectionBuilder(settings(transport="websocket", credentials_in="headers"), bad)
    ConnectionBuilder(settings(transport="websocket", credentials_in="query"), bad)


# -- plans ------------------------------------------------------------------------------------------------------------


def all_plans() -> list[tuple[str, Any]]:
    plans: list[tuple[str, Any]] = []
    for protocol in ("mqtt5", "mqtt311"):
        plans.append(("tls", ConnectionBuilder(settings(protocol=protocol), SIGNED).explain()))
        for place in ("connect", "headers", "query"):
            over = settings(
                protocol=protocol, transport="websocket", credentials_in=place, http_proxy="http://me:marker@p:3128"
            )
            plans.append((f"websocket {place}", ConnectionBuilder(over, SIGNED).explain()))
    publisher = HttpsPublisher(settings(), BARE)
    in_headers = publisher.explain("a/b", b"12", credentials_in="headers", content_type="x")
    in_query = publisher.explain("a/b", b"12", credentials_in="query", content_type="x")
    plans += [("https headers", in_headers), ("https query", in_query)]
    publisher.close()
    return plans


def test_no_plan_of_any_door_holds_a_secret() -> None:
    for _, plan in all_plans():
        told = f"{plan} {plan!r}"
        assert not [secret for secret in SECRETS if secret in told]
        assert "gate" in told  # the authorizer's name is not one


def test_a_plan_says_where_each_part_travels() -> None:
    told = {name: str(plan) for name, plan in all_plans()}
    assert "MQTT 3.1.1 over TLS" in told["tls"]
    assert re.search(r"^ALPN +mqtt$", told["tls"], re.MULTILINE)
    assert re.search(r"^upgrade +GET /mqtt, subprotocol mqtt$", told["websocket headers"], re.MULTILINE)
    assert re.search(r"^header +x-amz-customauthorizer-name: gate=,@$", told["websocket headers"], re.MULTILINE)
    assert re.search(r"^header +Token-Key: <18 characters>$", told["websocket headers"], re.MULTILINE)
    assert re.search(r"^user name +<11 characters>$", told["websocket headers"], re.MULTILINE)
    assert re.search(
        r"^upgrade +GET /mqtt\?x-amz-customauthorizer-name=gate%3D%2C%40&", told["websocket query"], re.MULTILINE
    )
    assert re.search(r"^user name +<11 characters>\?x-amz-", told["websocket connect"], re.MULTILINE)
    assert re.search(r"^ALPN +none$", told["websocket query"], re.MULTILINE)
    assert "POST /topics/a%2Fb?qos=1&contentType=x&x-amz-customauthorizer-name=gate" in told["https query"]
    assert re.search(r"^header +Token-Key: <18 characters>$", told["https headers"], re.MULTILINE)
    assert "ends a WebSocket after 24 hours" in told["websocket connect"]


def test_every_door_comes_with_commands_that_can_be_pasted() -> None:
    for name, plan in all_plans():
        programs = [shlex.split(command)[0] for command in plan.commands]
        assert programs == ["openssl", "mosquitto_pub" if name == "tls" else "curl"]
        assert all("<" not in command or "'" in command for command in plan.commands)


def test_a_long_query_and_a_long_header_are_noted() -> None:
    long = Credentials.from_bearer_token("x" * 6_000, token_key_name="k", parameters={"m": "y" * 9_000})
    in_query = ConnectionBuilder(settings(transport="websocket", credentials_in="query"), long).explain()
    assert any("the query has 15005 characters" in note for note in in_query.notes)
    in_headers = ConnectionBuilder(settings(transport="websocket", credentials_in="headers"), long).explain()
    assert any("a header has 9000 characters" in note for note in in_headers.notes)


# -- the commands do what we do ---------------------------------------------------------------------------------------


def fill_in(command: str, *, proxy: str = "") -> list[str]:
    """Put the secrets where the placeholders stand, as a person would."""
    user, _, word = proxy.partition(":")
    known = {
        "user name": USER,
        "password": PASSWORD,
        "signature": SIGNATURE,
        "signature, percent-encoded": quote(SIGNATURE, safe=""),
        "token": TOKEN,
        "token, percent-encoded": quote(TOKEN, safe=""),
        "value of more": "marker-more",
        "value of more, percent-encoded": "marker-more",
        "payload": "hello",
        "topic": "t",
        "proxy user, percent-encoded": quote(user, safe=""),
        "proxy password, percent-encoded": quote(word, safe=""),
    }
    return [re.sub(r"<([^<>]*)>", lambda found: known[found[1]], part) for part in shlex.split(command)]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=WAIT, check=False)


def essentials(seen: Seen) -> tuple[Any, ...]:
    """What must be the same whoever sends it."""
    ours = {"host", "content-length", "token-key", "more", "upgrade", "sec-websocket-protocol"}
    told = sorted(pair for pair in seen.headers.parameters if pair[0] in ours or pair[0].startswith("x-amz-"))
    return seen.method, seen.target, seen.body, [pair for pair in told if pair[0] != "host"]


@needs_curl
@pytest.mark.parametrize("place", ["headers", "query"])
def test_the_curl_command_publishes_as_the_publisher_does(place: Any, door: HttpDoor) -> None:
    arguments: dict[str, Any] = {
        "credentials_in": place,
        "retain": True,
        "user_properties": [("k", "\u00fc")],
        "correlation_data": b"",
        "response_topic": "a/b",
    }
    with HttpsPublisher(door.settings(), BARE) as publisher:
        publisher.publish("t/\u00e9 1", "hello", **arguments)
        command = publisher.explain("t/\u00e9 1", "hello", **arguments).commands[-1]
    done = run(fill_in(command))
    assert "200 OK" in done.stdout or "HTTP/1.1 200" in done.stdout, done
    ours, theirs = door.publishes()
    assert essentials(theirs) == essentials(ours)
    assert door.alpn == [None, None]


@needs_curl
@PLACES
def test_the_curl_command_asks_for_the_upgrade_that_we_ask_for(place: Any, door: HttpDoor, proxy: ConnectProxy) -> None:
    over = door.settings(transport="websocket", credentials_in=place, http_proxy=proxy.url)
    with connect(over, credentials=SIGNED, timeout=WAIT):
        pass
    command = ConnectionBuilder(over, SIGNED).explain().commands[-1].replace("--max-time 5", "--max-time 1")
    done = run(fill_in(command, proxy="proxy-user:proxy-p%40ss"))
    assert done.stdout.count("HTTP/1.1 101") == 1, done
    ours, theirs = door.upgrades()
    assert essentials(theirs) == essentials(ours)
    assert len(proxy.targets) == 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_openssl_command_shakes_hands_and_verifies(door: HttpDoor, proxy: ConnectProxy) -> None:
    over = door.settings(transport="websocket", http_proxy=f"http://127.0.0.1:{proxy.port}")
    direct = ConnectionBuilder(over.replace(http_proxy=None), SIGNED).explain().commands[0]
    done = subprocess.run(fill_in(direct), capture_output=True, text=True, input="", timeout=WAIT, check=False)
    assert "Verify return code: 0 (ok)" in done.stdout, done
    through = shlex.split(ConnectionBuilder(over, SIGNED).explain().commands[0])
    assert through[through.index("-proxy") + 1] == f"127.0.0.1:{proxy.port}"
