"""Overlapping subscriptions of one client: a copy for each of them."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, Bench

from iot_customauth_client.local.codec import SubscribeRequest, Version


@pytest.mark.mqtt5("3.3.4-2")
@pytest.mark.mqtt311("3.3.5-1")
@pytest.mark.aws("overlapping-copies")
@EITHER
def test_a_client_gets_one_copy_for_each_filter_and_one_with_the_highest_qos(bench: Bench, version: Version) -> None:
    root = bench.name()
    client = bench.client(version)
    client.subscribe(SubscribeRequest(f"{root}/#", 0), SubscribeRequest(f"{root}/+", 1), SubscribeRequest("x", 1))
    client.publish(f"{root}/a", b"x", qos=1)
    assert sorted(message.qos for message in client.messages()) == [0, 1]


@pytest.mark.mqtt5("3.3.4-2")
@pytest.mark.mqtt311("3.3.5-1")
@EITHER
def test_copies_of_qos_1_have_packet_identifiers_of_their_own(bench: Bench, version: Version) -> None:
    root = bench.name()
    client = bench.client(version)
    client.subscribe(f"{root}/#", f"{root}/+", f"{root}/a")
    client.publish(f"{root}/a", qos=1)
    messages = client.messages(acknowledge=False)
    assert len({message.packet_id for message in messages}) == len(messages) == 3


@EITHER
def test_unsubscribing_from_one_filter_leaves_the_other(bench: Bench, version: Version) -> None:
    root = bench.name()
    client = bench.client(version)
    client.subscribe(f"{root}/#", f"{root}/+")
    client.unsubscribe(f"{root}/#")
    client.publish(f"{root}/a")
    assert len(client.messages()) == 1


@EITHER
def test_overlapping_filters_of_two_clients_do_not_add_up(bench: Bench, version: Version) -> None:
    root = bench.name()
    one, other = bench.client(version), bench.client(version)
    one.subscribe(f"{root}/#")
    other.subscribe(f"{root}/a")
    one.publish(f"{root}/a")
    assert (len(one.messages()), len(other.messages())) == (1, 1)


@pytest.mark.mqtt5("3.8.3-3")
def test_no_local_of_one_filter_leaves_the_copy_of_the_other(bench: Bench) -> None:
    root = bench.name()
    client = bench.client(V5)
    client.subscribe(SubscribeRequest(f"{root}/#", 0, no_local=True), SubscribeRequest(f"{root}/+", 0))
    client.publish(f"{root}/a")
    assert len(client.messages()) == 1
