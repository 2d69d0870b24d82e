"""`iot:Connect`, asked once more without the will: what was seen at the service of conditions on `iot:LastWillTopic`.

At the broker without sockets; `test_choices_time.py` has the same over TLS.
"""

from __future__ import annotations

from typing import Any

import pytest
from broker_driver import ACCOUNT, ARN, REGION, V5, V311, Driver, grant
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.choices import Choices
from iot_customauth_client.local.codec import Connect, Version, Will
from iot_customauth_client.local.events import Decided, Disconnected, Published

WILL_TOPIC = f"{ARN}topic/gone"


def driver(**choices: Any) -> Driver:
    return Driver(Broker(region=REGION, account=ACCOUNT, choices=Choices(**choices)))


def connect(version: Version = V5, *, will: bool = True) -> Connect:
    return Connect(version, "device", True, 60, will=Will("gone", b"it is gone", 1) if will else None)


def on_the_will(*conditions: dict[str, object]) -> list[dict[str, object]]:
    """Connecting hangs on conditions, everything else is allowed."""
    connecting = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}
    rest = {"Effect": "Allow", "Action": ["iot:Publish", "iot:Subscribe", "iot:Receive"], "Resource": "*"}
    return [*({**connecting, "Condition": each} for each in conditions), rest]


TRAPS: list[dict[str, object]] = [
    {"ArnEquals": {"iot:LastWillTopic": WILL_TOPIC}},
    {"StringLike": {"iot:LastWillTopic": "*"}},
    {"ForAnyValue:StringEquals": {"iot:ConnectAttributes": "LastWill"}},
]
HARMLESS: list[dict[str, object]] = [
    {},
    {"ArnEqualsIfExists": {"iot:LastWillTopic": WILL_TOPIC}},
    {"ForAllValues:StringEquals": {"iot:ConnectAttributes": ["LastWill", "PersistentConnect"]}},
    {"StringEquals": {"iot:ClientId": "device"}},
    {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
]


@pytest.mark.parametrize("condition", TRAPS)
@pytest.mark.parametrize(("version", "told"), [(V5, [135]), (V311, [])])
def test_a_condition_on_the_will_lets_a_client_in_and_ends_it_a_minute_later(
    condition: dict[str, object], version: Version, told: list[int]
) -> None:
    d = driver()
    d.connect(1, connect(version), policy=on_the_will(condition))
    d.advance(59)
    assert not d.hung_up
    d.advance(1)
    assert d.hung_up == {1}
    assert d.disconnects(1) == told
    ended = d.last(Disconnected)
    assert ended.reason == "AUTH_ERROR"
    assert "a condition on iot:LastWillTopic" in ended.explanation
    assert "holds at CONNECT only" in ended.explanation
    assert (d.last(Decided).action, d.last(Decided).allowed) == ("iot:Connect", False)
    assert [event.payload for event in d.of(Published)] == [b"it is gone"]


@pytest.mark.parametrize("condition", HARMLESS)
@pytest.mark.parametrize("will", [True, False])
def test_a_condition_that_holds_without_the_will_too_ends_nothing(condition: dict[str, object], will: bool) -> None:
    d = driver()
    d.connect(1, connect(will=will), policy=on_the_will(condition))
    assert not d.hung_up
    assert d.broker.next_at() is None
    d.advance(100_000)
    assert not d.hung_up


def test_a_statement_without_the_condition_beside_it_is_enough() -> None:
    d = driver()
    d.connect(1, connect(), policy=on_the_will(TRAPS[0], {}))
    d.advance(100_000)
    assert not d.hung_up


@given(st.integers(30, 300))
def test_when_connect_is_asked_once_more_can_be_chosen(seconds: int) -> None:
    d = driver(reauthorise_after_seconds=seconds)
    d.connect(1, connect(), policy=on_the_will(TRAPS[0]))
    assert d.broker.next_at() == d.at + seconds
    d.advance(seconds - 1)
    assert not d.hung_up
    d.advance(1)
    assert d.hung_up == {1}
    assert f"asked again {seconds} s after CONNACK" in d.last(Disconnected).explanation


def test_it_can_be_never() -> None:
    d = driver(reauthorise_after_seconds="never")
    d.connect(1, connect(), policy=on_the_will(TRAPS[0]))
    d.advance(100_000)
    assert not d.hung_up


def test_it_does_not_run_on_real_time_and_ends_with_its_connection() -> None:
    d = driver()
    d.connect(1, connect(), policy=on_the_will(TRAPS[0]))
    d.now += 89
    d.carry_out(d.broker.expire(d.now, d.at))
    assert not d.hung_up
    d.close(1)
    assert d.broker.sizes()["planned"] == 0


def test_policies_that_a_refresh_brought_before_it_count() -> None:
    d = driver(reauthorise_after_seconds=300)
    d.connect(1, connect(), policy=on_the_will(TRAPS[0]))
    d.advance(299)
    d.carry_out(d.broker.regrant(1, grant(), now=d.now, at=d.at))
    d.advance(100_000)
    assert not d.hung_up
