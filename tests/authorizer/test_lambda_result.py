"""The Lambda result: what is accepted, and how every fault is named."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.authorizer import AuthorizerResult, InvalidResult, PolicyDocument, validate_result

POLICY: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}],
}


def result(**changes: object) -> dict[str, Any]:
    return {
        "isAuthenticated": True,
        "principalId": "CustomAuthId",
        "disconnectAfterInSeconds": 84_000,
        "refreshAfterInSeconds": 300,
        "policyDocuments": [POLICY],
        **changes,
    }


def problems(value: object) -> tuple[str, ...]:
    with pytest.raises(InvalidResult) as caught:
        validate_result(value)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def policy_of(size: int) -> dict[str, Any]:
    """Return a policy of so many characters when it is written without white space."""
    used = len(json.dumps({**POLICY, "Id": ""}, separators=(",", ":")))
    return {**POLICY, "Id": "x" * (size - used)}


def test_the_reference_result_is_valid() -> None:
    assert validate_result(result()) == AuthorizerResult(
        True,
        "CustomAuthId",
        (PolicyDocument.parse(POLICY),),
        disconnect_after_seconds=84_000,
        refresh_after_seconds=300,
    )


def test_nothing_else_is_looked_at_when_the_client_is_refused() -> None:
    value = {"isAuthenticated": False, "principalId": "-", "policyDocuments": 7, "refreshAfterInSeconds": 0}
    assert validate_result(value) == AuthorizerResult(False)


def test_missing_seconds_become_a_day() -> None:
    value = result()
    del value["disconnectAfterInSeconds"], value["refreshAfterInSeconds"]
    valid = validate_result(value)
    assert (valid.disconnect_after_seconds, valid.refresh_after_seconds) == (86_400, 86_400)


def test_unknown_keys_are_ignored() -> None:
    assert validate_result(result(context={}, password="x")).is_authenticated


def test_policies_may_be_json_text() -> None:
    assert validate_result(result(policyDocuments=[json.dumps(POLICY)])) == validate_result(result())


@pytest.mark.parametrize("value", ["true", 1, 0, None, "", []])
def test_is_authenticated_must_be_a_truth_value(value: object) -> None:
    assert "isAuthenticated must be true or false" in problems(result(isAuthenticated=value))[0]


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("Custom-Auth", "leave out '-', its character 7"),
        ("user@example", "leave out '@', its character 5"),
        ("a\n", r"leave out '\\n', its character 2"),
        ("é", r"leave out '\\xe9', its character 1"),
        ("٣", "its character 1"),
        ("", "1 to 128 characters"),
        ("a" * 129, "not 129"),
        (None, "it is missing"),
        (7, "type int"),
    ],
)
def test_a_principal_id_holds_letters_and_digits_only(value: object, advice: str) -> None:
    with pytest.raises(InvalidResult, match=advice) as caught:
        validate_result(result(principalId=value))
    assert len(caught.value.problems) == 1
    assert "a-z, A-Z and 0-9" in str(caught.value)


def test_a_principal_id_of_128_characters_is_accepted() -> None:
    assert validate_result(result(principalId="aZ09" * 32)).principal_id == "aZ09" * 32


@pytest.mark.parametrize("key", ["disconnectAfterInSeconds", "refreshAfterInSeconds"])
@pytest.mark.parametrize("value", [299, 86_401, 0, -300, True, 300.0, "300", None])
def test_seconds_are_whole_numbers_from_300_to_86400(key: str, value: object) -> None:
    assert [problem.split()[0] for problem in problems(result(**{key: value}))] == [key]


def test_a_truth_value_is_not_taken_for_a_number() -> None:
    assert "type bool" in problems(result(refreshAfterInSeconds=True))[0]


def test_an_absurdly_large_number_does_not_break_the_message() -> None:
    assert "a far larger number" in problems(result(refreshAfterInSeconds=10**5000))[0]


@pytest.mark.parametrize("value", [300, 86_400])
def test_the_ends_of_the_range_of_seconds_are_accepted(value: int) -> None:
    valid = validate_result(result(disconnectAfterInSeconds=value, refreshAfterInSeconds=value))
    assert (valid.disconnect_after_seconds, valid.refresh_after_seconds) == (value, value)


@pytest.mark.parametrize("value", [None, POLICY, json.dumps(POLICY), 7])
def test_policy_documents_must_be_a_list(value: object) -> None:
    assert "must be a list of 1 to 10 policy documents" in problems(result(policyDocuments=value))[0]


def test_an_empty_list_of_policies_is_refused_because_it_allows_nothing() -> None:
    assert "nothing is allowed" in problems(result(policyDocuments=[]))[0]


def test_ten_policies_are_accepted_and_eleven_are_not() -> None:
    assert len(validate_result(result(policyDocuments=[POLICY] * 10)).policies) == 10
    assert "holds 11 documents" in problems(result(policyDocuments=[POLICY] * 11))[0]


@pytest.mark.parametrize("as_text", [False, True])
def test_a_policy_has_2048_characters_without_white_space(as_text: bool) -> None:
    def given_as(policy: dict[str, Any]) -> object:
        return json.dumps(policy, indent=8) if as_text else policy

    assert validate_result(result(policyDocuments=[given_as(policy_of(2048))])).is_authenticated
    found = problems(result(policyDocuments=[POLICY, given_as(policy_of(2049))]))
    assert "policyDocuments[1] has 2049 characters" in found[0]


def test_a_malformed_policy_is_named_with_its_place() -> None:
    broken = {"Version": "2012-10-17", "Statement": [POLICY["Statement"][0], {"Effect": "allow"}]}
    assert problems(result(policyDocuments=[POLICY, broken]))[0].startswith("policyDocuments[1].Statement[1].Effect: ")
    assert problems(result(policyDocuments=["{"]))[0].startswith("policyDocuments[0] is text that is not valid JSON")


def test_every_problem_is_listed() -> None:
    found = problems({"isAuthenticated": "yes"})
    assert [problem.split()[0] for problem in found] == ["isAuthenticated", "principalId", "policyDocuments"]


@pytest.mark.parametrize(
    ("value", "advice"),
    [(None, "return statement"), ("{}", "not its JSON text"), (b"{}", "not its JSON text"), ([1], "not list")],
)
def test_what_is_not_an_object_is_refused_with_the_likely_cause(value: object, advice: str) -> None:
    assert advice in problems(value)[0]


def test_no_value_is_echoed() -> None:
    secret = "hidden secret"
    value = result(
        principalId=secret,
        isAuthenticated=secret,
        refreshAfterInSeconds=secret,
        policyDocuments=[secret, {"Id": secret}],
    )
    assert "hidden" not in "".join(problems(value))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(result())), json_values)
def test_any_value_gives_a_result_or_an_invalid_result(key: str, value: object) -> None:
    with suppress(InvalidResult):
        assert isinstance(validate_result(result(**{key: value})), AuthorizerResult)
