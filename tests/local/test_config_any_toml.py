"""Whatever stands in the endpoint's TOML file, it leads to settings that an endpoint takes, or to one sentence.

Nothing is started: the loader, and the checks of `LocalEndpoint`'s arguments.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import fields
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local import LocalEndpoint
from iot_customauth_client.local.choices import CHOICE_NAMES, Choices
from iot_customauth_client.local.config import (
    AuthorizerTable,
    DomainTable,
    EndpointTable,
    Flags,
    LocalConfig,
    configure,
)

OF_THE_COMMAND = ("ready_file", "log_format")
"""What `LocalConfig` holds for the command itself, not for the endpoint."""

Document = dict[str, Any]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("any_toml")
    (directory / "authorizer.py").write_text("")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (directory / "key.pem").write_bytes(key.public_bytes(*form))
    return directory


def whole() -> Document:
    """Every table, with every key that can stand beside the others."""
    return {
        "endpoint": {
            "host": "127.0.0.1",
            "port": 0,
            "hostnames": ["localhost", "*.iot.example"],
            "cert_dir": "certificates",
            "default_authorizer": "by_file",
            "region": "eu-central-1",
            "account": "123456789012",
            "ready_file": "ready.json",
            "refused_subscribe_311": "suback",
            "quotas": "aws",
            "session_expiry_seconds": 60,
            "max_connections_per_address": 100,
            "max_half_open_per_address": 10,
            "log_format": "json",
            "show_secrets": True,
        },
        "authorizers": {
            "by_file": {
                "function": "authorizer.py:handler",
                "signing_disabled": False,
                "token_key_name": "token",
                "public_keys": ["key.pem"],
                "status": "INACTIVE",
                "enable_caching_for_http": True,
            },
            "by_command": {"command": ["cat"], "signing_disabled": True},
        },
        "domains": {
            "devices": {
                "domain_name": "mqtt.example",
                "default_authorizer": "by_file",
                "allow_authorizer_override": False,
                "authentication_type": "CUSTOM_AUTH",
                "application_protocol": "SECURE_MQTT",
                "status": "DISABLED",
            },
        },
        "choices": {name: getattr(Choices(), name) for name in CHOICE_NAMES},
    }


TABLES: list[tuple[str, ...]] = [
    ("endpoint",),
    ("authorizers", "by_file"),
    ("authorizers", "by_command"),
    ("domains", "devices"),
    ("choices",),
]
PLACES = [
    (*table, key)
    for table, model in zip(
        TABLES,
        (
            list(EndpointTable.model_fields),
            list(AuthorizerTable.model_fields),
            ["command", "signing_disabled"],
            list(DomainTable.model_fields),
            list(CHOICE_NAMES),
        ),
        strict=True,
    )
    for key in model
]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TELLING_TEXTS = [
    *("", ".", "..", "/", "\0", "a\nb", "\x1b[2J", "{", "{expected}", "é", "x" * 300, "x" * 300 + ".py"),
    *("authorizer.py", "authorizer.py:", "authorizer.py/x.py", "key.pem", "no\0where.py", ":.py", "a" * 70),
    *("http://", "http://h:x/", "http://u:p@h/", "http://[/", "HTTPS://h/2015-03-31/functions/f/invocations"),
    *("http://127.0.0.1:99999/2015-03-31/functions/f/invocations", "localhost", "*.example", "*", "a..b", "::1"),
    *("by_file", "by_command", "CUSTOM_AUTH_X509", "AWS_SIGV4", "HTTPS", "ACTIVE", "off", "hang_up", "135"),
    *("x-amz-customauthorizer-name", "IoT:Data", "123456789012", "us-east-1"),
]
telling_texts = st.sampled_from(TELLING_TEXTS)
scalars = st.one_of(
    texts,
    telling_texts,
    st.booleans(),
    st.integers(-1, 65_536),
    st.sampled_from([10**30, -(10**30), 30, 300, 1_800, 134, 135, 149_504, 604_800]),
    st.sampled_from([0.0, 1e3, math.inf, math.nan, datetime(2026, 1, 1), date(2026, 1, 1), time(1)]),  # noqa: DTZ001
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | telling_texts, inner, max_size=3),
    max_leaves=6,
)


def toml_of(value: object) -> str:
    """Write a value as TOML has it on one line."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            escaped = "".join(
                each if each.isalnum() else f"\\U{ord(each):08x}" if ord(each) > 0xFFFF else f"\\u{ord(each):04x}"
                for each in value
            )
            return f'"{escaped}"'
        case list():
            return f"[{', '.join(map(toml_of, value))}]"
        case dict():
            return f"{{{', '.join(f'{toml_of(key)} = {toml_of(each)}' for key, each in value.items())}}}"
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return str(value)


def toml_document(document: Mapping[str, Any]) -> str:
    return "".join(f"{toml_of(key)} = {toml_of(value)}\n" for key, value in document.items())


def outcome(directory: Path, text: str | bytes) -> LocalConfig | str:
    """Load the file and make an endpoint of it, not started; give the settings, or the sentence of the refusal."""
    file = directory / "local.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    try:
        config = configure(file, Flags())
    except ConfigurationError as error:  # and no other
        told = error.message
    else:
        given = {each.name: getattr(config, each.name) for each in fields(config) if each.name not in OF_THE_COMMAND}
        LocalEndpoint(**given)
        return config
    assert not any(unicodedata.category(each) == "Cc" for each in told), "fit for one line of a terminal"
    assert str(file) in told
    return told.replace(str(file), "FILE")


def plain(name: str) -> str:
    """A key as it is recognised in a sentence: `public_keys` in "public key", `hostnames` in "host name"."""
    return name.replace("_", "").replace(" ", "").lower().removesuffix("s")


def test_a_document_with_every_key_is_served(directory: Path) -> None:
    assert {key for *_, key in PLACES} == {
        key for model in (EndpointTable, AuthorizerTable, DomainTable) for key in model.model_fields
    } | set(CHOICE_NAMES)
    config = outcome(directory, toml_document(whole()))
    assert isinstance(config, LocalConfig), config
    assert list(config.authorizers) == ["by_file", "by_command"]


def tell_of(directory: Path, place: tuple[str, ...], value: object) -> None:
    """Put the value there, and see that a refusal says where it stands."""
    document = whole()
    *tables, key = place
    table = document
    for name in tables:
        table = table[name]
    table[key] = value
    told = outcome(directory, toml_document(document))
    if isinstance(told, str):
        assert told.startswith((f"FILE, [{'.'.join(tables)}]: ", f"FILE, [{tables[0]}]: ")), told
        assert plain(key) in plain(told), told


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_a_wrong_text_is_told_with_its_file_table_and_key(directory: Path, place: tuple[str, ...]) -> None:
    is_list = place[-1] in ("hostnames", "public_keys", "command")
    for value in TELLING_TEXTS:
        tell_of(directory, place, [value] if is_list else value)


@given(place=st.sampled_from(PLACES), value=values)
def test_any_wrong_value_is_told_with_its_file_table_and_key(
    directory: Path, place: tuple[str, ...], value: object
) -> None:
    tell_of(directory, place, value)


@given(
    tables=st.dictionaries(st.sampled_from(["endpoint", "authorizers", "domains", "choices"]), values), more=st.data()
)
def test_any_tables_lead_to_an_endpoint_or_to_one_sentence(
    directory: Path, tables: dict[str, object], more: st.DataObject
) -> None:
    named = st.dictionaries(
        texts | telling_texts,
        st.one_of(
            values,
            st.dictionaries(st.sampled_from([*AuthorizerTable.model_fields, *DomainTable.model_fields]), values),
        ),
        max_size=3,
    )
    for name in ("authorizers", "domains"):
        if name in tables and more.draw(st.booleans()):
            tables[name] = more.draw(named)
    told = outcome(directory, toml_document(tables))
    assert not isinstance(told, str) or told.startswith("FILE, ")


@given(text=st.one_of(st.binary(max_size=60), st.text("[]{}=.'\"#\\ \nae_01-:T", max_size=60)))
def test_any_file_leads_to_an_endpoint_or_to_one_sentence(directory: Path, text: str | bytes) -> None:
    outcome(directory, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = " + "[" * 5_000, "too deep"),
        ("x = " + "9" * 5_000, "thousands of digits"),
        ("endpoint = " + "{a=" * 2_000 + "1" + "}" * 2_000, "too deep"),
    ],
    ids=["lists", "digits", "tables"],
)
def test_a_file_that_pythons_reader_gives_up_on_is_told_as_any_other(directory: Path, text: str, words: str) -> None:
    told = outcome(directory, text)
    assert isinstance(told, str)
    assert told.startswith("FILE ")
    assert words in told
