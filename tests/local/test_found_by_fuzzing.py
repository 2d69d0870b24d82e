"""What `scripts/fuzz` found, or was made to find, each as a statement with the input that showed it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from broker_driver import ACCOUNT, REGION, V5, Driver
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_customauth_client.authorizer import MalformedPolicy, PolicyDocument
from iot_customauth_client.authorizer.event import AuthorizerEvent, build_event
from iot_customauth_client.local import LocalAuthorizer
from iot_customauth_client.local.authentication import Authentication, Question, Refusal
from iot_customauth_client.local.broker import Broker
from iot_customauth_client.local.broker_limits import BrokerLimits
from iot_customauth_client.local.codec import Connect, Property
from iot_customauth_client.local.event_text import event_json
from iot_customauth_client.local.events import Disconnected, Refused
from iot_customauth_client.local.presented import MqttPart, Presented
from iot_customauth_client.local.redaction import scrub

SECRET = "s3cr3tMARKERs3cr3tMARKER"


def test_a_client_whose_queue_fills_up_while_its_keep_alive_ends_is_disconnected_once() -> None:
    """The end of one member of a shared subscription fills the queue of another, which ends in the same moment."""
    broker = Broker(
        region=REGION, account=ACCOUNT, quotas="aws", limits=BrokerLimits(max_queued_bytes=100), choose=lambda _: 0
    )
    driver = Driver(broker)
    kept = {Property.SESSION_EXPIRY_INTERVAL: 1_000}

    def connect(number: int, client_id: str) -> None:
        driver.connect(number, Connect(V5, client_id, False, 30, properties=kept))

    connect(1, "one")
    driver.subscribe(1, "$share/g/shared")
    connect(2, "two")
    driver.subscribe(2, "stored", "$share/g/shared")
    driver.close(2)
    driver.wait(5)
    for _ in range(15):
        driver.carry_out(broker.publish("stored", b"6 here", qos=1, now=driver.now, at=driver.at))
    driver.wait(5)
    connect(3, "two")  # ten of the fifteen are sent at once, five are held back by the rate
    driver.carry_out(broker.publish("shared", b"y" * 90, qos=1, now=driver.now, at=driver.at))
    driver.now += 100
    driver.carry_out(broker.expire(driver.now, driver.at))
    assert sorted(event.connection for event in driver.of(Disconnected)) == [1, 2, 3]
    assert broker.sizes()["live"] == broker.sizes()["overflowed"] == 0


def question(username: str, *, default: str | None = None) -> Question | Refusal:
    """What the endpoint asks about a CONNECT with this user name."""
    authorizers = {"open": LocalAuthorizer(lambda event, context: {}, signing_disabled=True)}
    presented = Presented("localhost", None, MqttPart(username, None, "client"))
    return Authentication(authorizers, default).question(presented, connection_id="id")


def event_of(username: str) -> AuthorizerEvent:
    """The event of a CONNECT that leads to a function."""
    asked = question(username, default="open")
    assert isinstance(asked, Question)
    return asked.event


def test_a_token_that_was_pasted_without_a_name_is_hidden_in_an_error_too() -> None:
    event = build_event(connection_id="id", signature_verified=False, query_string=f"?{SECRET}&a=b")
    assert SECRET not in scrub(f"ValueError: {event!r}", event)


def test_a_secret_is_hidden_whole_although_another_form_of_it_is_longer_and_begins_the_same() -> None:
    """Its UTF-8 bytes are longer than its JSON, and begin with the same letters: only the letters were hidden."""
    event = event_of(f"user01?token={'a' * 16}\ufffd{SECRET}")
    assert SECRET not in scrub(json.dumps(event), event)
    assert SECRET not in scrub(repr(event), event)


@settings(max_examples=examples(50))
@given(
    start=st.text(max_size=20),
    end=st.text(max_size=10),
    quote=st.sampled_from([repr, ascii, json.dumps, str]),
)
def test_no_secret_comes_through_a_quoted_error(start: str, end: str, quote: Callable[[str], str]) -> None:
    token = f"{start}{SECRET}{end}"
    event = build_event(connection_id="id", signature_verified=True, token=token)
    assert SECRET not in scrub(f"KeyError: {quote(token)}", event)


def test_a_token_that_resembles_a_name_is_not_quoted_as_a_misspelt_one() -> None:
    refusal = question(f"?{SECRET}z-customauthorizea&x-amz-customauthorizer-signature")
    assert isinstance(refusal, Refusal)
    assert SECRET not in refusal.explanation


def test_thousands_of_parameters_make_no_endless_refusal() -> None:
    many = "&".join(f"{number:x}=1" for number in range(9_000))
    presented = Presented("localhost", None, MqttPart(f"?{many}", None, "client"))
    (carried,) = presented.carriers()
    assert carried.names().endswith("`13` and 8,980 more")
    assert len(carried.names()) < 200


@given(client_id=st.text())
def test_an_event_as_json_is_one_line_without_a_character_that_moves_a_terminal(client_id: str) -> None:
    event = Refused(1, client_id, "not_authenticated", 135, "because")
    text = event_json(event)
    assert not any(each < " " or "\x7f" <= each <= "\x9f" or each in "\u2028\u2029" for each in text)
    assert json.loads(text)["client_id"] == client_id


@given(action=st.text(st.characters(categories=["Cs", "L", "Nd", "Cc", "Zl"]), min_size=1, max_size=300))
def test_what_is_wrong_with_a_policy_is_told_on_one_line_that_can_be_printed(action: str) -> None:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    with pytest.raises(MalformedPolicy) as caught:
        PolicyDocument.parse({"Version": "2012-10-17", "Statement": [statement]})
    assert str(caught.value).isprintable()
