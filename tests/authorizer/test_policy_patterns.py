"""Patterns: every rule by example, and agreement with a regular expression as an independent oracle."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.authorizer.patterns import Pattern, all_of, any_of, negated

IDS = {"iot:clientid": "client_id", "aws:sourceip": "192.0.2.1"}


def matches(pattern: str, text: str, variables: dict[str, str] = IDS) -> bool | None:
    return Pattern.parse(pattern).match(text, variables)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("topic/a", "topic/a", True),
        ("topic/a", "topic/ab", False),
        ("topic/a", "Topic/a", False),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "a/b\nc", True),
        ("a/*", "a/b/c", True),
        ("a/*", "a/", True),
        ("a/*", "a", False),
        ("a/*/c", "a/b/b/c", True),
        ("a*a", "a", False),
        ("*a*b", "xaxab", True),
        ("*ab*ba*", "aba", False),
        ("*ab*bc*", "abcx", False),
        ("*ab*bc*", "abbc", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", True),
        ("a?c", "ac", False),
        ("a?", "abc", False),
        ("?*?", "a", False),
        ("?*?", "ab", True),
        ("*?b*", "aab", True),
        ("*?b*", "b", False),
        ("a**b", "ab", True),
        ("a/+/c", "a/b/c", False),
        ("a/+/c", "a/+/c", True),
        ("a/#", "a/b", False),
        ("a/#", "a/#", True),
        ("[ab]", "a", False),
        ("a.c", "abc", False),
        ("\U0001f600?", "\U0001f600\U0001f600", True),
    ],
)
def test_star_is_any_text_and_question_mark_one_character_and_nothing_else_is_special(
    pattern: str, text: str, expected: bool
) -> None:
    assert matches(pattern, text) is expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("${*}", "*", True),
        ("${*}", "a", False),
        ("${?}", "?", True),
        ("${?}", "a", False),
        ("${$}{iot:ClientId}", "${iot:ClientId}", True),
        ("a${b", "a${b", True),
        ("$a", "$a", True),
        ("a}", "a}", True),
    ],
)
def test_special_characters_can_be_written_as_literals(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected


def test_a_variable_is_replaced_and_the_case_of_its_name_does_not_matter() -> None:
    assert matches("client/${iot:ClientId}", "client/client_id") is True
    assert matches("client/${IOT:clientid}", "client/client_id") is True
    assert matches("client/${iot:ClientId}", "client/other") is False
    assert matches("${aws:SourceIp}/${iot:ClientId}/*", "192.0.2.1/client_id/x") is True


@pytest.mark.parametrize("client_id", ["*", "?", "a*", "${*}", "${aws:SourceIp}"])
def test_a_substituted_value_is_literal_text(client_id: str) -> None:
    variables = {"iot:clientid": client_id, "aws:sourceip": "x"}
    assert matches("topic/${iot:ClientId}", f"topic/{client_id}", variables) is True
    assert matches("topic/${iot:ClientId}", "topic/victim", variables) is False
    assert matches("topic/${iot:ClientId}", "topic/a", variables) is False


def test_a_new_value_replaces_the_one_before() -> None:
    pattern = Pattern.parse("client/${iot:ClientId}")
    for client_id in ("a", "b", "a"):
        assert pattern.match(f"client/{client_id}", {"iot:clientid": client_id}) is True
        assert pattern.match("client/c", {"iot:clientid": client_id}) is False
    assert pattern.match("client/a", {}) is None


def test_a_variable_without_a_value_is_unknown_only_where_some_value_would_fit() -> None:
    pattern = "topic/${iot:Connection.Thing.ThingName}/x"
    assert matches(pattern, "topic/anything/x") is None
    assert matches(pattern, "topic/anything/y") is False
    assert Pattern.parse(pattern).missing(IDS) == ("iot:Connection.Thing.ThingName",)


def test_without_variables_or_wildcards_their_signs_are_text() -> None:
    assert Pattern.parse("${iot:ClientId}", variables=False).match("${iot:ClientId}", IDS) is True
    assert Pattern.parse("a*?", wildcards=False).match("a*?", IDS) is True
    assert Pattern.parse("a*?", wildcards=False).match("abc", IDS) is False


def test_a_folded_pattern_ignores_the_case_of_pattern_and_value() -> None:
    assert Pattern.parse("IOT:Pub*", fold=True).match("iot:publish", {}) is True
    assert Pattern.parse("${iot:ClientId}", fold=True).match("abc", {"iot:clientid": "ABC"}) is True


@pytest.mark.timeout(20)
def test_many_stars_cost_no_exponential_time() -> None:
    text = "a" * 20_000
    assert matches("*a" * 500 + "b", text) is False
    assert matches("*?a" * 500 + "*b", text) is False
    assert matches("*a?b" * 500 + "*", "ab" * 10_000) is False


small = st.text(alphabet="ab*?/", max_size=12)


@given(small, st.text(alphabet="ab/*?", max_size=14))
def test_the_matcher_agrees_with_a_regular_expression(pattern: str, text: str) -> None:
    translated = "".join({"*": "(?s:.*)", "?": "(?s:.)"}.get(c, re.escape(c)) for c in pattern)
    assert matches(pattern, text) is bool(re.fullmatch(translated, text))


@given(st.text(alphabet="ab*?$+#/", max_size=12), st.text(alphabet="ab*?$+#/", max_size=12))
def test_a_client_id_of_any_text_matches_itself_and_nothing_else(client_id: str, other: str) -> None:
    variables = {"iot:clientid": client_id}
    assert matches("c/${iot:ClientId}/d", f"c/{client_id}/d", variables) is True
    assert matches("c/${iot:ClientId}/d", f"c/{other}/d", variables) is (other == client_id)


@given(st.text(max_size=20))
def test_any_text_can_be_written_as_a_literal(text: str) -> None:
    escaped = "".join(f"${{{c}}}" if c in "*?$" else c for c in text)
    assert matches(escaped, text) is True
    assert matches(escaped, text + "x") is False


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_pattern_and_no_text_raise(pattern: str, text: str) -> None:
    assert matches(pattern, text) in (True, False, None)


def test_unknown_stays_unknown_unless_something_certain_decides() -> None:
    assert any_of([False, None, True]) is True
    assert any_of([False, None]) is None
    assert any_of([False]) is False
    assert any_of([]) is False
    assert all_of([True, None, False]) is False
    assert all_of([True, None]) is None
    assert all_of([True]) is True
    assert all_of([]) is True
    assert [negated(answer) for answer in (True, False, None)] == [False, True, None]
