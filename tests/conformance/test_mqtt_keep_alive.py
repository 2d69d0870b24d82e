"""Keep alive: what a client is told, and how long it may be silent.

It runs in real time and is 30 s at least (AWS page "AWS IoT Core endpoints and quotas"): what is said on the wire is
seen on sockets, what the time does on the broker itself, to which a test tells the time.
"""

from __future__ import annotations

import pytest
from broker_driver import Driver, only
from conformance_bench import EITHER, V5, V311, Bench
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.local import events
from iot_customauth_client.local.codec import (
    Connect,
    PingReq,
    Property,
    PubAck,
    Publish,
    Subscribe,
    SubscribeRequest,
    Version,
    Will,
)


@pytest.mark.mqtt5("3.2.2-22")
@pytest.mark.aws("keep-alive")
@pytest.mark.parametrize(
    ("asked", "given_back"),
    [(0, 1200), (1, 30), (29, 30), (30, 30), (60, 60), (1200, 1200), (1201, 1200), (65_535, 1200)],
)
def test_mqtt_5_is_told_the_keep_alive_that_holds(bench: Bench, asked: int, given_back: int) -> None:
    client = bench.client(V5, keep_alive=asked)
    assert client.connack is not None
    assert client.connack.properties[Property.SERVER_KEEP_ALIVE] == given_back
    old = bench.client(V311, keep_alive=asked)
    connected = bench.endpoint.wait_for(events.Connected, client_id=old.client_id, timeout=0)
    assert connected.keep_alive_seconds == given_back


@pytest.mark.mqtt5("3.1.2-22")
@pytest.mark.mqtt311("3.1.2-24")
@pytest.mark.aws("keep-alive")
@EITHER
@given(asked=st.integers(0, 65_535))
def test_a_silent_client_is_dropped_after_one_and_a_half_times_the_keep_alive(version: Version, asked: int) -> None:
    holds = 1_200 if asked == 0 else max(30, min(asked, 1_200))
    driver = Driver()
    driver.connect(2)
    driver.subscribe(2, "will")
    driver.connect(1, Connect(version, "silent", keep_alive_seconds=asked, will=Will("will", b"gone")))
    step = 25.0  # the other client speaks more often than its own 90 s
    for _ in range(int((holds * 1.5 - 1) // step)):
        driver.wait(step)
        driver.receive(2, PingReq())
    driver.wait(holds * 1.5 - 0.001 - int((holds * 1.5 - 1) // step) * step)
    assert 1 not in driver.hung_up
    driver.wait(0.002)
    assert 1 in driver.hung_up
    assert driver.disconnects(1) == ([141] if version is V5 else [])
    assert driver.topics(2) == ["will"]
    assert driver.last(events.Disconnected).reason == "MQTT_KEEP_ALIVE_TIMEOUT"


@pytest.mark.mqtt5("3.1.2-22")
@pytest.mark.mqtt311("3.1.2-24")
@EITHER
@pytest.mark.parametrize("packet", [PingReq(), Publish("a", b""), PubAck(1), Subscribe(1, (SubscribeRequest("a", 0),))])
def test_every_packet_begins_the_keep_alive_anew(
    version: Version, packet: PingReq | Publish | PubAck | Subscribe
) -> None:
    driver = Driver()
    only(driver.connect(1, Connect(version, "talks", keep_alive_seconds=30)), object)
    for _ in range(5):
        driver.wait(44)
        driver.receive(1, packet)
    driver.wait(44)
    assert 1 not in driver.hung_up
    driver.wait(1)
    assert 1 in driver.hung_up
