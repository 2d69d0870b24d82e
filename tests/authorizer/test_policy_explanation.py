"""Explanations: what a person reads when a device may not do something."""

from typing import Any

import pytest

from iot_customauth_client.authorizer import Context, PolicyDocument, client_arn, evaluate, topic_arn, topicfilter_arn

REGION, ACCOUNT = "ap-northeast-1", "123456789012"
ANY = f"arn:aws:iot:{REGION}:*:"
CONTEXT = Context("client_id", "203.0.113.7")
TOPIC = topic_arn(REGION, ACCOUNT, "my-topic")
FILTER = topicfilter_arn(REGION, ACCOUNT, "my-topic")


def explain(*statements: dict[str, Any], action: str, resource: str, version: str = "2012-10-17") -> str:
    entries = [{"Effect": "Allow", **one} for one in statements]
    policies = [PolicyDocument.parse({"Version": version, "Statement": entries})] if entries else []
    return evaluate(policies, action, resource, CONTEXT).explanation


def test_an_allow_is_named_with_its_place_and_sid() -> None:
    other = {"Action": "iot:Connect", "Resource": "*"}
    text = explain(other, {"Action": "*", "Resource": TOPIC, "Sid": "mine"}, action="iot:Publish", resource=TOPIC)
    assert text == "allowed by statement 2 of document 1 (Sid mine)"


def test_a_deny_is_named_with_its_place_and_sid() -> None:
    deny = {"Effect": "Deny", "Action": "iot:Pub*", "Resource": "*", "Sid": "closed"}
    text = explain({"Action": "*", "Resource": "*"}, deny, action="iot:Publish", resource=TOPIC)
    assert text == f"denied: statement 2 of document 1 (Sid closed) denies iot:Publish on {TOPIC}"


def test_a_deny_that_cannot_be_judged_says_what_it_hangs_on() -> None:
    condition = {"Bool": {"aws:SecureTransport": False}, "Weird": {"iot:ClientId": "x"}}
    deny = {"Effect": "Deny", "Action": "*", "Resource": f"{ANY}topic/${{iot:Thing}}", "Condition": condition}
    text = explain(deny, action="iot:Publish", resource=TOPIC)
    for doubt in ("aws:SecureTransport (this key is", "Weird on iot:ClientId (this op", "${iot:Thing} has no value"):
        assert doubt in text


@pytest.mark.parametrize(
    ("statement", "action", "resource", "hint"),
    [
        (
            {"Action": "iot:Subscribe", "Resource": f"{ANY}topic/my-topic"},
            "iot:Subscribe",
            FILTER,
            "allows topic/my-topic, but iot:Subscribe is checked against topicfilter/, not topic/",
        ),
        (
            {"Action": "iot:Publish", "Resource": f"{ANY}topicfilter/my-topic"},
            "iot:Publish",
            TOPIC,
            "iot:Publish is checked against topic/, not topicfilter/",
        ),
        (
            {"Action": "iot:Publish", "Resource": f"{ANY}my-topic"},
            "iot:Publish",
            TOPIC,
            "allows my-topic: write topic/my-topic",
        ),
        (
            {"Action": "iot:Publish", "Resource": "arn:aws:iot:eu-west-1:*:topic/my-topic"},
            "iot:Publish",
            TOPIC,
            "allows it for region eu-west-1 instead of ap-northeast-1",
        ),
        (
            {"Action": "iot:Publish", "Resource": f"arn:aws:iot:{REGION}::topic/my-*"},
            "iot:Publish",
            TOPIC,
            "allows it for account (empty) instead of 123456789012",
        ),
        (
            {"Action": "iot:Publish", "Resource": f"{ANY}topic/a/+/c"},
            "iot:Publish",
            topic_arn(REGION, ACCOUNT, "a/b/c"),
            "allows topic/a/+/c, but + and # are ordinary characters in a policy: write *",
        ),
        (
            {"Action": "iot:Publish", "Resource": f"{ANY}topic/My-Topic"},
            "iot:Publish",
            TOPIC,
            "allows topic/My-Topic, which differs only in upper and lower case",
        ),
        (
            {"Action": ["iot:Publish", "iot:Receive"], "Resource": f"{ANY}topic/my-topic"},
            "iot:RetainPublish",
            TOPIC,
            "names this resource, but allows only iot:Publish, iot:Receive",
        ),
        (
            {"NotAction": "iot:Publish", "Resource": f"{ANY}topic/my-topic"},
            "iot:Publish",
            TOPIC,
            "names this resource, but leaves out iot:Publish",
        ),
        (
            {"Action": "iot:Connect", "Resource": f"{ANY}client/client_id"},
            "iot:Connect",
            client_arn(REGION, ACCOUNT, "intruder"),
            "nearest: statement 1 of document 1 allows client/client_id",
        ),
        (
            {"Action": "iot:Connect", "Resource": f"{ANY}client/client_id"},
            "iot:Publish",
            TOPIC,
            "no Allow statement names iot:Publish",
        ),
        (
            {"Action": "*", "Resource": "*", "Condition": {"StringLike": {"iot:ClientId": "x*"}}},
            "iot:Publish",
            TOPIC,
            "would allow it, but its condition does not hold: StringLike on iot:ClientId",
        ),
        (
            {"Action": "*", "Resource": "*", "Condition": {"NumericEquals": {"iot:ClientId": "1"}}},
            "iot:Publish",
            TOPIC,
            "NumericEquals on iot:ClientId (this operator is not known here)",
        ),
        (
            {"Action": "*", "Resource": f"{ANY}topic/${{iot:Connection.Thing.ThingName}}"},
            "iot:Publish",
            TOPIC,
            "might allow it, but ${iot:Connection.Thing.ThingName} has no value",
        ),
        (
            {"Effect": "Deny", "Action": "s3:*", "Resource": "*"},
            "iot:Publish",
            TOPIC,
            "the documents hold no Allow statement",
        ),
    ],
)
def test_a_near_miss_is_explained(statement: dict[str, Any], action: str, resource: str, hint: str) -> None:
    text = explain(statement, action=action, resource=resource)
    assert text.startswith(f"denied: no statement allows {action} on {resource}; ")
    assert hint in text


def test_the_closest_of_several_statements_is_shown() -> None:
    far = {"Action": "iot:Publish", "Resource": f"{ANY}topic/zzz"}
    near = {"Action": "iot:Publish", "Resource": f"{ANY}topic/my-topics"}
    text = explain(far, near, far, action="iot:Publish", resource=TOPIC)
    assert text.endswith("nearest: statement 2 of document 1 allows topic/my-topics")


def test_a_missing_version_is_named_as_the_reason_why_a_variable_is_text() -> None:
    statement = {"Action": "*", "Resource": f"{ANY}client/${{iot:ClientId}}"}
    resource = client_arn(REGION, ACCOUNT, "client_id")
    text = explain(statement, action="iot:Connect", resource=resource, version="2008-10-17")
    assert 'without "Version": "2012-10-17" a variable is plain text' in text


def test_no_document_at_all_is_said() -> None:
    assert explain(action="iot:Publish", resource=TOPIC).endswith("there is no policy document")


def test_a_line_break_in_a_topic_or_sid_does_not_break_the_line() -> None:
    text = explain({"Action": "*", "Resource": "*", "Sid": "a\nb"}, action="iot:Publish", resource=TOPIC)
    assert text.endswith(r"(Sid a\nb)")
    assert r"x\ny" in explain(action="iot:Publish", resource=topic_arn(REGION, ACCOUNT, "x\ny"))
