"""Reading policy documents: what is accepted, and where a fault is said to be."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.authorizer import Context, MalformedPolicy, PolicyDocument, evaluate

GOOD = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}


def parse(*statements: object, version: object = "2012-10-17") -> PolicyDocument:
    return PolicyDocument.parse({"Version": version, "Statement": list(statements)})


def fault(document: object) -> MalformedPolicy:
    with pytest.raises(MalformedPolicy) as caught:
        PolicyDocument.parse(document)
    return caught.value


def test_objects_and_json_text_are_the_same_document() -> None:
    document = {"Version": "2012-10-17", "Statement": [GOOD]}
    assert PolicyDocument.parse(document) == PolicyDocument.parse(json.dumps(document, indent=4))
    assert PolicyDocument.parse(document) != PolicyDocument.parse({"Version": "2012-10-17", "Statement": GOOD})


def test_a_single_statement_action_and_resource_need_no_list() -> None:
    one = PolicyDocument.parse({"Version": "2012-10-17", "Id": "x", "Statement": {**GOOD, "Sid": "one"}})
    assert len(one.statements) == 1
    assert one.statements[0].sid == "one"
    assert len(parse({**GOOD, "Action": ["iot:Publish", "iot:Receive"]}).statements[0].actions) == 2


@pytest.mark.parametrize("version", ["2008-10-17", None])
def test_variables_are_plain_text_in_an_old_or_missing_version(version: str | None) -> None:
    statement = {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:*:*:client/${iot:ClientId}"}
    document = {"Statement": statement} if version is None else {"Version": version, "Statement": statement}
    policies = [PolicyDocument.parse(document)]
    context = Context("c", None)
    assert not evaluate(policies, "iot:Connect", "arn:aws:iot:r:1:client/c", context).allowed
    assert evaluate(policies, "iot:Connect", "arn:aws:iot:r:1:client/${iot:ClientId}", context).allowed


@pytest.mark.parametrize(
    ("change", "path", "advice"),
    [
        ({"Effect": "allow"}, "Statement[1].Effect", '"Allow" or "Deny"'),
        ({"Effect": None}, "Statement[1].Effect", '"Allow" or "Deny"'),
        ({"Action": "Publish"}, "Statement[1].Action", '"iot:Publish"'),
        ({"Action": ["iot:Publish", "iot:"]}, "Statement[1].Action[1]", '"iot:Publish"'),
        ({"Action": []}, "Statement[1].Action", "empty"),
        ({"Action": 1}, "Statement[1].Action", "a string, not a number"),
        ({"Action": ["iot:Publish", None]}, "Statement[1].Action[1]", "a string, not nothing"),
        ({"NotAction": "iot:Publish"}, "Statement[1].Action", "both are given"),
        ({"NotResource": "*"}, "Statement[1].Resource", "both are given"),
        ({"Resource": "topic/a"}, "Statement[1].Resource", "arn:aws:iot"),
        ({"Resource": {"a": 1}}, "Statement[1].Resource", "a string, not an object"),
        ({"Sid": 7}, "Statement[1].Sid", "a string, not a number"),
        ({"Condition": []}, "Statement[1].Condition", "an object, not|object, not a list"),
        ({"Condition": {"StringEquals": "x"}}, "Statement[1].Condition.StringEquals", "object, not a string"),
        ({"Condition": {"StringEquals": {"k": []}}}, "Statement[1].Condition.StringEquals.k", "empty"),
        ({"Condition": {"StringEquals": {"k": [{}]}}}, "Statement[1].Condition.StringEquals.k[0]", "not an object"),
        ({"Conditions": {}}, "Statement[1].'Conditions'", "known here: Sid, Effect"),
        ({"action": "*"}, "Statement[1].'action'", "write Action"),
        ({"Principal": "*"}, "Statement[1].'Principal'", "known here"),
    ],
)
def test_a_fault_in_a_statement_is_named_with_its_place(change: dict[str, object], path: str, advice: str) -> None:
    with pytest.raises(MalformedPolicy, match=advice) as caught:
        parse(GOOD, {**GOOD, **change})
    assert caught.value.path == path
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize("missing", ["Effect", "Action", "Resource"])
def test_effect_action_and_resource_are_needed(missing: str) -> None:
    statement = {name: value for name, value in GOOD.items() if name != missing}
    assert fault({"Version": "2012-10-17", "Statement": statement}).path == f"Statement.{missing}"


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"Version": "2012-10-18", "Statement": GOOD}, "Version"),
        ({"Version": ["2012-10-17"], "Statement": GOOD}, "Version"),
        ({"Version": "2012-10-17"}, "Statement"),
        ({"Version": "2012-10-17", "Statement": []}, "Statement"),
        ({"Version": "2012-10-17", "Statement": "x"}, "Statement"),
        ({"Version": "2012-10-17", "Statement": [GOOD, 3]}, "Statement[1]"),
        ({"Version": "2012-10-17", "Statement": GOOD, "Id": 3}, "Id"),
        ({"Version": "2012-10-17", "Statement": GOOD, "Foo": 3}, "'Foo'"),
        ([], ""),
        (None, ""),
        (7, ""),
        ("", ""),
        ("{", ""),
        ("[" * 100_000, ""),
        (object(), ""),
        ({"Statement": float("nan")}, ""),
        ('{"Statement": NaN}', ""),
    ],
)
def test_a_fault_in_the_document_is_named_with_its_place(document: object, path: str) -> None:
    assert fault(document).path == path


def test_a_circular_object_is_refused() -> None:
    document: dict[str, object] = {"Version": "2012-10-17"}
    document["Statement"] = document
    assert "JSON" in str(fault(document))


def test_an_element_given_twice_is_refused_because_the_first_would_be_lost() -> None:
    text = '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Effect":"Allow","Action":"*","Resource":"*"}}'
    assert "'Effect' twice" in str(fault(text))


def test_a_fault_stays_on_one_line() -> None:
    document = {"Statement": {**GOOD, "Condition": {"a\nb": 3}}}
    assert "\n" not in str(fault(document))


def test_an_empty_condition_is_no_condition() -> None:
    assert parse({**GOOD, "Condition": {}}).statements[0].conditions == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["Version", "Statement", "Effect", "Action", "Resource", "Condition"]), inner)
    ),
    max_leaves=8,
)


@given(json_values)
def test_reading_anything_ends_with_a_document_or_a_malformed_policy(value: object) -> None:
    with suppress(MalformedPolicy):
        assert PolicyDocument.parse(value).statements
