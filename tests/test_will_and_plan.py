"""The last will, and the plan that shows a person what will be sent."""

from __future__ import annotations

import re
from typing import Any

import pytest
from credentials_support import all_shown_by

from iot_customauth_client import ConfigurationError, ConnectionSettings, ConnectPlan, Will
from iot_customauth_client.carriage import ConnectFields, RawCredentials
from iot_customauth_client.limits import clamp_keep_alive
from iot_customauth_client.plan import make_plan
from iot_customauth_client.proxy import HttpProxy

HOST = "xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com"
USERNAME = "QsecretQ?x-amz-customauthorizer-name=A&token=QsecretQ"


def plan(*, username: str | None = USERNAME, proxy: HttpProxy | None = None, **settings: Any) -> ConnectPlan:
    """Return the plan for some settings."""
    values: dict[str, Any] = {"endpoint": HOST, "client_id": "device"} | settings
    fields = ConnectFields(username, None if username is None else b"QsecretQ")
    raw = RawCredentials(
        username="QsecretQ", password=b"QsecretQ", authorizer="A", token_key_name="token", token="QsecretQ"
    )
    raw = RawCredentials() if username is None else raw
    return make_plan(ConnectionSettings(**values), raw, fields, proxy, mqtt311_keep_alive=30)


# -- the will ---------------------------------------------------------------------------------------------------------


def test_a_will_has_a_topic_and_defaults() -> None:
    will = Will("devices/1/gone")
    assert (will.topic, will.payload, will.qos, will.retain) == ("devices/1/gone", b"", 0, False)
    assert will == Will(topic="devices/1/gone")


def test_text_in_a_will_is_sent_as_utf8() -> None:
    assert Will("a", payload="\u00e9").payload == "\u00e9".encode()


def test_the_largest_will_has_128_kib() -> None:
    assert len(Will("a", payload=bytes(131_072)).payload) == 131_072
    with pytest.raises(ValueError, match="has 131073 bytes, AWS IoT Core allows 131072"):
        Will("a", payload=bytes(131_073))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"topic": "a/+"}, "topic name 'a/\\+' holds the wildcard"),
        ({"topic": ""}, "topic name is empty"),
        ({"topic": "a", "qos": 2}, "qos"),
        ({"topic": "a", "qos": -1}, "qos"),
        ({"topic": "a", "payload": [1]}, "payload"),
        ({"topic": "a", "retian": True}, "retian"),
        ({}, "topic"),
    ],
)
def test_a_will_that_the_service_would_refuse_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Will(**values)
    with pytest.raises(ConfigurationError, match=message):
        ConnectionSettings(endpoint=HOST, will=values)


@pytest.mark.parametrize(
    "values",
    [
        {"topic": "a/+", "payload": b"QsecretQ"},
        {"topic": "a", "payload": ["QsecretQ"]},
        {"topic": "a", "payload": b"QsecretQ", "retian": True},
    ],
)
def test_a_will_alone_raises_the_packages_own_error_without_its_payload(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Will(**values)
    assert caught.value.__context__ is None
    assert "QsecretQ" not in all_shown_by(caught.value)


def test_a_wills_payload_is_not_in_its_repr() -> None:
    assert "QsecretQ" not in repr(Will("a", payload=b"QsecretQ"))
    assert "QsecretQ" not in repr(ConnectionSettings(endpoint=HOST, will=Will("a", payload=b"QsecretQ")))


# -- the plan ---------------------------------------------------------------------------------------------------------


def test_the_plan_shows_every_value_and_no_secret() -> None:
    shown = plan(
        ca_file="/etc/ca.pem", will=Will("gone"), http_proxy="http://u:QsecretQ@p:1", proxy=HttpProxy("p", 1, "u", "Q")
    )
    assert [line for line in str(shown).splitlines() if not line.startswith("try it")] == [
        "protocol    MQTT 5 over TLS",
        f"connect to  {HOST}:443 through HttpProxy(p:1, with credentials)",
        f"SNI         {HOST}",
        "ALPN        mqtt",
        "trust       /etc/ca.pem",
        "client id   device",
        "user name   <8 characters>?x-amz-customauthorizer-name=A&token=<8 characters>",
        "password    <8 bytes>",
        "session     kept for 3600 s",
        "keep alive  60 s, applied: 60 s",
        "will        gone",
        "SDK metrics off",
    ]
    assert "QsecretQ" not in repr(shown)
    assert shown.notes == ()


def test_the_plan_says_what_is_not_there() -> None:
    lines = str(plan(username=None, alpn=None, endpoint="localhost", session_expiry_seconds=0)).splitlines()
    for line in (
        "ALPN        none",
        "trust       the system's authorities",
        "user name   not sent",
        "password    not sent",
        "session     clean",
        "will        none",
    ):
        assert line in lines


def test_the_plan_says_when_metrics_go_along() -> None:
    assert "SDK metrics appended to the user name by awscrt" in str(plan(send_sdk_metrics=True))


@pytest.mark.parametrize(
    ("asked", "applied"), [(0, 1_200), (1, 30), (29, 30), (30, 30), (1_200, 1_200), (1_201, 1_200), (65_535, 1_200)]
)
def test_the_plan_shows_the_keep_alive_that_the_service_applies(asked: int, applied: int) -> None:
    shown = plan(keep_alive_seconds=asked)
    assert (shown.keep_alive_sent_seconds, shown.keep_alive_applied_seconds) == (asked, applied)
    assert clamp_keep_alive(asked) == applied


def test_the_plan_notes_that_311_needs_a_longer_keep_alive() -> None:
    shown = plan(protocol="mqtt311", keep_alive_seconds=6)
    assert (shown.protocol, shown.keep_alive_sent_seconds) == ("MQTT 3.1.1", 30)
    assert len(shown.notes) == 1
    assert "keep alive 6 s is sent as 30 s" in shown.notes[0]
    assert f"note        {shown.notes[0]}" in str(shown).splitlines()


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"endpoint": "a.iot.eu-west-1.amazonaws.com"}, "no '-ats'"),
        ({"endpoint": "a-ats.iot.cn-north-1.amazonaws.com.cn", "port": 8883}, "port 8883: .* port 443 only"),
        ({"alpn": None}, "without ALPN `mqtt`"),
        ({"alpn": "x-amzn-mqtt-ca"}, "without ALPN `mqtt`"),
    ],
)
def test_the_plan_notes_what_the_service_will_not_take(settings: dict[str, Any], note: str) -> None:
    notes = plan(**settings).notes
    assert len(notes) == 1
    assert re.search(note, notes[0])


def test_a_host_of_ones_own_needs_no_such_notes() -> None:
    assert plan(endpoint="localhost", port=8443, alpn=None).notes == ()
