"""Headers, queries and upgrades: what a server reads is what the caller passed, or it is refused before it is sent."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iot_customauth_client import ConfigurationError, Credentials
from iot_customauth_client.carriage import (
    ConnectFields,
    RawCredentials,
    check_http,
    query_parameters,
    read_headers,
    read_path,
    redact_headers,
    redact_path,
    write_companion,
    write_headers,
    write_path,
)
from iot_customauth_client.upgrade import upgrade_parts

NASTY = "a+b/c==&x-amz-customauthorizer-name=evil?q=1%41 #;\u00e9\n\0"

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
tokens = any_text.filter(lambda text: text.strip("*") != "")
names = any_text.filter(lambda text: bool(text) and not text.lower().startswith("x-amz-"))
signatures = st.from_regex(r"\A[A-Za-z0-9+/]{1,80}={0,2}\Z")
header_names = st.from_regex(r"\A[A-Za-z0-9_-]{1,30}\Z").filter(lambda name: not name.lower().startswith("x-amz-"))
header_values = st.from_regex(r"\A[!-~]([ -~]*[!-~])?\Z") | st.just("")


@st.composite
def raws(draw: st.DrawFn, name: Any = names, value: Any = any_text, key: Any = header_names) -> RawCredentials:
    pairs = draw(st.lists(st.tuples(name, value), max_size=4, unique_by=lambda pair: pair[0].lower()))
    has_token = draw(st.booleans())
    key_name = draw(key) if has_token else None
    return RawCredentials(
        authorizer=draw(st.none() | st.from_regex(r"\A[A-Za-z0-9_=,@-]{1,40}\Z")),
        token_key_name=key_name,
        token=draw(value.filter(bool)) if has_token else None,
        signature=draw(st.none() | signatures) if has_token else None,
        parameters=tuple(pair for pair in pairs if key_name is None or pair[0].lower() != key_name.lower()),
    )


# -- the query of a URL -----------------------------------------------------------------------------------------------


@given(raws(), st.sampled_from(["/mqtt", "/topics/a%2Fb?qos=1"]))
@example(RawCredentials(token_key_name="k", token=NASTY, signature="+/+/==", parameters=((NASTY, NASTY),)), "/mqtt")
def test_a_server_reads_from_the_query_what_the_caller_passed(raw: RawCredentials, path: str) -> None:
    target = write_path(path, raw)
    read = read_path(target)
    own = [("qos", "1")] if "?" in path else []
    assert read.path == path.partition("?")[0]
    assert list(read.parameters) == own + list(query_parameters(raw))
    assert (read.authorizer, read.signature) == (raw.authorizer, raw.signature)


@given(raws())
@example(RawCredentials(parameters=(("a&b", "c&d=e"), ("f=", ""))))
def test_a_strangers_parser_reads_the_same_from_the_url(raw: RawCredentials) -> None:
    parts = urlsplit("https://host" + write_path("/mqtt", raw))
    assert (parts.path, parts.fragment) == ("/mqtt", "")
    assert parse_qsl(parts.query, keep_blank_values=True) == list(query_parameters(raw))


@given(raws())
def test_the_target_is_a_target_of_http_and_encoded_exactly_once(raw: RawCredentials) -> None:
    target = write_path("/mqtt", raw)
    assert re.fullmatch(r"/mqtt(\?(?:[A-Za-z0-9._~&=-]|%[0-9A-F]{2})+)?", target)


def test_credentials_without_parts_leave_the_path_as_it_is() -> None:
    assert write_path("/mqtt", RawCredentials(username="u", password=b"p")) == "/mqtt"
    assert read_path("/mqtt").query is None
    assert read_path("/mqtt?").query == ""


def test_the_query_begins_at_the_first_question_mark_of_a_url() -> None:
    read = read_path("/mqtt?a=1?2&b=3")
    assert (read.path, read.parameters) == ("/mqtt", (("a", "1?2"), ("b", "3")))


def test_a_plus_in_a_query_is_a_plus() -> None:
    assert read_path("/mqtt?s=a+b%2Bc").get("s") == "a+b+c"


def test_a_query_longer_than_can_be_sent_is_refused() -> None:
    assert write_path("/mqtt", RawCredentials(parameters=(("k", "x" * 64_998),)))
    with pytest.raises(ConfigurationError, match="query would have 65001 bytes"):
        write_path("/mqtt", RawCredentials(parameters=(("k", "x" * 64_999),)))


# -- headers ----------------------------------------------------------------------------------------------------------


def through_http(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """What a real parser of HTTP/1.1 makes of headers that were written as they stand."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=200_000)
    lines = [b"GET /mqtt HTTP/1.1", b"Host: h", *(f"{name}: {value}".encode("latin-1") for name, value in headers)]
    server.receive_data(b"\r\n".join([*lines, b"", b""]))
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert server.next_event() == h11.EndOfMessage()  # nothing was smuggled in behind it
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers][1:]


def headers_or_refusal(raw: RawCredentials) -> tuple[tuple[tuple[str, str], ...], ConfigurationError | None]:
    try:
        return write_headers(raw), None
    except ConfigurationError as refusal:
        return (), refusal


@given(raws(header_names, header_values))
@example(RawCredentials(token_key_name="k", token="a: b, c; d=%41 +/=", signature="+/+/=="))
def test_a_server_reads_from_headers_what_the_caller_passed(raw: RawCredentials) -> None:
    written, refusal = headers_or_refusal(raw)
    if refusal is not None:
        assert "the name of a header" in refusal.message
        return
    read = read_headers(through_http(written))
    assert list(read.parameters) == [(name.lower(), value) for name, value in query_parameters(raw)]
    assert (read.authorizer, read.signature) == (raw.authorizer, raw.signature)
    if raw.token_key_name is not None:
        assert read.get(raw.token_key_name) == read.get(raw.token_key_name.upper()) == raw.token


@given(raws())
def test_any_text_is_carried_by_headers_unchanged_or_refused_without_being_shown(raw: RawCredentials) -> None:
    written, refusal = headers_or_refusal(raw)
    if refusal is not None:
        told = str(refusal)
        assert refusal.code == "credentials_not_for_headers"
        assert 'credentials_in="query"' in told
        assert 'credentials_in="connect"' in told
        assert not [value for _, value in raw.parameters if len(value) >= 12 and value in told]
        return
    read = read_headers(through_http(written))
    assert list(read.parameters) == [(name.lower(), value) for name, value in query_parameters(raw)]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("a\r\nx: y", "control characters"),
        ("a\nb", "control characters"),
        ("a\tb", "control characters"),
        ("a\0b", "control characters"),
        ("a\x7fb", "control characters"),
        ("caf\u00e9", "not ASCII"),
        ("\u2028", "not ASCII"),
        (" a", "space"),
        ("a ", "space"),
        (" ", "space"),
        ("x" * 65_001, "65001 characters"),
    ],
)
def test_a_value_that_a_header_cannot_carry_is_refused_with_the_reason(value: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        write_headers(RawCredentials(token_key_name="key", token=value))
    assert (caught.value.code, caught.value.phase) == ("credentials_not_for_headers", "configuration")


@pytest.mark.parametrize("name", ["a b", "a:b", "a\r\nb", "\u00e9", "a(b", 'a"b', "a/b", "a@b", "a=b", "a,b"])
def test_a_name_that_is_no_header_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of a header"):
        write_headers(RawCredentials(parameters=((name, "x"),)))


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "host", "Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Expect", "TE"),
        *("Sec-WebSocket-Key", "sec-websocket-protocol", "x-amz-mqtt5-user-properties", "Proxy-Authorization"),
    ],
)
def test_a_name_that_http_or_the_service_reads_itself_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="reads itself"):
        write_headers(RawCredentials(token_key_name=name, token="x"))


def test_base64_stands_in_a_header_as_it_is() -> None:
    credentials = Credentials.from_signed_token("t/+=", "a+b/c==", token_key_name="K", authorizer="A=,@")
    assert write_headers(credentials.reveal()) == (
        ("x-amz-customauthorizer-name", "A=,@"),
        ("x-amz-customauthorizer-signature", "a+b/c=="),
        ("K", "t/+="),
    )


def test_a_header_that_came_twice_is_noticed_whatever_its_case() -> None:
    read = read_headers([("X-Amz-CustomAuthorizer-Name", "a"), ("x-amz-customauthorizer-name", " b\t"), ("k", "1")])
    assert read.repeated == ("x-amz-customauthorizer-name",)
    assert read.authorizer == "a"
    assert read.parameters[1][1] == "b"
    assert read.get("absent") is None


# -- what goes with them ----------------------------------------------------------------------------------------------


def test_connect_keeps_base_user_name_and_password_and_nothing_else() -> None:
    raw = RawCredentials(username="u", password=b"p", authorizer="a", token_key_name="k", token="t", signature="s")
    assert write_companion(raw) == ConnectFields("u", b"p")
    assert write_companion(RawCredentials(authorizer="a")) == ConnectFields(None, None)
    assert write_companion(RawCredentials(password=b"p")) == ConnectFields(None, b"p")


def test_https_takes_neither_user_name_nor_password() -> None:
    check_http(RawCredentials(authorizer="a", parameters=(("user", "u"),)))
    for raw in (RawCredentials(username="secret-user"), RawCredentials(password=b"")):
        with pytest.raises(ConfigurationError) as caught:
            check_http(raw)
        assert "secret-user" not in str(caught.value)


def test_each_place_gets_its_own_parts() -> None:
    raw = RawCredentials(token_key_name="k", token="a b")
    assert upgrade_parts(raw, "connect").path == "/mqtt"
    assert (upgrade_parts(raw, "query").path, upgrade_parts(raw, "query").headers) == ("/mqtt?k=a%20b", ())
    assert (upgrade_parts(raw, "headers").path, upgrade_parts(raw, "headers").headers) == ("/mqtt", (("k", "a b"),))


# -- hiding -----------------------------------------------------------------------------------------------------------


def test_what_is_shown_holds_names_and_sizes_only() -> None:
    raw = RawCredentials(authorizer="gate", token_key_name="k", token="secret-token", signature="secret+sig=")
    assert redact_headers(write_headers(raw)) == (
        ("x-amz-customauthorizer-name", "gate"),
        ("x-amz-customauthorizer-signature", "<11 characters>"),
        ("k", "<12 characters>"),
    )
    assert redact_path(write_path("/mqtt", raw)).startswith("/mqtt?x-amz-customauthorizer-name=gate&")
    for shown in (
        redact_path(write_path("/mqtt", raw)),
        repr(read_headers(write_headers(raw))),
        repr(read_path(write_path("/mqtt", raw))),
        repr(upgrade_parts(raw, "query")),
        repr(upgrade_parts(raw, "headers")),
    ):
        assert "secret" not in shown
