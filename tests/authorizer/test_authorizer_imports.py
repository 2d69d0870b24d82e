"""The package is small enough for a Lambda: what it loads, and that its lazy names are complete."""

import subprocess
import sys
from pathlib import Path

import pytest

import iot_customauth_client.authorizer as package

FORBIDDEN = ("awscrt", "awsiot", "ssl", "asyncio", "pydantic", "socket")


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has after running the code."""
    program = f"{code}\nimport sys; print(*sys.modules)"
    root = Path(package.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import iot_customauth_client.authorizer",
        "from iot_customauth_client.authorizer import *",
        "import iot_customauth_client.authorizer as a; [getattr(a, name) for name in a.__all__]",
    ],
)
def test_neither_the_package_nor_any_of_its_names_loads_a_client_or_tls(code: str) -> None:
    assert loaded_by(code).isdisjoint(FORBIDDEN)


def test_reading_a_request_does_not_load_the_evaluation() -> None:
    loaded = loaded_by("from iot_customauth_client.authorizer import Request, allow, deny")
    assert "iot_customauth_client.authorizer.event" in loaded
    assert "iot_customauth_client.authorizer.policy" not in loaded


def test_every_public_name_can_be_reached() -> None:
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
        assert name in dir(package)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing
