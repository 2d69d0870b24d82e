"""Topics that begin with `$`: out of reach of wildcards, reserved but for `$aws/` (AWS page "Reserved topics")."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, Bench

from iot_customauth_client.local.codec import Publish, Version


@pytest.mark.mqtt5("4.7.2-1")
@pytest.mark.mqtt311("4.7.2-1")
@EITHER
def test_a_wildcard_in_front_takes_no_topic_that_begins_with_a_dollar(bench: Bench, version: Version) -> None:
    thing = bench.name()
    topic = f"$aws/things/{thing}/shadow/update"
    client = bench.client(version)
    client.subscribe("#", f"+/things/{thing}/shadow/update", "+/#")
    client.publish(topic)
    assert [message.topic for message in client.messages()] == []


@pytest.mark.mqtt5("4.7.2-1")
@pytest.mark.mqtt311("4.7.2-1")
@EITHER
def test_a_wildcard_behind_takes_it(bench: Bench, version: Version) -> None:
    topic = f"$aws/things/{bench.name()}/shadow/update"
    client = bench.client(version)
    client.subscribe(topic.replace("update", "+"))
    client.publish(topic)
    assert [message.topic for message in client.messages()] == [topic]


@EITHER
def test_a_dollar_in_another_place_means_nothing(bench: Bench, version: Version) -> None:
    root = bench.name()
    client = bench.client(version)
    client.subscribe(f"{root}/+/x")
    client.publish(f"{root}/$a/x")
    client.publish(f"{root}/a$/x")
    assert len(client.messages()) == 2


@pytest.mark.aws("reserved-topics")
@EITHER
@pytest.mark.parametrize("topic", ["$SYS/broker", "$", "$aws", "$other/x"])
def test_nobody_publishes_to_reserved_topics(bench: Bench, version: Version, topic: str) -> None:
    client = bench.client(version)
    client.send(Publish(topic, b""))
    assert client.end() == (144 if version is V5 else None)


@pytest.mark.aws("basic-ingest")
@EITHER
def test_basic_ingest_reaches_no_subscriber(bench: Bench, version: Version) -> None:
    client = bench.client(version)
    client.subscribe("$aws/#")
    client.publish(f"$aws/rules/{bench.name()}/a", qos=1)
    assert [message.topic for message in client.messages() if not message.topic.startswith("$aws/events/")] == []
