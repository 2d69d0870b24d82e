"""Credentials: what each constructor takes, what it refuses and says instead, and that nothing ever shows a secret."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import pprint
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from credentials_support import all_credentials, all_shown_by
from hypothesis import given

import iot_customauth_client.credentials as credentials_module
from iot_customauth_client import ConfigurationError, Credentials
from iot_customauth_client.credentials import Parameters

SECRET = "QmarkerQ"
LONE_SURROGATE = f"{SECRET}\ud800"


class LaterWallClock(datetime):
    """A wall clock that was set ten years ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(days=3650)


def full(**changes: Any) -> Credentials:
    """Return credentials with every field filled in."""
    fields: dict[str, Any] = {
        "username": f"user{SECRET}",
        "password": f"password{SECRET}",
        "authorizer": "the_authorizer",
        "token_key_name": "tokenkey",
        "token": f"token{SECRET}",
        "signature": f"signature{SECRET}==",
        "parameters": {"tenant": f"value{SECRET}"},
        "expires_at": datetime(2031, 1, 1, tzinfo=UTC),
    }
    return Credentials(**(fields | changes))


# -- the constructors -------------------------------------------------------------------------------------------------


def test_a_password_may_be_text_or_bytes() -> None:
    assert Credentials.from_password("u", "p\u00e9") == Credentials.from_password("u", "p\u00e9".encode())
    assert Credentials.from_password("u", b"\xff").reveal().password == b"\xff"
    assert Credentials.from_password("u", "").reveal().password == b""


def test_from_password_sends_no_token() -> None:
    raw = Credentials.from_password("u", "p", authorizer="A", parameters={"t": "1"}).reveal()
    assert (raw.username, raw.password, raw.authorizer) == ("u", b"p", "A")
    assert (raw.token, raw.token_key_name, raw.signature) == (None, None, None)
    assert raw.parameters == (("t", "1"),)


def test_from_signed_token_takes_all_three_and_more() -> None:
    raw = Credentials.from_signed_token(
        "t", "c2ln", token_key_name="k", authorizer="A", username="u", password="p", parameters={"x": "y"}
    ).reveal()
    assert (raw.token_key_name, raw.token, raw.signature) == ("k", "t", "c2ln")
    assert (raw.username, raw.password, raw.authorizer, raw.parameters) == ("u", b"p", "A", (("x", "y"),))


def test_from_bearer_token_has_no_signature() -> None:
    raw = Credentials.from_bearer_token("t", token_key_name="k", username="u", password=b"p").reveal()
    assert (raw.username, raw.password, raw.token_key_name, raw.token) == ("u", b"p", "k", "t")
    assert raw.signature is None


def test_a_hand_made_user_name_is_taken_apart_and_decoded() -> None:
    credentials = Credentials.from_username(
        "bot?x-amz-customauthorizer-name=my%2Dauth&x-amz-customauthorizer-signature=a%2Bb/c%3D&tok=x%20y", b"p"
    )
    raw = credentials.reveal()
    assert (raw.username, raw.password, raw.authorizer) == ("bot", b"p", "my-auth")
    assert (raw.signature, raw.token_key_name, raw.token, raw.parameters) == ("a+b/c=", "tok", "x y", ())


def test_without_a_signature_what_is_not_named_stays_a_parameter() -> None:
    username = "?x-token=abc&tenant=7"
    assert Credentials.from_username(username).parameters == {"x-token": "abc", "tenant": "7"}
    named = Credentials.from_username(username, token_key_name="x-token").reveal()
    assert (named.token_key_name, named.token, named.parameters) == ("x-token", "abc", (("tenant", "7"),))


def test_a_plain_user_name_has_no_query() -> None:
    assert Credentials.from_username("user01", "p") == Credentials.from_password("user01", "p")


def test_a_user_name_with_a_signature_and_two_candidates_asks_which_is_the_token() -> None:
    username = f"?x-amz-customauthorizer-signature=c2ln&a={SECRET}&b={SECRET}"
    with pytest.raises(ConfigurationError, match="token_key_name=") as caught:
        Credentials.from_username(username)
    assert caught.value.what_to_do is not None
    assert caught.value.what_to_do.endswith("a, b")
    assert SECRET not in all_shown_by(caught.value)
    assert Credentials.from_username(username, token_key_name="b").parameters == {"a": SECRET}


def test_a_signature_without_any_token_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="which parameter is the token"):
        Credentials.from_username("u?x-amz-customauthorizer-signature=c2ln")


def test_a_token_key_name_that_is_not_in_the_user_name_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigurationError, match="no parameter 'tok'") as caught:
        Credentials.from_username("u?token=1&z=2", token_key_name="tok")
    assert "token, z" in str(caught.value)


def test_a_parameter_that_stands_twice_in_a_user_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="gives b more than once") as caught:
        Credentials.from_username(f"u?a=1&b={SECRET}&b={SECRET}")
    assert SECRET not in all_shown_by(caught.value)


def test_a_user_name_with_two_question_marks_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"username holds a '\?'"):
        Credentials.from_username("u?a=1?SDK=JavaV2&Version=1")


# -- what is refused, and what is said instead ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"token": "t"}, "token: it needs token_key_name="),
        ({"token_key_name": "k"}, "token_key_name: it needs token="),
        ({"signature": "c2ln"}, "signature: it needs token= and token_key_name="),
        ({"signature": "c2ln", "token_key_name": "k"}, "token_key_name: it needs token="),
        ({"signature": "c2ln", "token": "t"}, "token: it needs token_key_name="),
    ],
)
def test_half_of_token_key_name_and_signature_is_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Credentials(**fields)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("", "is empty"),
        ("a-b_", "base64url"),
        ("a_b", "base64url"),
        ("abcd\nefgh", "line breaks"),
        ("abcd\r\n", "line breaks"),
        ("abcd ", "spaces at its ends"),
        ("ab cd", r"probably a '\+'"),
        ("a%2Bb", "encoded already: pass the raw value"),
        ("a.b", "is not base64"),
        ("a=b", "is not base64"),
        ("ab===", "is not base64"),
        ("\u00e4bcd", "is not base64"),
        ("\uff21bcd", "is not base64"),
        ("A" * 2_561, "has 2561 characters, the service takes 2560"),
    ],
)
def test_a_signature_that_cannot_be_one_is_refused_by_its_mistake(signature: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        Credentials.from_signed_token("t", signature, token_key_name="k")
    assert str(caught.value).startswith("signature ")


def test_the_longest_signature_and_token_are_taken() -> None:
    Credentials.from_signed_token("t" * 6_144, "A" * 2_560, token_key_name="k" * 128)
    with pytest.raises(ConfigurationError, match="token has 6145 characters, the service takes 6144"):
        Credentials.from_bearer_token("t" * 6_145, token_key_name="k")


@pytest.mark.parametrize(
    ("authorizer", "message"),
    [
        ("", "is empty: leave it out"),
        ("my%2Dauth", "'%', so it is encoded already"),
        ("my auth?", r"among them ' \?'"),
        ("n\u00e4me", "among them '\u00e4'"),
        ("name\n", "is not a name"),
        ("a" * 129, "1 to 128 .* it has 129 characters"),
    ],
)
def test_what_is_no_authorizer_name_is_refused(authorizer: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Credentials.from_password("u", "p", authorizer=authorizer)


def test_all_characters_that_the_api_allows_in_an_authorizer_name_are_taken() -> None:
    assert Credentials.from_password("u", "p", authorizer="Az09_=,@-").authorizer == "Az09_=,@-"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is empty"),
        ("a%20b", "encoded already"),
        ("a=b", "is not a name"),
        ("k" * 129, "it has 129 characters"),
        ("x-amz-customauthorizer-name", "name of the service itself"),
        ("X-Amz-CustomAuthorizer-Signature", "name of the service itself"),
    ],
)
def test_what_is_no_token_key_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Credentials.from_bearer_token("t", token_key_name=name)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"": "x"}, "empty name"),
        ({"x-amz-customauthorizer-name": "x"}, "pass authorizer= and signature= instead"),
        ({"X-AMZ-CustomAuthorizer-Signature": "x"}, "pass authorizer= and signature= instead"),
        ({"Tenant": "1", "tenant": "2"}, "twice"),
        ({"TOKENKEY": "x"}, "is the token key name already"),
        ({"a": LONE_SURROGATE}, "surrogate"),
        ({"a\ud800": "x"}, "surrogate"),
        ({"a": 5}, "parameters.a: Input should be a valid string"),
    ],
)
def test_parameters_that_would_be_read_otherwise_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        full(parameters=parameters)


@pytest.mark.parametrize(
    ("username", "message"),
    [
        ("a?b", r"use|from_username\(\)"),
        ("a\0", r"U\+0000"),
        ("a\n", r"U\+000A"),
        ("a\x7f", r"U\+007F"),
        ("a\x9f", r"U\+009F"),
        ("a\ufffe", r"U\+FFFE"),
        ("a\U0001ffff", r"U\+1FFFF"),
        ("a\ufdd0", r"U\+FDD0"),
        ("a\ud800", "surrogate"),
    ],
)
def test_a_base_user_name_that_cannot_travel_is_refused(username: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Credentials.from_password(username, "p")


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "**********"},
        {"password": b"*"},
        {"token": "**********", "token_key_name": "k"},
        {"token": "t", "token_key_name": "k", "signature": "**********"},
    ],
)
def test_a_secret_of_nothing_but_asterisks_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="asterisks: it came through a redacted dump"):
        Credentials(**fields)


def test_a_json_dump_cannot_be_mistaken_for_credentials() -> None:
    with pytest.raises(ConfigurationError, match="asterisks"):
        Credentials(**json.loads(full().model_dump_json()))


def test_asterisks_among_other_characters_are_legal() -> None:
    assert Credentials.from_password("u", "*a*").reveal().password == b"*a*"


def test_an_empty_token_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="token is empty"):
        Credentials.from_bearer_token("", token_key_name="k")


def test_an_unknown_field_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigurationError, match="unknown credentials field 'pasword': did you mean 'password'"):
        Credentials(pasword=SECRET)


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Credentials(username="a?b", password=5, authorizer="a b")
    message = caught.value.message
    assert "username holds a '?'" in message
    assert "password: " in message
    assert "authorizer is not a name" in message
    assert caught.value.code == "credentials_invalid"
    assert caught.value.phase == "configuration"


# -- secrets are never shown ------------------------------------------------------------------------------------------

BAD: list[Callable[[], Credentials]] = [
    lambda: full(username=f"{SECRET}?"),
    lambda: full(username=f"{SECRET}\0"),
    lambda: full(username=LONE_SURROGATE),
    lambda: full(username=[SECRET]),
    lambda: full(password=LONE_SURROGATE),
    lambda: full(password=[SECRET]),
    lambda: full(authorizer=f"{SECRET} "),
    lambda: full(authorizer=f"%{SECRET}"),
    lambda: full(authorizer=[SECRET]),
    lambda: full(token_key_name=f"{SECRET} "),
    lambda: full(token=LONE_SURROGATE),
    lambda: full(token=SECRET * 1_000),
    lambda: full(token=[SECRET]),
    lambda: full(token_key_name=None),
    lambda: full(signature=f"{SECRET}-"),
    lambda: full(signature=f"{SECRET}%"),
    lambda: full(signature=f"{SECRET}\n"),
    lambda: full(signature=f"{SECRET} {SECRET}"),
    lambda: full(signature=f"{SECRET}."),
    lambda: full(signature=SECRET * 1_000),
    lambda: full(signature=LONE_SURROGATE),
    lambda: full(parameters={"x-amz-customauthorizer-name": SECRET}),
    lambda: full(parameters={"a": LONE_SURROGATE}),
    lambda: full(parameters={"a": [SECRET]}),
    lambda: full(parameters=[SECRET]),
    lambda: full(parameters={"tokenkey": SECRET}),
    lambda: full(expires_at=SECRET),
    lambda: full(expires_at=datetime(2031, 1, 1)),  # noqa: DTZ001 - naive on purpose
    lambda: full(surplus=SECRET),
    lambda: Credentials.from_password(f"{SECRET}?", SECRET),
    lambda: Credentials.from_password(SECRET, SECRET, authorizer=""),
    lambda: Credentials.from_password(SECRET, SECRET, expires_at=datetime.now(UTC), expires_in_seconds=1),
    lambda: Credentials.from_signed_token(SECRET, f"{SECRET}_", token_key_name="k", username=SECRET, password=SECRET),
    lambda: Credentials.from_bearer_token(LONE_SURROGATE, token_key_name="k", password=SECRET),
    lambda: Credentials.from_username(LONE_SURROGATE, SECRET),
    lambda: Credentials.from_username(f"{SECRET}?x?y", SECRET),
    lambda: Credentials.from_username(f"{SECRET}?{SECRET}&{SECRET}", SECRET),
    lambda: Credentials.from_username(f"?x-amz-customauthorizer-signature={SECRET}&{SECRET}&k={SECRET}"),
    lambda: Credentials.from_username(f"?x-amz-customauthorizer-signature=%2B{SECRET}%20&k={SECRET}"),
    lambda: Credentials.from_username(f"?k={SECRET}&{SECRET}==", token_key_name="other"),
    lambda: Credentials.from_username(f"?X-Amz-CustomAuthorizer-Name={SECRET}"),
]


@pytest.mark.parametrize("bad", BAD, ids=[f"bad{number}" for number in range(len(BAD))])
def test_no_error_shows_or_drags_along_a_secret(bad: Callable[[], Credentials]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        bad()
    assert SECRET not in all_shown_by(caught.value)
    assert caught.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception_only(caught.value))


def test_no_way_of_printing_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    credentials = full()
    rich_repr: Any = getattr(credentials, "__rich_repr__")  # noqa: B009 - pydantic types it for itself only
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").debug("%s %r", credentials, credentials)
    shown = [
        caplog.text,
        repr(credentials),
        str(credentials),
        f"{credentials}",
        pprint.pformat(credentials),
        pprint.pformat([credentials]),
        repr(credentials.parameters),
        repr(credentials.reveal()),
        credentials.model_dump_json(),
        repr(credentials.model_dump(mode="json")),
        repr(list(rich_repr())),
        repr(list(credentials.__repr_args__())),
    ]
    assert SECRET not in "\n".join(shown)


def test_the_repr_shows_what_helps_and_sizes() -> None:
    assert repr(full()) == (
        "Credentials(username=<12 characters>, password=<16 bytes>, authorizer='the_authorizer', "
        "token_key_name='tokenkey', token=<13 characters>, signature=<19 characters>, "
        "parameters={tenant: <13 characters>}, expires_at=2031-01-01T00:00:00+00:00)"
    )
    assert repr(Credentials()) == "Credentials()"


@given(all_credentials)
def test_the_json_dump_is_json_and_holds_asterisks_only(credentials: Credentials) -> None:
    dump = json.loads(credentials.model_dump_json())
    assert dump["username"] in ("", "**********")
    for name in ("password", "token", "signature"):
        assert dump[name] in (None, "", "**********")
    assert set(dump["parameters"].values()) <= {"**********"}


def test_a_python_dump_holds_the_secrets_and_makes_equal_credentials() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dump = full().model_dump(mode="python")
    assert type(dump["parameters"]) is dict
    assert Credentials(**dump) == full()


def test_pickle_and_copies_are_equal_and_keep_the_lifetime() -> None:
    credentials = Credentials.from_password("u", "p", parameters={"a": "b"}, expires_in_seconds=1_000)
    for other in (pickle.loads(pickle.dumps(credentials)), copy.copy(credentials), copy.deepcopy(credentials)):
        assert other == credentials
        assert not other.expired(time.monotonic() + 900)
        assert other.expired(time.monotonic() + 1_100)


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"username": "x"},
        {"password": "x"},
        {"authorizer": "x"},
        {"token_key_name": "x"},
        {"token": "x"},
        {"signature": "xxxx"},
        {"parameters": {"tenant": "x"}},
        {"parameters": {}},
        {"expires_at": None},
    ],
)
def test_credentials_are_equal_by_value_and_by_every_field(changes: dict[str, Any]) -> None:
    assert full() == full()
    assert hash(full()) == hash(full())
    assert full(**changes) != full()
    assert full() != "credentials"


def test_equality_does_not_depend_on_when_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    first = full()
    monkeypatch.setattr(credentials_module, "datetime", LaterWallClock)
    assert full() == first


def test_credentials_are_frozen() -> None:
    credentials = full()
    with pytest.raises(ConfigurationError, match="username cannot be changed") as caught:
        credentials.username = "the-other-one"
    assert "the-other-one" not in all_shown_by(caught.value)
    with pytest.raises(TypeError):
        credentials.parameters["tenant"] = "other"  # type: ignore[index]


def test_the_callers_mapping_is_copied() -> None:
    mine = {"a": "1"}
    credentials = Credentials.from_password("u", "p", parameters=mine)
    mine["a"] = "2"
    assert credentials.parameters == {"a": "1"}


def test_equal_parameters_have_one_hash_in_any_order() -> None:
    one, other = Parameters({"a": "1", "b": "2"}), Parameters({"b": "2", "a": "1"})
    assert one == other
    assert hash(one) == hash(other)


# -- the lifetime -----------------------------------------------------------------------------------------------------


def test_without_an_expiry_they_never_expire() -> None:
    assert not Credentials.from_password("u", "p").expired(float("inf"))


@pytest.mark.parametrize("how", ["at", "in"])
def test_the_lifetime_is_counted_on_the_monotonic_clock(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expiry: dict[str, Any] = (
        {"expires_at": datetime.now(UTC) + timedelta(seconds=1_000)} if how == "at" else {"expires_in_seconds": 1_000}
    )
    credentials = Credentials.from_password("u", "p", **expiry)
    monkeypatch.setattr(credentials_module, "datetime", LaterWallClock)  # NTP sets a device's clock after the boot
    assert not credentials.expired(time.monotonic() + 900)
    assert credentials.expired(time.monotonic() + 1_001)


def test_an_expiry_in_the_past_is_over_at_once() -> None:
    credentials = Credentials.from_password("u", "p", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert credentials.expired(time.monotonic())


def test_another_process_counts_the_lifetime_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = pickle.dumps(Credentials.from_password("u", "p", expires_in_seconds=1_000))
    monkeypatch.setattr(credentials_module, "datetime", LaterWallClock)
    assert pickle.loads(stored).expired(time.monotonic())


def test_an_expiry_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="aware datetime"):
        Credentials.from_password("u", "p", expires_at=datetime(2031, 1, 1))  # noqa: DTZ001 - naive on purpose


def test_two_expiries_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="not both"):
        Credentials.from_password("u", "p", expires_at=datetime.now(UTC), expires_in_seconds=5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Credentials.from_password("u", "p", expires_in_seconds=60),
        lambda: Credentials.from_signed_token("t", "c2ln", token_key_name="k", expires_in_seconds=60),
        lambda: Credentials.from_bearer_token("t", token_key_name="k", expires_in_seconds=60),
        lambda: Credentials.from_username("u", expires_in_seconds=60),
    ],
)
def test_every_constructor_takes_an_expiry(make: Callable[[], Credentials]) -> None:
    credentials = make()
    assert credentials.expires_at is not None
    assert credentials.expires_at.tzinfo is not None
    assert not credentials.expired(time.monotonic())
    assert credentials.expired(time.monotonic() + 61)


# -- files ------------------------------------------------------------------------------------------------------------


def write(directory: Path, text: str) -> Path:
    """Write a TOML file and return its path."""
    file = directory / "device.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_load_reads_the_table_of_a_toml_file(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "[connection]\nendpoint = 'h'\n[credentials]\nusername = 'u'\npassword = 'p'\nauthorizer = 'A'\n"
        "expires_at = 2031-01-01T00:00:00Z\n[credentials.parameters]\ntenant = '7'\n",
    )
    assert Credentials.load(str(file)) == Credentials.from_password(
        "u", "p", authorizer="A", parameters={"tenant": "7"}, expires_at=datetime(2031, 1, 1, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"pass01", b"pass01"),
        (b"pass01\n", b"pass01"),
        (b"pass01\r\n", b"pass01"),
        (b"pass01\n\n", b"pass01\n"),
        (b"pass01\r", b"pass01\r"),
        (b" pass01 ", b" pass01 "),
        (b"\xff\xfe\n", b"\xff\xfe"),
    ],
)
def test_one_trailing_newline_of_a_secret_file_is_dropped(tmp_path: Path, content: bytes, password: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    file = write(tmp_path, "[credentials]\nusername = 'u'\npassword_file = 'secret'\n")
    assert Credentials.load(file).reveal().password == password


def test_all_secrets_can_stand_in_files_relative_to_the_toml_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "etc" / "keys").mkdir(parents=True)
    for name, value in {"u": "user\u00e9", "t": "token", "s": "c2ln"}.items():
        (tmp_path / "etc" / "keys" / name).write_text(f"{value}\n", encoding="utf-8")
    elsewhere = tmp_path / "absolute"
    elsewhere.write_bytes(b"pass")
    file = write(
        tmp_path / "etc",
        "[credentials]\nusername_file = 'keys/u'\ntoken_file = 'keys/t'\ntoken_key_name = 'k'\n"
        f"signature_file = 'keys/s'\npassword_file = '{elsewhere}'\n",
    )
    monkeypatch.chdir("/")
    assert Credentials.load(file) == Credentials.from_signed_token(
        "token", "c2ln", token_key_name="k", username="user\u00e9", password="pass"
    )


def test_systemd_credentials_are_found_in_their_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "iot-password").write_bytes(b"pass01\n")
    file = write(tmp_path, "[credentials]\nusername = 'u'\npassword_file = '$CREDENTIALS_DIRECTORY/iot-password'\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(run))
    assert Credentials.load(file) == Credentials.from_password("u", "pass01")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    with pytest.raises(ConfigurationError, match="LoadCredential="):
        Credentials.load(file)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("password = 'QmarkerQ'\npassword_file = 'secret'", "password or password_file, not both"),
        ("password_file = 5", "password_file must be a path in quotes"),
        ("password_file = 'missing'", "cannot read password_file .*missing: No such file"),
        ("password_file = '.'", "cannot read password_file"),
        ("token_file = 'binary'\ntoken_key_name = 'k'", "token_file .* is not UTF-8"),
        ("pasword = 'QmarkerQ'", "did you mean 'password'"),
        ("password = 5", "password: Input should be a valid bytes"),
        ("authorizer_file = 'secret'", "unknown credentials field 'authorizer_file'"),
    ],
)
def test_load_refuses_what_cannot_be_read_and_shows_no_secret(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "binary").write_bytes(b"\xff" + SECRET.encode())
    with pytest.raises(ConfigurationError, match=message) as caught:
        Credentials.load(write(tmp_path, f"[credentials]\nusername = 'u'\n{table}\n"))
    assert SECRET not in all_shown_by(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"[credentials]\npassword = '{SECRET}".encode(), "is not TOML"),
        (f"[credentials]\npassword = {SECRET}".encode(), "is not TOML"),
        (f"[credentials]\npassword = '{SECRET}\xff'".encode("latin-1"), "is not UTF-8"),
        (f"[other]\npassword = '{SECRET}'".encode(), r"has no table \[credentials\]"),
        (f"credentials = '{SECRET}'".encode(), r"has no table \[credentials\]"),
    ],
)
def test_a_file_that_holds_no_credentials_is_refused_and_not_quoted(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "device.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        Credentials.load(file)
    assert SECRET not in all_shown_by(caught.value)
    assert caught.value.code == "file_invalid"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*device\.toml: No such file"):
        Credentials.load(tmp_path / "device.toml")
