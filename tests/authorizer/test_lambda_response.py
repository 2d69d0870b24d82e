"""Answers built by authors of functions: valid, and refused early if they are not."""

import json

import pytest

from iot_customauth_client.authorizer import (
    Context,
    InvalidResult,
    allow,
    client_arn,
    deny,
    document,
    evaluate,
    statement,
    validate_result,
)


def test_an_allowing_answer_is_valid_and_survives_json() -> None:
    rule = statement("Allow", "iot:Connect", "arn:aws:iot:*:*:client/${iot:ClientId}", sid="connect")
    answer = allow(principal_id="CustomAuthId", policy=document(rule), refresh_after_seconds=300)
    valid = validate_result(json.loads(json.dumps(answer)))
    assert (valid.principal_id, valid.disconnect_after_seconds, valid.refresh_after_seconds) == (
        "CustomAuthId",
        86_400,
        300,
    )
    decision = evaluate(valid.policies, "iot:Connect", client_arn("eu-west-1", "1", "c"), Context("c", None))
    assert decision.explanation == "allowed by statement 1 of document 1 (Sid connect)"


def test_several_documents_can_be_given() -> None:
    one = document(statement("Allow", ["iot:Publish"], ["*"]))
    two = document(statement("Deny", "iot:Publish", "*", condition={"StringEquals": {"iot:ClientId": "x"}}))
    assert len(validate_result(allow(principal_id="a", policy=[one, two])).policies) == 2


def test_a_denying_answer_is_valid() -> None:
    assert not validate_result(deny()).is_authenticated


def test_an_answer_that_the_service_would_refuse_is_not_built() -> None:
    with pytest.raises(InvalidResult, match="leave out '-'"):
        allow(principal_id="not-this", policy=document(statement("Allow", "iot:*", "*")))
    with pytest.raises(InvalidResult, match='"iot:Connect"'):
        allow(principal_id="a", policy=document(statement("Allow", "Connect", "*")))
