"""Fixtures of the conformance tests, and the marks by which a test says which statements of MQTT it shows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from iot_customauth_client.clock import ManualClock
from iot_customauth_client.local import LocalEndpoint

pytest.register_assert_rewrite("conformance_bench")
sys.path.insert(0, str(Path(__file__).parent.parent / "local"))  # the wire client and the driver of the broker
from conformance_bench import Bench, authorize  # noqa: E402 - it is in no package: the path above comes first


def pytest_configure(config: pytest.Config) -> None:
    for mark, document in (("mqtt5", "MQTT 5.0"), ("mqtt311", "MQTT 3.1.1")):
        config.addinivalue_line("markers", f"{mark}(*numbers): shows these statements of OASIS {document}, appendix B")
    config.addinivalue_line("markers", "aws(*slugs): shows a deviation of docs/conformance.md, by its name there")


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[LocalEndpoint, ManualClock]]:
    """One endpoint for the tests of a file, and its clock."""
    clock = ManualClock()
    with LocalEndpoint({"a": authorize}, default_authorizer="a", clock=clock) as endpoint:
        yield endpoint, clock


@pytest.fixture
def bench(served: tuple[LocalEndpoint, ManualClock]) -> Iterator[Bench]:
    """Clients of that endpoint, for one test."""
    bench = Bench(*served)
    yield bench
    bench.close()
