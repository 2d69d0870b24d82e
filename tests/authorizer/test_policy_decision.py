"""Decisions: the reference policy, IAM's rules, and properties that must hold for all policies."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.authorizer import (
    Context,
    PolicyDocument,
    client_arn,
    document,
    evaluate,
    statement,
    topic_arn,
    topicfilter_arn,
)

REGION, ACCOUNT = "ap-northeast-1", "123456789012"
ANY = f"arn:aws:iot:{REGION}:*:"
CONTEXT = Context("client_id", "203.0.113.7")
HTTPS = Context(None, "203.0.113.7")

REFERENCE = PolicyDocument.parse(
    document(
        statement("Allow", "iot:Connect", f"{ANY}client/client_id"),
        statement("Allow", ["iot:Publish", "iot:Receive"], f"{ANY}topic/my-topic"),
        statement("Allow", "iot:Subscribe", f"{ANY}topicfilter/my-topic"),
    )
)


def policy(*statements: dict[str, Any]) -> list[PolicyDocument]:
    return [PolicyDocument.parse({"Version": "2012-10-17", "Statement": list(statements)})]


def rule(effect: str = "Allow", **elements: object) -> dict[str, Any]:
    action = {} if "NotAction" in elements else {"Action": "*"}
    resource = {} if "NotResource" in elements else {"Resource": "*"}
    return {"Effect": effect, **action, **resource, **elements}


def topic(name: str) -> str:
    return topic_arn(REGION, ACCOUNT, name)


def may(policies: list[PolicyDocument], action: str, resource: str, context: Context = CONTEXT) -> bool:
    return evaluate(policies, action, resource, context).allowed


@pytest.mark.parametrize(
    ("action", "resource", "statement_index"),
    [
        ("iot:Connect", client_arn(REGION, ACCOUNT, "client_id"), 0),
        ("iot:Publish", topic("my-topic"), 1),
        ("iot:Receive", topic("my-topic"), 1),
        ("IOT:RECEIVE", topic("my-topic"), 1),
        ("iot:Subscribe", topicfilter_arn(REGION, ACCOUNT, "my-topic"), 2),
        ("iot:Connect", client_arn(REGION, ACCOUNT, "Client_id"), None),
        ("iot:Connect", client_arn("eu-west-1", ACCOUNT, "client_id"), None),
        ("iot:Publish", topic("my-topic/x"), None),
        ("iot:RetainPublish", topic("my-topic"), None),
        ("iot:Subscribe", topicfilter_arn(REGION, ACCOUNT, "#"), None),
    ],
)
def test_the_reference_policy_allows_what_it_names_and_nothing_else(
    action: str, resource: str, statement_index: int | None
) -> None:
    decision = evaluate([REFERENCE], action, resource, CONTEXT)
    assert (decision.allowed, decision.statement) == (statement_index is not None, statement_index)
    assert (decision.action, decision.resource) == (action, resource)
    assert decision.effect == ("implicit deny" if statement_index is None else "allow")


def test_nothing_is_allowed_without_documents() -> None:
    assert not may([], "iot:Connect", client_arn(REGION, ACCOUNT, "client_id"))


def test_deny_wins_in_any_order_and_any_document() -> None:
    allow, deny = policy(rule()), policy(rule("Deny", Resource=topic("a")))
    for policies in (allow + deny, deny + allow, policy(rule(), rule("Deny", Resource=topic("a")))):
        assert not may(policies, "iot:Publish", topic("a"))
        assert may(policies, "iot:Publish", topic("b"))
    decision = evaluate(allow + deny, "iot:Publish", topic("a"), CONTEXT)
    assert (decision.effect, decision.document, decision.statement) == ("explicit deny", 1, 0)


@pytest.mark.parametrize(
    "resource", ["*", "arn:*", f"arn:aws:iot:{REGION}:{ACCOUNT}:*", f"{ANY}*", "arn:aws:iot:*:*:*"]
)
def test_a_bare_star_and_a_bare_tail_cover_clients_topics_and_filters(resource: str) -> None:
    policies = policy(rule(Resource=resource))
    for arn in (client_arn, topic_arn, topicfilter_arn):
        assert may(policies, "iot:Anything", arn(REGION, ACCOUNT, "a/b"))


@pytest.mark.parametrize("action", ["*", "iot:*", "iot:pub*", "IOT:PUBLISH", "iot:Publis?"])
def test_actions_take_wildcards_and_any_case(action: str) -> None:
    policies = policy(rule(Action=action))
    assert may(policies, "iot:Publish", topic("a"))
    assert not may(policy(rule(Action="s3:*")), "iot:Publish", topic("a"))


def test_not_action_covers_every_other_action() -> None:
    policies = policy(rule(NotAction=["iot:Publish", "iot:Retain*"]))
    assert may(policies, "iot:Receive", topic("a"))
    assert not may(policies, "iot:publish", topic("a"))
    assert not may(policies, "iot:RetainPublish", topic("a"))


def test_not_resource_covers_every_other_resource() -> None:
    policies = policy(rule(), rule("Deny", NotResource=[topic("a"), topic("b/*")]))
    assert may(policies, "iot:Publish", topic("a"))
    assert may(policies, "iot:Publish", topic("b/c"))
    assert not may(policies, "iot:Publish", topic("c"))


def test_a_subscription_to_a_wildcard_needs_its_literal_text() -> None:
    narrow = policy(rule(Resource=f"{ANY}topicfilter/a/b"))
    assert not may(narrow, "iot:Subscribe", topicfilter_arn(REGION, ACCOUNT, "a/#"))
    for resource in (f"{ANY}topicfilter/a/#", f"{ANY}topicfilter/a/*"):
        assert may(policy(rule(Resource=resource)), "iot:Subscribe", topicfilter_arn(REGION, ACCOUNT, "a/#"))


def test_a_client_id_of_a_star_gets_its_own_topics_only() -> None:
    policies = policy(rule(Resource=f"{ANY}topic/${{iot:ClientId}}/*"))
    assert not may(policies, "iot:Publish", topic("victim/x"), Context("*", None))
    assert may(policies, "iot:Publish", topic("*/x"), Context("*", None))


def test_a_client_id_of_a_plus_widens_a_topic_filter_as_the_service_warns() -> None:
    policies = policy(rule(Resource=f"{ANY}topicfilter/${{iot:ClientId}}/x"))
    assert may(policies, "iot:Subscribe", topicfilter_arn(REGION, ACCOUNT, "+/x"), Context("+", None))


@pytest.mark.parametrize("name", ["${iot:Connection.Thing.ThingName}", "${iot:ClientId}"])
def test_an_unresolved_variable_never_grants_and_a_deny_with_one_applies(name: str) -> None:
    resource = f"{ANY}topic/{name}/x"
    assert not may(policy(rule(Resource=resource)), "iot:Publish", topic("a/x"), HTTPS)
    assert not may(policy(rule(NotResource=resource)), "iot:Publish", topic("a/x"), HTTPS)
    assert not may(policy(rule(), rule("Deny", Resource=resource)), "iot:Publish", topic("a/x"), HTTPS)
    assert not may(policy(rule(), rule("Deny", NotResource=resource)), "iot:Publish", topic("a/x"), HTTPS)


def test_a_deny_with_an_unresolved_variable_that_cannot_fit_does_not_apply() -> None:
    deny = rule("Deny", Resource=f"{ANY}topic/${{iot:Connection.Thing.ThingName}}/x")
    assert may(policy(rule(), deny), "iot:Publish", topic("a/y"))


UNKNOWN = {"StringEquals": {"aws:PrincipalTag/team": "x"}}


def test_an_unknown_condition_never_grants_and_a_deny_with_one_applies() -> None:
    assert not may(policy(rule(Condition=UNKNOWN)), "iot:Publish", topic("a"))
    assert not may(policy(rule(), rule("Deny", Condition=UNKNOWN)), "iot:Publish", topic("a"))


def test_an_unknown_condition_beside_one_that_fails_for_certain_rules_a_deny_out() -> None:
    conditions = {**UNKNOWN, "StringLike": {"iot:ClientId": "other"}}
    assert may(policy(rule(), rule("Deny", Condition=conditions)), "iot:Publish", topic("a"))
    unresolved = rule("Deny", Resource=f"{ANY}topic/${{x}}", Condition={"StringLike": {"iot:ClientId": "other"}})
    assert may(policy(rule(), unresolved), "iot:Publish", topic("a"))


def test_all_conditions_of_a_statement_must_hold() -> None:
    conditions = {"StringEquals": {"iot:ClientId": "client_id"}, "IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}
    policies = policy(rule(Condition=conditions))
    assert may(policies, "iot:Publish", topic("a"))
    assert not may(policies, "iot:Publish", topic("a"), Context("client_id", "198.51.100.1"))
    assert not may(policies, "iot:Publish", topic("a"), Context("other", "203.0.113.7"))


def test_one_document_serves_clients_with_different_ids() -> None:
    policies = policy(rule(Resource=f"{ANY}client/${{iot:ClientId}}"))
    for client_id in ("a", "b", "a"):
        context = Context(client_id, None)
        assert may(policies, "iot:Connect", client_arn(REGION, ACCOUNT, client_id), context)
        assert not may(policies, "iot:Connect", client_arn(REGION, ACCOUNT, "c"), context)


def test_the_address_of_the_client_is_a_variable() -> None:
    policies = policy(rule(Resource=f"{ANY}topic/from/${{aws:SourceIp}}"))
    assert may(policies, "iot:Publish", topic("from/203.0.113.7"))
    assert not may(policies, "iot:Publish", topic("from/198.51.100.1"))


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_resources_lie_in_the_partition_of_their_region(region: str, partition: str) -> None:
    assert topic_arn(region, "1", "a/b") == f"arn:{partition}:iot:{region}:1:topic/a/b"
    assert client_arn(region, "1", "c") == f"arn:{partition}:iot:{region}:1:client/c"
    assert topicfilter_arn(region, "1", "a/#") == f"arn:{partition}:iot:{region}:1:topicfilter/a/#"


# -- properties ----------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "a/b", "+", "#", "*", "?", "a*", "${iot:ClientId}", "${x}", "${*}", "${"])
resources = st.one_of(
    st.just("*"),
    st.builds(
        "arn:aws:iot:{}:1:{}/{}".format,
        st.sampled_from(["r", "*"]),
        st.sampled_from(["topic", "topicfilter", "*"]),
        names,
    ),
)
actions = st.sampled_from(["*", "iot:*", "iot:Publish", "IOT:subscribe", "iot:P?blish"])
condition_blocks = st.dictionaries(
    st.sampled_from(
        ["StringEquals", "StringNotLike", "ForAnyValue:StringLike", "StringEqualsIfExists", "Weird", "ArnLike"]
    ),
    st.dictionaries(
        st.sampled_from(["iot:ClientId", "iot:ConnectAttributes", "iot:LastWillTopic", "aws:SourceIp", "aws:Weird"]),
        st.sampled_from(["arn:aws:iot:r:1:topic/a", "*", ["arn:aws:iot:*:*:topic/${iot:ClientId}"]]),
        max_size=2,
    ),
    max_size=2,
)


@st.composite
def statements(draw: st.DrawFn, effect: str | None = None) -> dict[str, Any]:
    return {
        "Effect": effect or draw(st.sampled_from(["Allow", "Deny"])),
        draw(st.sampled_from(["Action", "NotAction"])): draw(actions | st.lists(actions, min_size=1, max_size=2)),
        draw(st.sampled_from(["Resource", "NotResource"])): draw(
            resources | st.lists(resources, min_size=1, max_size=2)
        ),
        "Condition": draw(condition_blocks),
    }


contexts = st.builds(
    Context,
    st.none() | st.sampled_from(["a", "b", "*", "+", "${iot:ClientId}"]),
    st.none() | st.sampled_from(["203.0.113.7", "::1", "x"]),
    st.frozensets(st.sampled_from(["LastWill", "PersistentConnect"])),
    st.none() | st.just("arn:aws:iot:r:1:topic/a"),
)
requested_actions = st.sampled_from(["iot:Publish", "iot:Subscribe", "iot:Connect"])
requested = st.builds("arn:aws:iot:r:1:{}/{}".format, st.sampled_from(["topic", "topicfilter"]), names)


@given(st.lists(statements(), min_size=1, max_size=3), statements("Deny"), requested_actions, requested, contexts)
def test_adding_a_deny_never_grants(
    base: list[dict[str, Any]], deny: dict[str, Any], action: str, resource: str, context: Context
) -> None:
    if not may(policy(*base), action, resource, context):
        assert not may(policy(*base, deny), action, resource, context)
        assert not may(policy(deny) + policy(*base), action, resource, context)


@given(st.lists(statements("Allow"), min_size=1, max_size=3), requested_actions, requested, contexts)
def test_adding_an_unknown_condition_to_every_allow_leaves_nothing_allowed(
    base: list[dict[str, Any]], action: str, resource: str, context: Context
) -> None:
    doubtful = [{**one, "Condition": {**one["Condition"], **UNKNOWN}} for one in base]
    assert not may(policy(*doubtful), action, resource, context)


@given(st.lists(statements(), min_size=1, max_size=3), requested_actions, requested, contexts, contexts)
def test_a_decision_does_not_depend_on_what_was_decided_before(
    base: list[dict[str, Any]], action: str, resource: str, context: Context, other: Context
) -> None:
    used = policy(*base)
    evaluate(used, action, resource, other)
    assert evaluate(used, action, resource, context) == evaluate(policy(*base), action, resource, context)


@given(
    st.lists(statements(), min_size=1, max_size=3), st.text(), st.text(), st.none() | st.text(), st.none() | st.text()
)
def test_deciding_never_raises_and_explains_itself_in_one_printable_line(
    base: list[dict[str, Any]], action: str, resource: str, client_id: str | None, source_ip: str | None
) -> None:
    decision = evaluate(policy(*base), action, resource, Context(client_id, source_ip))
    assert decision.explanation.isprintable()
    assert decision.explanation.startswith("allowed" if decision.allowed else "denied")
