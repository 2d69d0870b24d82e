"""Settings: what is refused and what is said instead; where values come from; and that a proxy's password stays hid."""

from __future__ import annotations

import json
import os
import re
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from credentials_support import all_shown_by
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from iot_customauth_client import ConfigurationError, ConnectionSettings, Will
from iot_customauth_client.settings import SettingsDict

SECRET = "QmarkerQ"
HOST = "xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the machine of the developer has set."""
    for name in list(os.environ):
        if name.upper().startswith("IOT_CUSTOMAUTH_"):
            monkeypatch.delenv(name)


def refusal(**values: Any) -> ConfigurationError:
    """Return the error that these settings give."""
    with pytest.raises(ConfigurationError) as caught:
        ConnectionSettings(**values)
    assert caught.value.__context__ is None
    return caught.value


# -- the values -------------------------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = ConnectionSettings(endpoint=HOST)
    assert settings.client_id is None
    assert (settings.port, settings.protocol, settings.alpn, settings.alpn_name) == (443, "mqtt5", "auto", "mqtt")
    assert (settings.keep_alive_seconds, settings.session_expiry_seconds) == (60, 3_600)
    assert (settings.will, settings.http_proxy, settings.ca_file) == (None, None, None)
    assert (settings.connect_timeout_seconds, settings.tcp_keep_alive_seconds) == (15.0, None)
    assert settings.send_sdk_metrics is False


def test_alpn_can_be_left_out_or_another_name() -> None:
    assert ConnectionSettings(endpoint=HOST, alpn=None).alpn_name is None
    assert ConnectionSettings(endpoint=HOST, alpn="http/1.1").alpn_name == "http/1.1"


@pytest.mark.parametrize(
    ("written", "corrected"),
    [
        (f"https://{HOST}", HOST),
        (f"wss://{HOST}/mqtt", HOST),
        (f"mqtts://user:{SECRET}@{HOST}:8883/path?query#part", HOST),
        (f"{HOST}:443", HOST),
        (f"{HOST}:", HOST),
        (f"{HOST}/mqtt", HOST),
        (f"{HOST}?x=1", HOST),
        (f"{HOST}.", HOST),
        (f" {HOST}\n", HOST),
        ("127.0.0.1:8443", "127.0.0.1"),
    ],
)
def test_an_endpoint_with_more_than_a_host_name_is_refused_with_the_corrected_text(
    written: str, corrected: str
) -> None:
    error = refusal(endpoint=written)
    assert error.message == f"endpoint must be the bare host name: write {corrected!r}"
    assert SECRET not in all_shown_by(error)
    assert ConnectionSettings(endpoint=corrected).endpoint == corrected


@pytest.mark.parametrize(
    "endpoint", ["", " ", "https://", "a b", "-a.example", "a..b", "h\u00f6st", "::1", "a" * 64, "a." * 126 + "aa"]
)
def test_what_is_no_host_name_is_refused(endpoint: str) -> None:
    assert refusal(endpoint=endpoint).message == "endpoint must be a host name"


@pytest.mark.parametrize("endpoint", ["localhost", "127.0.0.1", "a-b.example", "MQTT.Example", "a" * 63, "a_b"])
def test_host_names_are_taken_as_they_are(endpoint: str) -> None:
    assert ConnectionSettings(endpoint=endpoint).endpoint == endpoint


@given(st.text(max_size=40))
def test_an_accepted_endpoint_is_never_more_than_a_host_name(text: str) -> None:
    try:
        endpoint = ConnectionSettings(endpoint=text).endpoint
    except ConfigurationError:
        return
    assert endpoint == text != ""
    assert endpoint.isascii()
    assert not set(endpoint) & set("/:?#@ \r\n\t")


@pytest.mark.parametrize(
    ("client_id", "message"),
    [
        ("", "is empty"),
        ("$GEN/1", r"begins with '\$'"),
        ("a" * 129, "has 129 bytes, AWS IoT Core allows 128"),
        ("\u20ac" * 43, "has 129 bytes"),
        ("a\0b", r"U\+0000"),
        ("a\x85", r"U\+0085"),
        ("a\ufffe", r"U\+FFFE"),
        ("a\ufdd0", r"U\+FDD0"),
        ("a\ud800", "client_id"),
    ],
)
def test_a_client_id_that_the_service_would_refuse_is_refused(client_id: str, message: str) -> None:
    error = refusal(endpoint=HOST, client_id=client_id)
    assert error.message.startswith("client_id")
    assert re.search(message, error.message)


def test_the_longest_client_id_has_128_bytes() -> None:
    assert ConnectionSettings(endpoint=HOST, client_id="\u20ac" * 42 + "ab").client_id is not None


@pytest.mark.parametrize(
    "values",
    [
        {"port": 0},
        {"port": 65_536},
        {"protocol": "mqtt3"},
        {"alpn": ""},
        {"alpn": "a;b"},
        {"alpn": "\u00e4"},
        {"alpn": "a" * 256},
        {"keep_alive_seconds": -1},
        {"keep_alive_seconds": 65_536},
        {"session_expiry_seconds": -1},
        {"session_expiry_seconds": 604_801},
        {"connect_timeout_seconds": 0},
        {"connect_timeout_seconds": float("inf")},
        {"connect_timeout_seconds": float("nan")},
        {"connect_timeout_seconds": 601},
        {"tcp_keep_alive_seconds": 0},
        {"send_sdk_metrics": "perhaps"},
        {"will": {"topic": "a/+"}},
        {"will": {"topic": "a", "qos": 2}},
    ],
)
def test_values_out_of_range_are_refused_by_name(values: dict[str, Any]) -> None:
    (name,) = values
    assert refusal(endpoint=HOST, **values).message.startswith(name)


def test_all_problems_are_listed_at_once() -> None:
    error = refusal(endpoint=f"https://{HOST}", client_id="$a", port=0, http_proxy=f"ftp://{SECRET}@h:1")
    for field in ("endpoint must", "client_id begins", "port: ", "http_proxy must"):
        assert field in error.message
    assert (error.code, error.phase) == ("settings_invalid", "configuration")
    assert SECRET not in all_shown_by(error)


def test_a_missing_endpoint_is_told() -> None:
    assert "endpoint" in refusal().message


@pytest.mark.parametrize(
    ("name", "meant"),
    [("keepalive", "keep_alive_seconds"), ("prot", "port"), ("client", "client_id"), ("cafile", "ca_file")],
)
def test_an_unknown_setting_is_refused_with_the_nearest_one(name: str, meant: str) -> None:
    error = refusal(endpoint=HOST, **{name: SECRET})
    assert error.message == f"unknown setting {name!r}: did you mean {meant!r}?"
    assert error.code == "unknown_setting"


def test_without_a_near_name_all_known_ones_are_listed() -> None:
    assert "known: alpn, ca_file, client_id" in refusal(endpoint=HOST, zzzz=1).message


def test_settings_are_frozen_and_equal_by_value() -> None:
    settings = ConnectionSettings(endpoint=HOST, client_id="a")
    assert settings == ConnectionSettings(endpoint=HOST, client_id="a")
    assert settings != ConnectionSettings(endpoint=HOST, client_id="b")
    with pytest.raises(ConfigurationError, match="port cannot be changed"):
        settings.port = 1


def test_replace_returns_checked_settings_and_keeps_the_rest() -> None:
    settings = ConnectionSettings(endpoint=HOST, http_proxy=f"http://u:{SECRET}@h:1", will=Will("a"))
    changed = settings.replace(client_id="x", port=8443)
    assert (changed.client_id, changed.port, settings.client_id, settings.port) == ("x", 8443, None, 443)
    assert (changed.http_proxy, changed.will, changed.endpoint) == (settings.http_proxy, settings.will, HOST)
    with pytest.raises(ConfigurationError, match="port"):
        settings.replace(port=0)
    with pytest.raises(ConfigurationError, match="did you mean 'port'"):
        settings.replace(prot=1)


def test_the_keyword_arguments_of_connect_are_the_fields_of_the_model() -> None:
    hints = typing.get_type_hints(SettingsDict)
    assert set(hints) == set(ConnectionSettings.model_fields) - {"endpoint", "client_id"}
    assert SettingsDict.__required_keys__ == frozenset()
    for name, hint in hints.items():
        field = _members(ConnectionSettings.model_fields[name].annotation)
        # What the model holds may be passed; text stands for paths and secrets as well.
        assert field <= _members(hint) <= field | {str}, name


def _members(annotation: Any) -> set[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return {member for each in typing.get_args(annotation) for member in _members(each)}
    return {annotation}


# -- the proxy's secret -----------------------------------------------------------------------------------------------


def test_the_proxys_password_is_never_shown() -> None:
    settings = ConnectionSettings(endpoint=HOST, http_proxy=f"http://user:{SECRET}@proxy:3128")
    assert isinstance(settings.http_proxy, SecretStr)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert SECRET not in shown


@pytest.mark.parametrize(
    "proxy",
    [
        f"https://u:{SECRET}@h:1",
        f"http://u:{SECRET}@h",
        f"http://u:{SECRET}/x@h:1",
        f"http://u:{SECRET}@h:port",
        f"http://u:{SECRET}@h:99999",
        f"http://u:{SECRET}@[::1:1",
        f"http://u:{SECRET}\u2100@h:1",
        f"http://u:{SECRET}@h:1/path",
        f"http://h:1?{SECRET}",
        f"http://u:{SECRET}@:1",
        SECRET,
        [SECRET],
    ],
)
def test_a_proxy_that_is_refused_is_not_quoted(proxy: object) -> None:
    error = refusal(endpoint=HOST, http_proxy=proxy)
    assert error.message.startswith("http_proxy")
    assert SECRET not in all_shown_by(error)


def test_a_redacted_dump_is_refused() -> None:
    settings = ConnectionSettings(endpoint=HOST, http_proxy=f"http://user:{SECRET}@proxy:3128")
    with pytest.raises(ConfigurationError, match="http_proxy must begin with http://"):
        ConnectionSettings(**json.loads(settings.model_dump_json()))


# -- load: argument > environment > file ------------------------------------------------------------------------------


def write(directory: Path, text: str) -> Path:
    """Write a settings file and return its path."""
    file = directory / "device.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_an_argument_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(
        tmp_path,
        "[connection]\nendpoint = 'file.example'\nclient_id = 'file'\nport = 1\nkeep_alive_seconds = 30\n"
        "[credentials]\nusername = 'not read here'\n",
    )
    monkeypatch.setenv("IOT_CUSTOMAUTH_CLIENT_ID", "environment")
    monkeypatch.setenv("IOT_CUSTOMAUTH_PORT", "2")
    settings = ConnectionSettings.load(file, port=3)
    assert (settings.endpoint, settings.client_id, settings.port) == ("file.example", "environment", 3)
    assert settings.keep_alive_seconds == 30


def test_an_argument_of_none_goes_before_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOT_CUSTOMAUTH_ALPN", "environment")
    assert ConnectionSettings.load(write(tmp_path, f"[connection]\nendpoint = '{HOST}'"), alpn=None).alpn is None


def test_everything_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "ENDPOINT": HOST,
        "CLIENT_ID": "device",
        "PORT": "8443",
        "PROTOCOL": "mqtt311",
        "TRANSPORT": "websocket",
        "CREDENTIALS_IN": "headers",
        "ALPN": "other",
        "CA_FILE": "/etc/ca.pem",
        "KEEP_ALIVE_SECONDS": "120",
        "SESSION_EXPIRY_SECONDS": "0",
        "WILL__TOPIC": "devices/gone",
        "WILL__PAYLOAD": "123",
        "WILL__QOS": "1",
        "HTTP_PROXY": "http://u:p@h:1",
        "CONNECT_TIMEOUT_SECONDS": "7.5",
        "TCP_KEEP_ALIVE_SECONDS": "60",
        "DISCONNECT_AFTER_SECONDS": "86400",
        "RENEW_LEEWAY_SECONDS": "120",
        "WHEN_REFUSED": "stop",
        "MAX_PUBLISHES_PER_SECOND": "50",
        "SEND_SDK_METRICS": "true",
    }
    assert {name.partition("__")[0].lower() for name in values} == set(ConnectionSettings.model_fields)
    for name, value in values.items():
        monkeypatch.setenv(f"IOT_CUSTOMAUTH_{name}", value)
    assert ConnectionSettings.load() == ConnectionSettings(
        endpoint=HOST,
        client_id="device",
        port=8443,
        protocol="mqtt311",
        transport="websocket",
        credentials_in="headers",
        alpn="other",
        ca_file="/etc/ca.pem",
        keep_alive_seconds=120,
        session_expiry_seconds=0,
        will=Will("devices/gone", payload=b"123", qos=1),
        http_proxy="http://u:p@h:1",
        connect_timeout_seconds=7.5,
        tcp_keep_alive_seconds=60,
        disconnect_after_seconds=86_400,
        renew_leeway_seconds=120,
        when_refused="stop",
        max_publishes_per_second=50,
        send_sdk_metrics=True,
    )


def test_only_load_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOT_CUSTOMAUTH_PORT", "1")
    assert ConnectionSettings(endpoint=HOST).port == 443
    assert ConnectionSettings(endpoint=HOST).replace(client_id="a").port == 443


def test_a_will_can_be_put_together_from_environment_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(
        tmp_path, f"[connection]\nendpoint = '{HOST}'\n[connection.will]\ntopic = 'a'\npayload = 'file'\nqos = 1\n"
    )
    monkeypatch.setenv("IOT_CUSTOMAUTH_WILL__PAYLOAD", "environment")
    assert ConnectionSettings.load(file).will == Will("a", payload=b"environment", qos=1)


def test_a_lower_case_variable_is_the_same_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("iot_customauth_endpoint", HOST)
    assert ConnectionSettings.load().endpoint == HOST


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("IOT_CUSTOMAUTH_CLIENTID", "IOT_CUSTOMAUTH_CLIENT_ID"),
        ("IOT_CUSTOMAUTH_KEEP_ALIVE", "IOT_CUSTOMAUTH_KEEP_ALIVE_SECONDS"),
        ("IOT_CUSTOMAUTH_WILL__TOPIK", "IOT_CUSTOMAUTH_WILL"),
        ("IOT_CUSTOMAUTH_PORT__NUMBER", "IOT_CUSTOMAUTH_PORT"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_one(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(ConfigurationError) as caught:
        ConnectionSettings.load(endpoint=HOST)
    assert caught.value.message == f"unknown environment variable {name!r}: did you mean {meant!r}?"
    assert SECRET not in all_shown_by(caught.value)


@pytest.mark.parametrize("name", ["IOT_CUSTOMAUTH_HTTP_PROXY", "IOT_CUSTOMAUTH_WILL", "IOT_CUSTOMAUTH_PORT"])
def test_a_variable_that_cannot_be_read_is_not_quoted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, f"http://u:{SECRET}@h")
    with pytest.raises(ConfigurationError) as caught:
        ConnectionSettings.load(endpoint=HOST)
    assert SECRET not in all_shown_by(caught.value)


def test_an_unknown_name_in_the_file_is_refused_with_file_and_nearest_name(tmp_path: Path) -> None:
    file = write(tmp_path, "[connection]\nendpoint = 'h'\nkeepalive = 5\n")
    with pytest.raises(ConfigurationError, match=r"device\.toml, \[connection\]: .* 'keep_alive_seconds'"):
        ConnectionSettings.load(file)


def test_an_unknown_override_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'port'"):
        ConnectionSettings.load(prot=1)


def test_a_ca_file_is_relative_to_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, f"[connection]\nendpoint = '{HOST}'\nca_file = 'keys/ca.pem'\n")
    assert ConnectionSettings.load(file).ca_file == tmp_path / "keys" / "ca.pem"
    assert ConnectionSettings.load(file, ca_file="ca.pem").ca_file == Path("ca.pem")
    monkeypatch.setenv("IOT_CUSTOMAUTH_CA_FILE", "ca.pem")
    assert ConnectionSettings.load(file).ca_file == Path("ca.pem")


@pytest.mark.parametrize(
    ("text", "message"),
    [("[other]\n", r"no table \[connection\]"), ("connection = 5", "no table"), ("[connection", "is not TOML")],
)
def test_a_file_without_settings_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ConnectionSettings.load(write(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*: No such file"):
        ConnectionSettings.load(tmp_path / "device.toml")


def test_values_that_load_found_are_checked_like_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"write 'h\.example'.*port"):
        ConnectionSettings.load(write(tmp_path, "[connection]\nendpoint = 'mqtts://h.example'\nport = 0\n"))
