"""CONNECT and CONNACK: what is announced, what is refused and how, takeover, assigned client ids."""

from __future__ import annotations

import pytest
from broker_driver import ARN, EVERYTHING, V5, V311, Driver, everything_but, only, statement

from iot_customauth_client.local.codec import ConnAck, Connect, Disconnect, Properties, Property, PubAck, Version, Will
from iot_customauth_client.local.events import Connected, Decided, Disconnected, Refused

BOTH = pytest.mark.parametrize("version", [V5, V311])


def connect(version: Version = V5, client_id: str = "client_id", **fields: object) -> Connect:
    return Connect(version, client_id, **fields)  # type: ignore[arg-type]


def refused(packet: Connect, *policy: dict[str, object]) -> tuple[Driver, ConnAck | None, Refused]:
    """Connect and be refused: the CONNACK if there was one, and the event."""
    driver = Driver()
    sent = driver.connect(1, packet, policy=policy or (EVERYTHING,))
    assert driver.hung_up == {1}
    assert not driver.of(Connected)
    return driver, only(sent, ConnAck) if sent else None, driver.last(Refused)


def test_the_connack_of_mqtt_5_announces_what_aws_documents() -> None:
    (acknowledgement,) = Driver().connect(1, connect(keep_alive_seconds=60))
    assert acknowledgement == ConnAck(
        session_present=False,
        reason_code=0,
        properties={
            Property.RECEIVE_MAXIMUM: 100,
            Property.MAXIMUM_QOS: 1,
            Property.RETAIN_AVAILABLE: 1,
            Property.MAXIMUM_PACKET_SIZE: 149_504,
            Property.TOPIC_ALIAS_MAXIMUM: 8,
            Property.WILDCARD_SUBSCRIPTION_AVAILABLE: 1,
            Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE: 0,
            Property.SHARED_SUBSCRIPTION_AVAILABLE: 1,
            Property.SERVER_KEEP_ALIVE: 60,
        },
    )


@pytest.mark.parametrize("clean_start", [True, False])
def test_the_connack_of_311_says_only_that_there_is_no_session(clean_start: bool) -> None:
    assert Driver().connect(1, connect(V311, clean_start=clean_start)) == [ConnAck(False, 0)]


@BOTH
def test_a_connection_is_reported_with_its_principal_and_keep_alive(version: Version) -> None:
    driver = Driver()
    driver.connect(1, connect(version, keep_alive_seconds=6))
    protocol = "mqtt5" if version is V5 else "mqtt311"
    assert driver.events[0] == Decided(
        1,
        "client_id",
        "iot:Connect",
        f"{ARN}client/client_id",
        True,
        "allowed by " + driver.last(Decided).explanation.removeprefix("allowed by "),
    )
    assert driver.events[1:] == [Connected(1, "client_id", "principal", protocol, 30, False)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("asked", "given"), [(0, 1200), (1, 30), (30, 30), (31, 31), (1200, 1200), (65_535, 1200)])
def test_the_keep_alive_is_clamped_and_announced(asked: int, given: int) -> None:
    (acknowledgement,) = Driver().connect(1, connect(keep_alive_seconds=asked))
    assert isinstance(acknowledgement, ConnAck)
    assert acknowledgement.properties[Property.SERVER_KEEP_ALIVE] == given


@pytest.mark.parametrize(
    ("asked", "answered"), [(None, None), (0, None), (1, None), (3600, None), (3601, 3600), (2**32 - 1, 3600)]
)
def test_a_session_expiry_over_the_maximum_is_lowered_and_told(asked: int | None, answered: int | None) -> None:
    properties = {} if asked is None else {Property.SESSION_EXPIRY_INTERVAL: asked}
    (acknowledgement,) = Driver().connect(1, connect(properties=properties))
    assert isinstance(acknowledgement, ConnAck)
    assert acknowledgement.properties.get(Property.SESSION_EXPIRY_INTERVAL) == answered


def test_an_empty_client_id_is_assigned_one_and_told() -> None:
    driver = Driver()
    (acknowledgement,) = driver.connect(1, connect(client_id=""))
    assert isinstance(acknowledgement, ConnAck)
    assert acknowledgement.properties[Property.ASSIGNED_CLIENT_IDENTIFIER] == "$GEN/uuid-1"
    assert driver.last(Connected).client_id == "$GEN/uuid-1"
    driver.connect(2, connect(V311, client_id=""))
    assert driver.last(Connected).client_id == "$GEN/uuid-2"


@pytest.mark.parametrize("client_id", ["$GEN/0-1-2", "$x", "c" * 129, "é" * 65])
def test_a_client_id_that_is_reserved_or_too_long_is_refused_with_133(client_id: str) -> None:
    _, acknowledgement, event = refused(connect(client_id=client_id))
    reason = {Property.REASON_STRING: "CONNACK:ClientId is invalid:uuid-1"}
    assert acknowledgement == ConnAck(False, 133, reason)
    assert (event.cause, event.reason_code, event.client_id) == ("client_id_invalid", 133, client_id)
    _, acknowledgement, event = refused(connect(V311, client_id=client_id))
    assert (acknowledgement, event.reason_code) == (None, None)


def test_a_client_id_of_128_bytes_is_accepted() -> None:
    driver = Driver()
    driver.connect(1, connect(client_id="é" * 64))
    assert driver.of(Connected)


def test_311_with_an_empty_client_id_and_no_clean_session_is_refused() -> None:
    _, acknowledgement, event = refused(connect(V311, client_id="", clean_start=False))
    assert (acknowledgement, event.cause) == (None, "client_id_invalid")


def test_a_policy_that_does_not_allow_connect_refuses_with_135_or_a_hang_up() -> None:
    other = statement("Allow", "iot:Connect", "client/other")
    driver, acknowledgement, event = refused(connect(), other)
    reason = {Property.REASON_STRING: "CONNACK:Not authorized:uuid-1"}
    assert acknowledgement == ConnAck(False, 135, reason)
    assert event.cause == "connect_not_allowed"
    assert "client/client_id" in event.explanation
    decision = driver.last(Decided)
    assert (decision.action, decision.resource, decision.allowed) == (
        "iot:Connect",
        f"{ARN}client/client_id",
        False,
    )
    _, acknowledgement, event = refused(connect(V311), other)
    assert (acknowledgement, event.reason_code, event.cause) == (None, None, "connect_not_allowed")


def test_a_client_that_wants_no_problem_information_gets_no_reason_string() -> None:
    packet = connect(client_id="$x", properties={Property.REQUEST_PROBLEM_INFORMATION: 0})
    _, acknowledgement, _ = refused(packet)
    assert acknowledgement == ConnAck(False, 133)


def test_a_refusal_leaves_its_reason_string_out_if_the_client_takes_only_small_packets() -> None:
    packet = connect(client_id="$x", properties={Property.MAXIMUM_PACKET_SIZE: 20})
    _, acknowledgement, event = refused(packet)
    assert acknowledgement == ConnAck(False, 133)
    packet = connect(client_id="$x", properties={Property.MAXIMUM_PACKET_SIZE: 4})
    _, acknowledgement, event = refused(packet)
    assert (acknowledgement, event.reason_code) == (None, None)


def test_a_client_that_cannot_take_its_connack_is_refused() -> None:
    _, acknowledgement, event = refused(connect(properties={Property.MAXIMUM_PACKET_SIZE: 20}))
    assert acknowledgement == ConnAck(False, 128)
    assert event.cause == "maximum_packet_size"


def test_an_authentication_method_is_refused() -> None:
    _, acknowledgement, event = refused(connect(properties={Property.AUTHENTICATION_METHOD: "SCRAM-SHA-1"}))
    assert acknowledgement is not None
    assert (acknowledgement.reason_code, event.cause) == (135, "authentication_method")


@pytest.mark.parametrize(
    ("will", "reason_code", "cause"),
    [
        (Will("a", b"", qos=2), 155, "will_qos"),
        (Will("a/b/c/d/e/f/g/h/i", b""), 144, "will_topic_invalid"),
        (Will("$SYS/a", b""), 144, "will_topic_invalid"),
        (Will("$aws/a", b"", retain=True), 144, "will_topic_invalid"),
        (Will("a" * 257, b""), 144, "will_topic_invalid"),
        (Will("a", b"x" * 131_073), 151, "will_too_large"),
        (Will("forbidden", b""), 135, "will_not_allowed"),
        (Will("unretained", b"", retain=True), 135, "will_not_allowed"),
    ],
)
def test_a_will_that_the_service_would_not_publish_refuses_the_connect(
    will: Will, reason_code: int, cause: str
) -> None:
    policy = [
        *everything_but("iot:Publish", "topic/forbidden"),
        statement("Deny", "iot:RetainPublish", "topic/unretained"),
    ]
    _, acknowledgement, event = refused(connect(will=will), *policy)
    assert acknowledgement is not None
    assert (acknowledgement.reason_code, event.reason_code, event.cause) == (reason_code, reason_code, cause)
    _, acknowledgement, event = refused(connect(V311, will=will), *policy)
    assert (acknowledgement, event.reason_code, event.cause) == (None, None, cause)


def test_a_will_that_may_not_be_published_is_reported_as_a_denied_publish() -> None:
    driver, _, _ = refused(connect(will=Will("forbidden", b"")), *everything_but("iot:Publish", "topic/forbidden"))
    decision = driver.last(Decided)
    assert (decision.action, decision.resource) == ("iot:Publish", f"{ARN}topic/forbidden")


@pytest.mark.parametrize(
    ("version", "clean_start", "properties", "persistent"),
    [
        (V311, True, {}, False),
        (V311, False, {}, True),
        (V5, True, {}, False),
        (V5, False, {}, True),
        (V5, True, {Property.SESSION_EXPIRY_INTERVAL: 1}, True),
        (V5, True, {Property.SESSION_EXPIRY_INTERVAL: 0}, False),
    ],
)
def test_asking_for_a_session_is_a_connect_attribute(
    version: Version, clean_start: bool, properties: Properties, persistent: bool
) -> None:
    condition = {"ForAnyValue:StringEquals": {"iot:ConnectAttributes": "PersistentConnect"}}
    driver = Driver()
    packet = connect(version, clean_start=clean_start, properties=properties)
    driver.connect(1, packet, policy=[{**EVERYTHING, "Condition": condition}])
    assert bool(driver.of(Connected)) is persistent


def test_a_will_is_a_connect_attribute_and_its_topic_a_condition_key() -> None:
    attribute = {"ForAnyValue:StringEquals": {"iot:ConnectAttributes": "LastWill"}}
    topic = {"ArnEquals": {"iot:LastWillTopic": f"{ARN}topic/gone"}}
    connect_only = {**EVERYTHING, "Action": "iot:Connect", "Condition": {**attribute, **topic}}
    rest = statement("Allow", "iot:Publish", "topic/*")
    for will, accepted in ((Will("gone", b""), True), (Will("elsewhere", b""), False), (None, False)):
        driver = Driver()
        driver.connect(1, connect(will=will), policy=[connect_only, rest])
        assert bool(driver.of(Connected)) is accepted


def test_the_source_ip_reaches_the_policy() -> None:
    policy = [{**EVERYTHING, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}]
    for source_ip, accepted in (("192.0.2.7", True), ("198.51.100.1", False), (None, False)):
        driver = Driver()
        driver.connect(1, connect(), policy=policy, source_ip=source_ip)
        assert bool(driver.of(Connected)) is accepted


@pytest.mark.parametrize(("version", "told"), [(V5, [142]), (V311, [])])
def test_the_newcomer_takes_the_client_id_over(version: Version, told: list[int]) -> None:
    driver = Driver()
    driver.connect(1, connect(version))
    driver.subscribe(1, "a")
    driver.connect(2, connect())
    assert driver.disconnects(1) == told
    assert driver.hung_up == {1}
    ended = driver.last(Disconnected)
    assert (ended.connection, ended.reason) == (1, "DUPLICATE_CLIENTID")
    assert driver.last(Connected).connection == 2
    driver.publish(2, "a")
    assert driver.topics(1) == driver.topics(2) == []


def test_the_old_connection_ends_before_the_newcomer_gets_its_connack() -> None:
    driver = Driver()
    driver.connect(1, connect())
    driver.connect(2, connect())
    kinds = [event.kind for event in driver.events]
    assert kinds == ["decided", "connected", "decided", "disconnected", "connected"]


def test_a_newcomer_that_is_refused_takes_nothing_over() -> None:
    driver = Driver()
    driver.connect(1, connect())
    driver.connect(2, connect(), policy=[statement("Deny", "iot:Connect", "client/*")])
    assert driver.hung_up == {2}
    driver.subscribe(1, "a")
    driver.publish(1, "a")
    assert driver.topics(1) == ["a"]


def test_what_the_old_connection_still_sends_is_ignored() -> None:
    driver = Driver()
    driver.connect(1, connect())
    driver.connect(2, connect())
    before = len(driver.events)
    driver.publish(1, "a")
    driver.subscribe(1, "a")
    driver.connect(1, connect(client_id="another"))
    driver.close(1)
    assert len(driver.events) == before
    assert driver.broker.sizes()["live"] == 1


def test_a_second_connect_ends_the_connection() -> None:
    driver = Driver()
    driver.connect(1, connect())
    assert only(driver.receive(1, connect()), Disconnect).reason_code == 130
    assert driver.last(Disconnected).reason == "CLIENT_ERROR"
    assert "second CONNECT" in driver.last(Disconnected).explanation
    assert driver.hung_up == {1}
    driver.connect(2, connect(V311))
    driver.connect(2, connect(V311))
    assert driver.hung_up == {1, 2}


def test_a_packet_before_connect_ends_the_connection() -> None:
    driver = Driver()
    assert driver.receive(1, PubAck(1)) == []
    assert driver.hung_up == {1}
    assert "PUBACK" in driver.last(Refused).explanation


@pytest.mark.parametrize(("version", "reason_code"), [(V5, 135), (V311, None)])
def test_a_failed_authentication_is_answered_in_the_way_of_the_version(
    version: Version, reason_code: int | None
) -> None:
    driver = Driver()
    driver.versions[1] = version
    effects = driver.broker.refuse(
        1, connect(version), cause="denied", explanation="the authorizer answered isAuthenticated: false"
    )
    sent = driver.carry_out(effects, 1)
    assert [packet.reason_code for packet in sent if isinstance(packet, ConnAck)] == (
        [] if reason_code is None else [reason_code]
    )
    assert driver.hung_up == {1}
    explanation = "the authorizer answered isAuthenticated: false"
    assert driver.events == [Refused(1, "client_id", "denied", reason_code, explanation)]
    assert driver.broker.refuse(1, connect(version), cause="denied", explanation="again") == []
