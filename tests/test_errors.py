"""The tree of errors: what each one is, says, and keeps through pickle and copy."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest

import iot_customauth_client as package
from iot_customauth_client import (
    ConfigurationError,
    ConnectError,
    ConnectionClosed,
    ConnectTimeout,
    CustomAuthError,
    InvalidTopic,
    OperationError,
    OperationTimeout,
    PayloadTooLarge,
    errors,
)

NEEDED: dict[str, dict[str, Any]] = {
    "PolicyDenied": {"action": "iot:Publish", "topic": "a"},
    "OperationTimeout": {"stage": "sent"},
}
OPTIONAL: dict[str, dict[str, Any]] = {
    "CredentialsUnavailable": {"retry_after_seconds": 5.0},
    "ProxyRefused": {"status": 407},
    "TlsFailed": {"verdict": True},
    "AuthenticationRefused": {"reason_code": 135, "reason_string": "CONNACK:not authorized"},
}
COMMON: dict[str, Any] = {
    "code": "a_slug",
    "phase": "connect",
    "client_id": "device",
    "elapsed_seconds": 1.5,
    "likely_causes": ["the likeliest", "another"],
    "what_to_do": "look there",
}
TREE = {
    ConnectError: (
        "CredentialsUnavailable CredentialsRejected CredentialsExpired EndpointUnreachable ProxyRefused TlsFailed "
        "AuthenticationRefused ClosedBeforeConnack ClientIdTakenOver Throttled ConnectTimeout"
    ),
    OperationError: (
        "PolicyDenied OutboxFull MessageExpired NotConnected NotSupported PayloadTooLarge InvalidTopic OperationTimeout"
    ),
    CustomAuthError: "ConfigurationError ConnectError OperationError ConnectionClosed",
}
ALL = sorted({name for names in TREE.values() for name in names.split()} | {"CustomAuthError"})


def kind(name: str) -> type[CustomAuthError]:
    """Return the error class of this name."""
    found: type[CustomAuthError] = getattr(errors, name)
    assert issubclass(found, CustomAuthError)
    return found


def make(name: str, **common: Any) -> CustomAuthError:
    """Return an error of this name, with all that it can know."""
    return kind(name)("it failed", **NEEDED.get(name, {}), **OPTIONAL.get(name, {}), **common)


@pytest.mark.parametrize("parent", TREE, ids=lambda parent: parent.__name__)
def test_the_tree_is_that_of_the_contract(parent: type[CustomAuthError]) -> None:
    for name in TREE[parent].split():
        assert kind(name).__bases__[0] is parent


def test_no_error_is_missing_from_the_tree() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert defined == set(ALL)
    for name in ALL:
        assert getattr(package, name) is kind(name)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ConfigurationError, ValueError),
        (ConnectError, ConnectionError),
        (ConnectTimeout, TimeoutError),
        (ConnectTimeout, ConnectionError),
        (PayloadTooLarge, ValueError),
        (InvalidTopic, ValueError),
        (OperationTimeout, TimeoutError),
    ],
)
def test_errors_are_also_what_python_programs_expect(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, builtin)


@pytest.mark.parametrize("name", ALL)
def test_each_error_is_drawn_at_the_top_of_its_file(name: str) -> None:
    assert errors.__doc__ is not None
    assert re.search(rf"\b{name}\b", errors.__doc__)


def test_every_code_is_a_slug_of_its_own() -> None:
    codes = [kind(name).default_code for name in ALL]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("name", ALL)
def test_an_error_knows_what_it_was_told_and_its_code(name: str) -> None:
    error = make(name, **COMMON)
    assert (error.message, error.code, error.phase, error.client_id) == ("it failed", "a_slug", "connect", "device")
    assert (error.elapsed_seconds, error.what_to_do) == (1.5, "look there")
    assert error.likely_causes == ("the likeliest", "another")
    for attribute, value in (NEEDED.get(name, {}) | OPTIONAL.get(name, {})).items():
        assert getattr(error, attribute) == value
    assert make(name).code == kind(name).default_code


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_what_an_error_was_not_told_is_none_or_false(name: str) -> None:
    error = kind(name)("it failed")
    assert not any(getattr(error, attribute) for attribute in OPTIONAL[name])


@pytest.mark.parametrize("name", ALL)
def test_the_text_gives_the_causes_in_order_and_what_to_do(name: str) -> None:
    assert str(make(name)) == "it failed"
    assert str(make(name, **COMMON)) == (
        "it failed\n"
        "  likely causes, the likeliest first:\n"
        "    1. the likeliest\n"
        "    2. another\n"
        "  what to do: look there"
    )


@pytest.mark.parametrize("name", ALL)
def test_an_error_survives_pickle(name: str) -> None:
    error = make(name, **COMMON)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (str(again), again.args) == (str(error), error.args)


@pytest.mark.parametrize("name", ALL)
def test_a_copy_says_the_same_with_a_traceback_of_its_own(name: str) -> None:
    with pytest.raises(CustomAuthError) as caught:
        raise make(name, **COMMON) from OSError("native")
    error = caught.value
    twin = error.copy()
    assert twin is not error
    assert type(twin) is type(error)
    assert (str(twin), vars(twin), twin.__cause__) == (str(error), vars(error), error.__cause__)
    assert error.__traceback__ is not None
    assert twin.__traceback__ is None


def test_a_stage_is_needed_to_say_whether_it_may_still_arrive() -> None:
    with pytest.raises(TypeError):
        OperationTimeout("late")  # type: ignore[call-arg]


def test_a_closed_connection_carries_its_cause() -> None:
    with pytest.raises(ConnectionClosed) as caught:
        raise ConnectionClosed("over") from ConnectError("why")
    assert isinstance(caught.value.__cause__, ConnectError)
