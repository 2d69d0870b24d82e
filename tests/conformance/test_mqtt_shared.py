"""Shared subscriptions: each message goes to one of the group. AWS has them in MQTT 3.1.1 too (AWS page "MQTT")."""

from __future__ import annotations

import pytest
from conformance_bench import EITHER, V5, V311, Bench, Peer

from iot_customauth_client.local.codec import PubAck, Publish, Subscribe, SubscribeRequest, Version


def everything(*members: Peer) -> list[Publish]:
    return [message for member in members for message in member.messages()]


@pytest.mark.mqtt5("4.8.2-1")
@pytest.mark.aws("shared-311")
@EITHER
def test_each_message_goes_to_one_member(bench: Bench, version: Version) -> None:
    topic = bench.name()
    members = [bench.client(version) for _ in range(3)]
    for member in members:
        assert member.subscribe(f"$share/group/{topic}") == (1,)
    sender = bench.client(version)
    sent = [b"%d" % number for number in range(60)]
    for payload in sent:
        sender.publish(topic, payload, qos=1)
    got = [member.payloads() for member in members]
    assert sorted(payload for each in got for payload in each) == sorted(sent)
    assert all(got)  # 60 messages: a member without any has a probability of 10^-10
    assert all(each == sorted(each, key=int) for each in got)


@pytest.mark.aws("shared-311")
def test_members_of_both_versions_share(bench: Bench) -> None:
    topic = bench.name()
    new, old = bench.client(V5), bench.client(V311)
    for member in (new, old):
        member.subscribe(f"$share/group/{topic}")
    for _ in range(40):
        new.publish(topic)
    assert (len(new.messages()) + len(old.messages())) == 40


@pytest.mark.mqtt5("4.8.2-1")
@EITHER
def test_groups_and_other_subscriptions_get_a_copy_each(bench: Bench, version: Version) -> None:
    topic = bench.name()
    one, other, alone = (bench.client(version) for _ in range(3))
    one.subscribe(f"$share/one/{topic}")
    other.subscribe(f"$share/other/{topic}")
    alone.subscribe(topic)
    alone.publish(topic)
    assert [len(each.messages()) for each in (one, other, alone)] == [1, 1, 1]


@pytest.mark.mqtt5("4.8.2-3")
@EITHER
def test_a_member_gets_messages_with_its_own_qos(bench: Bench, version: Version) -> None:
    topic = bench.name()
    low, high = bench.client(version), bench.client(version)
    low.subscribe(f"$share/group/{topic}", qos=0)
    high.subscribe(f"$share/group/{topic}", qos=1)
    for _ in range(40):
        low.publish(topic, qos=1)
    assert {message.qos for message in low.messages()} == {0}
    assert {message.qos for message in high.messages()} == {1}


@pytest.mark.mqtt5("4.8.2-1", "4.8.2-2")
@pytest.mark.parametrize(
    "topic_filter",
    ["$share/", "$share//a", "$share/g", "$share/g/", "$share/g+/a", "$share/#/a", "$share/+/a", "$share/g/a+"],
)
def test_a_group_without_a_name_or_a_filter_is_refused(bench: Bench, topic_filter: str) -> None:
    client = bench.client(V5)
    assert client.subscribe(topic_filter) == (143,)
    old = bench.client(V311)
    old.send(Subscribe(1, (SubscribeRequest(topic_filter, 0),)))
    assert old.end() is None


@pytest.mark.mqtt5("3.8.3-4")
def test_no_local_for_a_shared_subscription_is_a_protocol_error(bench: Bench) -> None:
    client = bench.client(V5)
    client.send_bytes(b"\x82\x10\0\1\0\0\x0a$share/g/a\4")
    assert client.end() == 130


@EITHER
def test_a_member_that_unsubscribes_gets_no_more(bench: Bench, version: Version) -> None:
    topic = bench.name()
    stays, leaves = bench.client(version), bench.client(version)
    for member in (stays, leaves):
        member.subscribe(f"$share/group/{topic}")
    leaves.unsubscribe(f"$share/group/{topic}")
    for _ in range(10):
        stays.publish(topic)
    assert (len(stays.messages()), len(leaves.messages())) == (10, 0)


@EITHER
def test_what_a_lost_member_had_not_acknowledged_goes_to_another(bench: Bench, version: Version) -> None:
    topic = bench.name()
    lost = bench.client(version)
    lost.subscribe(f"$share/group/{topic}")
    for number in range(5):
        bench.client(version).publish(topic, b"%d" % number, qos=1)
    assert len(lost.messages(acknowledge=False)) == 5
    stays = bench.client(version)
    stays.subscribe(f"$share/group/{topic}")
    lost.vanish()
    assert stays.payloads() == [b"%d" % number for number in range(5)]


@pytest.mark.mqtt5("4.8.2-6")
def test_what_a_member_refuses_goes_to_nobody_else(bench: Bench) -> None:
    topic = bench.name()
    members = [bench.client(V5), bench.client(V5)]
    for member in members:
        member.subscribe(f"$share/group/{topic}")
    members[0].publish(topic, qos=1)
    holders = [(member, member.messages(acknowledge=False)) for member in members]
    ((holder, (message,)),) = [each for each in holders if each[1]]
    assert message.packet_id is not None
    holder.send(PubAck(message.packet_id, 0x80))
    holder.ping()
    assert everything(*members) == []


@EITHER
def test_messages_wait_for_a_group_whose_members_are_away(bench: Bench, version: Version) -> None:
    topic = bench.name()
    member = bench.keeper(version)
    member.subscribe(f"$share/group/{topic}")
    member.leave()
    sender = bench.client(version)
    for number in range(5):
        sender.publish(topic, b"%d" % number, qos=1)
    assert bench.keeper(version, member.client_id).payloads() == [b"%d" % number for number in range(5)]


@pytest.mark.aws("retained-exact")
@EITHER
def test_a_shared_subscription_gets_no_retained_message(bench: Bench, version: Version) -> None:
    topic = bench.name()
    client = bench.client(version)
    client.publish(topic, b"kept", retain=True)
    client.subscribe(f"$share/group/{topic}")
    assert client.messages() == []


@pytest.mark.aws("publish-to-share")
@EITHER
def test_nobody_publishes_to_a_topic_that_begins_with_share(bench: Bench, version: Version) -> None:
    client = bench.client(version)
    client.send(Publish("$share/g/a", b""))
    assert client.end() == (144 if version is V5 else None)
