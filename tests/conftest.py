"""Fixtures of all tests: a local endpoint on a real socket, with the authorizer of the reference flow."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import depth
import pytest

from iot_customauth_client.local import LocalAuthorizer, LocalEndpoint

depth.load_profile()
pytest.register_assert_rewrite("aio_support", "behaviour_support", "client_support", "door_servers", "stub_servers")

AUTHORIZER_NAME = "custom_auth_mqtt_2021_08_21"
PASSWORD_AUTHORIZER = Path(__file__).parent.parent / "examples" / "authorizers" / "password.py"
AWS_HOSTNAME = "xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com"


@pytest.fixture
def authorizer_name() -> str:
    """The name that the reference flow asks for."""
    return AUTHORIZER_NAME


@pytest.fixture
def password_authorizer() -> LocalAuthorizer:
    """The authorizer of the reference flow, as a file."""
    return LocalAuthorizer(PASSWORD_AUTHORIZER, signing_disabled=True)


@pytest.fixture
def make_endpoint() -> Iterator[Callable[..., LocalEndpoint]]:
    """Start endpoints with the arguments of `LocalEndpoint`; they are stopped when the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **named: stack.enter_context(LocalEndpoint(*arguments, **named))


@pytest.fixture
def endpoint(password_authorizer: LocalAuthorizer) -> Iterator[LocalEndpoint]:
    """A running endpoint with the authorizer of the reference flow, for `localhost` and an AWS host name."""
    with LocalEndpoint({AUTHORIZER_NAME: password_authorizer}, hostnames=("localhost", AWS_HOSTNAME)) as endpoint:
        yield endpoint


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "kernel_may_forbid: may be skipped even with IOT_TESTS_REQUIRE_ALL: what it needs cannot be installed",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything a test may need is there (CI), a skipped test is a failed one."""
    report = yield
    forbidden = item.get_closest_marker("kernel_may_forbid") is not None
    if report.skipped and os.environ.get("IOT_TESTS_REQUIRE_ALL") and not forbidden:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but IOT_TESTS_REQUIRE_ALL is set: {report.longrepr}"
    return report
