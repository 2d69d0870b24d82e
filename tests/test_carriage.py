"""How credentials travel: what a server reads is what the caller passed, and nothing else."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote

import pytest
from credentials_support import Fields, all_credentials, any_text, credential_fields, expected_parameters
from hypothesis import example, given
from hypothesis import strategies as st

from iot_customauth_client import ConfigurationError, Credentials
from iot_customauth_client.carriage import (
    ConnectFields,
    RawCredentials,
    read_query,
    read_username,
    redact_query,
    redact_username,
    write_connect,
    write_query,
)

ENCODED_ONCE = re.compile(r"(?:[A-Za-z0-9._~&=-]|%[0-9A-F]{2})*")
NASTY = "a+b/c==&x-amz-customauthorizer-name=evil?q=1%41 #;\u00e9\n\0"


def carried(credentials: Credentials) -> str:
    """Return the user name that is sent; an absent one is empty."""
    return write_connect(credentials.reveal()).username or ""


# -- what is written --------------------------------------------------------------------------------------------------


@given(credential_fields())
@example({"token_key_name": "k", "token": NASTY, "signature": "+/+/==", "parameters": {NASTY: NASTY}})
@example({"username": "a&b=c%41+d;\u2028"})
def test_a_server_reads_what_the_caller_passed_in_the_documented_order(fields: Fields) -> None:
    sent = write_connect(Credentials(**fields).reveal())
    read = read_username(sent.username or "")
    assert read.base == fields.get("username", "")
    assert read.authorizer == fields.get("authorizer")
    assert read.signature == fields.get("signature")
    assert list(read.parameters) == expected_parameters(fields)
    assert read.repeated == ()
    assert sent.password == fields.get("password")


@given(credential_fields())
@example({"parameters": {"a&b": "c&d=e", "f=": ""}})
def test_a_strangers_query_parser_reads_the_same_so_no_value_can_smuggle_a_parameter_in(fields: Fields) -> None:
    query = read_username(carried(Credentials(**fields))).query
    expected = expected_parameters(fields)
    assert parse_qsl(query or "", keep_blank_values=True) == expected
    assert (query is None) == (not expected)


@given(all_credentials)
def test_the_query_is_ascii_and_encoded_exactly_once(credentials: Credentials) -> None:
    query = read_username(carried(credentials)).query or ""
    assert query.isascii()
    assert ENCODED_ONCE.fullmatch(query)


@given(all_credentials)
def test_the_base_user_name_goes_out_as_it_stands(credentials: Credentials) -> None:
    username = carried(credentials)
    assert username.partition("?")[0] == credentials.username
    assert username.count("?") <= 1


@given(credential_fields())
def test_a_finished_user_name_gives_the_same_credentials_back(fields: Fields) -> None:
    credentials = Credentials(**fields)
    again = Credentials.from_username(
        carried(credentials), fields.get("password"), token_key_name=fields.get("token_key_name")
    )
    assert again == credentials
    assert hash(again) == hash(credentials)
    assert again.reveal() == credentials.reveal()


@given(st.lists(st.tuples(any_text.filter(bool), any_text), max_size=5))
def test_reading_undoes_writing_for_any_names_and_values(parameters: list[tuple[str, str]]) -> None:
    assert list(read_query(write_query(tuple(parameters)))) == parameters


def test_the_reference_user_name_is_written_byte_for_byte() -> None:
    credentials = Credentials.from_password("user01", "pass01", authorizer="custom_auth_mqtt_2021_08_21")
    fields = write_connect(credentials.reveal())
    assert fields.username == "user01?x-amz-customauthorizer-name=custom_auth_mqtt_2021_08_21"
    assert fields.password == b"pass01"


def test_all_parts_stand_in_the_documented_order() -> None:
    credentials = Credentials.from_signed_token(
        "t/k", "a+b=", token_key_name="key", authorizer="A=,@", username="base", parameters={"z": "1 2", "a": ""}
    )
    assert carried(credentials) == (
        "base?x-amz-customauthorizer-name=A%3D%2C%40&x-amz-customauthorizer-signature=a%2Bb%3D&key=t%2Fk&z=1%202&a="
    )


def test_a_plus_in_the_signature_reaches_the_server() -> None:
    credentials = Credentials.from_signed_token("t", "a+b/c==", token_key_name="k")
    assert "%2B" in carried(credentials)
    assert read_username(carried(credentials)).signature == "a+b/c=="


def test_a_percent_41_in_a_token_stays_what_it_is() -> None:
    credentials = Credentials.from_bearer_token("%41", token_key_name="k")
    assert carried(credentials) == "?k=%2541"
    assert read_username(carried(credentials)).get("k") == "%41"


def test_nothing_is_sent_that_was_not_given() -> None:
    assert write_connect(Credentials().reveal()) == ConnectFields(None, None)
    assert write_connect(Credentials(username="u").reveal()) == ConnectFields("u", None)


def test_an_empty_user_name_is_not_sent() -> None:
    assert write_connect(Credentials(password=b"p").reveal()) == ConnectFields(None, b"p")


def test_a_binary_password_travels_unchanged_and_text_as_utf8() -> None:
    assert write_connect(Credentials.from_password("u", b"\xff\x00?").reveal()).password == b"\xff\x00?"
    assert write_connect(Credentials.from_password("u", "p\u00e4ss").reveal()).password == "p\u00e4ss".encode()


@pytest.mark.parametrize("letter", ["u", "\u20ac", "\U0001f600"])
def test_the_longest_user_name_is_measured_in_bytes_as_sent(letter: str) -> None:
    size = len(letter.encode())
    fitting = letter * (65_000 // size)
    assert write_connect(RawCredentials(username=fitting)).username == fitting
    with pytest.raises(ConfigurationError, match=r"user name would have \d+ bytes, at most 65000") as caught:
        write_connect(RawCredentials(username=fitting + "x" * (65_001 - len(fitting.encode()))))
    assert caught.value.code == "credentials_too_long"
    assert caught.value.phase == "configuration"


def test_the_size_of_the_query_counts_after_encoding() -> None:
    assert write_connect(RawCredentials(token_key_name="k", token="x" * 64_997)).username is not None
    with pytest.raises(ConfigurationError, match="shorter token"):
        write_connect(RawCredentials(token_key_name="k", token="/" * 21_667))


def test_the_longest_password_has_65535_bytes() -> None:
    assert write_connect(RawCredentials(password=bytes(65_535))).password == bytes(65_535)
    with pytest.raises(ConfigurationError, match="password would have 65536 bytes"):
        write_connect(RawCredentials(password=bytes(65_536)))


# -- what is read -----------------------------------------------------------------------------------------------------


def test_the_query_begins_at_the_last_question_mark() -> None:
    read = read_username("a?b?x=1")
    assert (read.base, read.query, read.parameters) == ("a?b", "x=1", (("x", "1"),))


def test_a_user_name_without_a_question_mark_has_no_query() -> None:
    read = read_username("user01")
    assert (read.base, read.query, read.parameters) == ("user01", None, ())
    assert (read.authorizer, read.signature) == (None, None)


def test_an_empty_query_is_not_the_same_as_none() -> None:
    assert read_username("user01?").query == ""


def test_a_plus_stays_a_plus_and_a_raw_slash_is_read_as_it_is() -> None:
    # AWS's Python SDK leaves `/` as it is, and hand-made user names leave `+`.
    assert read_query("s=a+b/c%3D") == (("s", "a+b/c="),)


def test_parts_without_equals_sign_are_empty_and_empty_parts_are_left_out() -> None:
    assert read_query("a&&b==c&=d&") == (("a", ""), ("b", "=c"), ("", "d"))


def test_what_is_not_utf8_becomes_the_replacement_character() -> None:
    assert read_query("a=%FF&%C3%A9=%") == (("a", "\ufffd"), ("\u00e9", "%"))


def test_repeated_names_are_told_and_the_first_one_counts() -> None:
    read = read_username("u?a=1&b=2&a=3&%61=4")
    assert read.repeated == ("a",)
    assert read.get("a") == "1"


@given(any_text)
def test_any_text_can_be_read(text: str) -> None:
    read = read_username(text)
    assert read.base + ("" if read.query is None else f"?{read.query}") == text


# -- what is hidden ---------------------------------------------------------------------------------------------------

secrets = any_text.map(lambda text: f"\u00a7{text}")  # every secret begins with a sign that nothing shown has
hidden_credentials = st.builds(
    Credentials,
    username=secrets.filter(lambda t: not re.search(r"[?\x00-\x1f\x7f-\x9f]", t) and t.isprintable()),
    password=secrets.map(str.encode),
    authorizer=st.none() | st.just("the_authorizer"),
    token_key_name=st.text("abc-_", min_size=1, max_size=128),
    token=secrets,
    signature=st.none() | st.text("ABC+/", max_size=40).map(lambda text: f"QQQQ{text}"),
    parameters=st.dictionaries(st.text("xyz", min_size=1, max_size=40) | secrets.map(str.lower), secrets, max_size=3),
)


@given(hidden_credentials)
def test_no_secret_value_is_in_a_redacted_user_name_or_any_repr(credentials: Credentials) -> None:
    raw = credentials.reveal()
    sent = write_connect(raw)
    assert sent.username is not None
    shown = "\n".join(
        [redact_username(sent.username), repr(sent), repr(raw), repr(read_username(sent.username)), repr(credentials)]
    )
    for secret in ("\u00a7", quote("\u00a7"), "\\xa7", "QQQQ"):
        assert secret not in shown


@given(st.lists(st.tuples(st.booleans(), secrets.map(lambda text: quote(text, safe="")))), st.booleans())
def test_a_token_pasted_after_the_question_mark_is_not_shown(parts: list[tuple[bool, str]], base: bool) -> None:
    query = "&".join(f"name={text}" if named else text for named, text in parts)
    shown = redact_username(f"{'%C2%A7' if base else ''}?{query}")
    assert "C2%A7" not in shown


def test_a_redacted_user_name_keeps_what_helps_to_find_a_mistake() -> None:
    username = "bot?x-amz-customauthorizer-name=A&x-amz-customauthorizer-signature=SIG%2B&token=TOKEN&SDK=IoT&Version=1"
    assert redact_username(username) == (
        "<3 characters>?x-amz-customauthorizer-name=A&x-amz-customauthorizer-signature=<6 characters>"
        "&token=<5 characters>&SDK=<3 characters>&Version=<1 characters>"
    )


@pytest.mark.parametrize(
    "query", ["c2VjcmV0c2VjcmV0==", "c2VjcmV0", "eyJhbGciOi.c2VjcmV0=x", "c2VjcmV0" * 5 + "=x", "c2VjcmV0+=x"]
)
def test_what_does_not_look_like_a_name_with_a_value_is_not_shown(query: str) -> None:
    assert "c2VjcmV0" not in redact_query(query)


def test_a_user_name_without_a_query_shows_its_length_only() -> None:
    assert redact_username("hunter2") == "<7 characters>"


def test_reprs_show_sizes() -> None:
    assert repr(ConnectFields("user", b"abc")) == "ConnectFields(username='<4 characters>', password=<3 bytes>)"
    assert repr(ConnectFields(None, None)) == "ConnectFields(username=None, password=None)"
    assert repr(RawCredentials(username="user")) == "RawCredentials(<hidden>)"
    assert repr(read_username("user?a=1")) == "ReadUsername(base=<4 characters>, parameters=1)"
