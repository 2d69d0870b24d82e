"""Conditions: each operator, the rules for absent and several values, and what cannot be judged."""

import pytest

from iot_customauth_client.authorizer import Context, MalformedPolicy, PolicyDocument, evaluate, topic_arn
from iot_customauth_client.authorizer.conditions import Condition

WILL = topic_arn("eu-west-1", "123456789012", "will/client_id")
CONTEXT = Context("client_id", "203.0.113.7", frozenset({"LastWill"}), WILL)
NOTHING = Context(None, None)


def holds(operator: str, key: str, *values: str, context: Context = CONTEXT) -> bool | None:
    return Condition.compile(operator, key, values, variables=True).holds(context)


@pytest.mark.parametrize(
    ("operator", "key", "values", "expected"),
    [
        ("StringEquals", "iot:ClientId", ["client_id"], True),
        ("StringEquals", "IOT:clientid", ["client_id"], True),
        ("StringEquals", "iot:ClientId", ["Client_Id"], False),
        ("StringEquals", "iot:ClientId", ["client*"], False),
        ("StringEquals", "iot:ClientId", ["other", "client_id"], True),
        ("StringEquals", "iot:ClientId", ["${iot:ClientId}"], True),
        ("StringNotEquals", "iot:ClientId", ["other"], True),
        ("StringNotEquals", "iot:ClientId", ["other", "client_id"], False),
        ("StringEqualsIgnoreCase", "iot:ClientId", ["CLIENT_id"], True),
        ("StringEqualsIgnoreCase", "iot:ClientId", ["${iot:ClientId}"], True),
        ("StringNotEqualsIgnoreCase", "iot:ClientId", ["CLIENT_id"], False),
        ("StringLike", "iot:ClientId", ["client*"], True),
        ("StringLike", "iot:ClientId", ["client?id"], True),
        ("StringLike", "iot:ClientId", ["x*"], False),
        ("StringNotLike", "iot:ClientId", ["client*"], False),
        ("StringNotLike", "iot:ClientId", ["x*"], True),
        ("ArnEquals", "iot:LastWillTopic", [WILL], True),
        ("ArnEquals", "iot:LastWillTopic", ["arn:aws:iot:*:*:topic/will/*"], True),
        ("ArnLike", "iot:LastWillTopic", ["arn:aws:iot:*:*:topic/will/${iot:ClientId}"], True),
        ("ArnLike", "iot:LastWillTopic", ["arn:aws:iot:*:*:topic/other/*"], False),
        ("ArnLike", "iot:LastWillTopic", ["*"], True),
        ("ArnLike", "iot:ClientId", ["arn:aws:iot:*:*:topic/will/*"], False),
        ("ArnNotEquals", "iot:LastWillTopic", [WILL], False),
        ("ArnNotLike", "iot:LastWillTopic", ["arn:aws:iot:*:*:topic/x"], True),
        ("IpAddress", "aws:SourceIp", ["203.0.113.0/24"], True),
        ("IpAddress", "aws:SourceIp", ["203.0.113.7"], True),
        ("IpAddress", "aws:SourceIp", ["198.51.100.0/24", "203.0.113.9/24"], True),
        ("IpAddress", "aws:SourceIp", ["2001:db8::/32"], False),
        ("NotIpAddress", "aws:SourceIp", ["203.0.113.0/24"], False),
        ("NotIpAddress", "aws:SourceIp", ["198.51.100.0/24"], True),
        ("Bool", "iot:ClientId", ["true"], False),
    ],
)
def test_each_operator_compares_as_iam_describes_it(operator: str, key: str, values: list[str], expected: bool) -> None:
    assert holds(operator, key, *values) is expected


def test_bool_compares_truth_values_in_any_case() -> None:
    assert holds("Bool", "iot:ClientId", "True", context=Context("true", None)) is True


def test_an_arn_wildcard_does_not_reach_over_a_colon() -> None:
    context = Context("c", None, last_will_topic="arn:aws:iot:eu-west-1:1:topic/a:topic/b")
    assert holds("ArnLike", "iot:LastWillTopic", "arn:aws:iot:*:*:topic/b", context=context) is False
    assert holds("ArnLike", "iot:LastWillTopic", "arn:aws:iot:*:*:topic/*", context=context) is True
    assert holds("ArnEquals", "iot:LastWillTopic", "arn:aws:iot:*:*:topic/a:topic/b", context=context) is True


def test_an_ipv4_client_on_a_dual_stack_socket_is_an_ipv4_client() -> None:
    context = Context("c", "::ffff:203.0.113.7")
    assert holds("IpAddress", "aws:SourceIp", "203.0.113.0/24", context=context) is True


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("StringEquals", False),
        ("StringLike", False),
        ("StringNotEquals", True),
        ("StringEqualsIfExists", True),
        ("StringNotEqualsIfExists", True),
        ("ForAllValues:StringEquals", True),
        ("ForAnyValue:StringEquals", False),
        ("ForAnyValue:StringNotEquals", False),
        ("ForAnyValue:StringEqualsIfExists", True),
    ],
)
def test_a_key_that_is_absent_follows_iams_rules(operator: str, expected: bool) -> None:
    assert holds(operator, "iot:LastWillTopic", WILL, context=NOTHING) is expected
    assert holds(operator, "iot:ConnectAttributes", "LastWill", context=NOTHING) is expected
    assert holds(operator, "iot:ClientId", "x", context=NOTHING) is expected


@pytest.mark.parametrize(
    ("operator", "values", "attributes", "expected"),
    [
        ("ForAllValues:StringEquals", ["LastWill"], {"LastWill"}, True),
        ("ForAllValues:StringEquals", ["LastWill"], {"LastWill", "PersistentConnect"}, False),
        ("ForAllValues:StringEquals", ["LastWill", "PersistentConnect"], {"LastWill", "PersistentConnect"}, True),
        ("ForAllValues:StringNotEquals", ["LastWill"], {"PersistentConnect"}, True),
        ("ForAllValues:StringNotEquals", ["LastWill"], {"LastWill", "PersistentConnect"}, False),
        ("ForAnyValue:StringEquals", ["LastWill"], {"LastWill", "PersistentConnect"}, True),
        ("ForAnyValue:StringEquals", ["LastWill"], {"PersistentConnect"}, False),
        ("ForAnyValue:StringNotEquals", ["LastWill"], {"LastWill", "PersistentConnect"}, True),
        ("StringEquals", ["LastWill"], {"LastWill"}, True),
        ("StringEquals", ["LastWill"], {"LastWill", "PersistentConnect"}, None),
    ],
)
def test_several_values_need_a_set_operator(
    operator: str, values: list[str], attributes: set[str], expected: bool | None
) -> None:
    context = Context("c", None, frozenset(attributes))
    assert holds(operator, "iot:ConnectAttributes", *values, context=context) is expected


@pytest.mark.parametrize(
    ("operator", "key"),
    [
        ("StringEquals", "aws:PrincipalTag/team"),
        ("StringNotEquals", "iot:DomainName"),
        ("StringEqualsIfExists", "iot:DomainName"),
        ("StringEqualsIfExists", "iot:Connection.Thing.ThingName"),
        ("StringLikeIfExists", "iot:Connection.Thing.IsAttached"),
        ("ForAllValues:StringEquals", "aws:TagKeys"),
        ("NumericLessThan", "iot:ClientId"),
        ("Null", "iot:LastWillTopic"),
        ("stringequals", "iot:ClientId"),
        ("ForSomeValues:StringEquals", "iot:ClientId"),
        ("ForAllValues:", "iot:ClientId"),
    ],
)
def test_an_operator_or_key_that_is_not_known_is_never_judged(operator: str, key: str) -> None:
    assert holds(operator, key, "client_id") is None
    assert holds(operator, key, "client_id", context=NOTHING) is None


# All of "IAM JSON policy elements: Condition operators" that IoT policies have no key for.
NOT_BUILT = [
    *(f"Numeric{each}" for each in ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan")),
    *(f"Date{each}" for each in ("Equals", "NotEquals", "LessThan", "GreaterThan", "GreaterThanEquals")),
    "BinaryEquals",
    "Null",
]


@pytest.mark.parametrize("operator", NOT_BUILT)
@pytest.mark.parametrize("form", ["{}", "{}IfExists", "ForAllValues:{}", "ForAnyValue:{}"])
def test_an_operator_of_iam_that_is_not_built_never_grants_and_says_so(operator: str, form: str) -> None:
    name = form.format(operator)
    for key in ("iot:ClientId", "aws:CurrentTime"):
        statement = {"Action": "*", "Resource": "*", "Condition": {name: {key: "1"}}}
        allow, deny = (
            PolicyDocument.parse({"Version": "2012-10-17", "Statement": [{"Effect": effect, **statement}]})
            for effect in ("Allow", "Deny")
        )
        everything = PolicyDocument.parse(
            {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
        )
        for policies in ([allow], [everything, deny]):
            decision = evaluate(policies, "iot:Publish", WILL, CONTEXT)
            assert not decision.allowed
            assert f"{name} on {key} (this operator is not known here)" in decision.explanation


@pytest.mark.parametrize(
    ("operator", "key", "value", "expected"),
    [
        ("StringEquals", "iot:DomainName", "a.example", True),
        ("StringLike", "IOT:domainname", "*.example", True),
        ("StringEquals", "iot:DomainName", "b.example", False),
        ("StringEquals", "iot:DomainName", "${iot:DomainName}", True),
        ("StringNotEquals", "iot:DomainName", "b.example", True),
        ("StringEquals", "iot:Connection.Thing.ThingName", "thing", True),
        ("StringEquals", "iot:ClientId", "${iot:Connection.Thing.ThingName}", False),
        ("Bool", "iot:Connection.Thing.IsAttached", "true", True),
        ("Bool", "iot:Connection.Thing.IsAttached", "false", False),
    ],
)
def test_the_domain_name_and_the_thing_are_keys_and_variables(
    operator: str, key: str, value: str, expected: bool
) -> None:
    context = Context("client_id", None, domain_name="a.example", thing_name="thing")
    assert holds(operator, key, value, context=context) is expected


def test_an_empty_condition_block_is_no_condition() -> None:
    for condition in ({}, {"StringEquals": {}}):
        statement = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}
        document = PolicyDocument.parse({"Version": "2012-10-17", "Statement": statement})
        assert evaluate([document], "iot:Publish", WILL, NOTHING).allowed


def test_an_address_that_nobody_told_is_never_judged() -> None:
    for operator in ("IpAddress", "NotIpAddress", "NotIpAddressIfExists"):
        assert holds(operator, "aws:SourceIp", "203.0.113.0/24", context=NOTHING) is None
    assert holds("NotIpAddress", "aws:SourceIp", "203.0.113.0/24", context=Context("c", "not an address")) is None


def test_a_variable_without_a_value_leaves_a_condition_open() -> None:
    assert holds("StringEquals", "iot:ClientId", "${iot:Certificate.Subject.CommonName}") is None
    assert holds("StringNotEquals", "iot:ClientId", "${iot:Certificate.Subject.CommonName}") is None
    assert holds("StringEquals", "iot:ClientId", "x-${iot:Certificate.Subject.CommonName}") is False


@pytest.mark.parametrize(
    ("operator", "value", "advice"),
    [
        ("IpAddress", "203.0.113.0/99", "203.0.113.0/24"),
        ("ArnEquals", "will/client_id", "arn:aws:iot:REGION:ACCOUNT:topic/TOPIC"),
        ("Bool", "yes", "true or false"),
    ],
)
def test_a_value_that_its_operator_cannot_use_is_refused_with_its_place(operator: str, value: str, advice: str) -> None:
    document = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {operator: {"k": value}}},
    }
    with pytest.raises(MalformedPolicy, match=advice) as caught:
        PolicyDocument.parse(document)
    assert caught.value.path == f"Statement.Condition.{operator}.k"


def test_a_bare_topic_is_refused_as_last_will_topic() -> None:
    with pytest.raises(ValueError, match="topic_arn"):
        Context("c", None, last_will_topic="will/topic")
