"""The package's front: its names, loaded when they are used, and the types that a user sees."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import iot_customauth_client as package

ROOT = Path(__file__).parent.parent

# Parts 1 and 2 of the contract: what a script imports.
CONTRACT = [
    "connect",
    "Connection",
    "Subscription",
    "Message",
    "PublishFuture",
    "PublishResult",
    "CloseReport",
    "MemoryOutbox",
    "SqliteOutbox",
    "OutboxStats",
    "SharedCredentials",
    "ServiceHandle",
    "Stats",
    "close_on_signal",
    "close_all",
    "State",
    "StateChange",
    "Credentials",
    "ConnectionSettings",
    "Will",
    "ConnectionBuilder",
    "ConnectPlan",
    "PublishPlan",
    "HttpsPublisher",
    "HttpsResult",
    "KeyPair",
    "generate_key_pair",
    "sign_token",
    "verify_token",
    "Clock",
    "ManualClock",
    "CustomAuthError",
    "ConfigurationError",
    "ConnectError",
    "CredentialsUnavailable",
    "CredentialsRejected",
    "CredentialsExpired",
    "EndpointUnreachable",
    "ProxyRefused",
    "TlsFailed",
    "AuthenticationRefused",
    "ClosedBeforeConnack",
    "ClientIdTakenOver",
    "Throttled",
    "ConnectTimeout",
    "OperationError",
    "PolicyDenied",
    "OutboxFull",
    "MessageExpired",
    "NotConnected",
    "NotSupported",
    "PayloadTooLarge",
    "InvalidTopic",
    "OperationTimeout",
    "ConnectionClosed",
]


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has after running the code."""
    program = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_of_the_contract_resolves(name: str) -> None:
    value = getattr(package, name)
    assert value.__name__ == name
    assert value.__module__.startswith("iot_customauth_client.")
    assert inspect.getdoc(value)
    assert name in package.__all__
    assert name in dir(package)


def test_there_are_no_other_public_names() -> None:
    assert sorted(package.__all__) == sorted(CONTRACT)


def test_all_is_what_type_checkers_see() -> None:
    source = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (guarded,) = (
        node
        for node in source.body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    )
    seen: list[tuple[str | None, str]] = []
    for node in guarded.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name  # "as" makes it public for strict type checkers
            seen.append((node.module, alias.name))
    assert sorted(name for _, name in seen) == package.__all__
    for module, name in seen:
        home = importlib.import_module(f"iot_customauth_client.{module}")
        assert getattr(home, name) is getattr(package, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Conection'"):
        _ = package.Conection
    with pytest.raises(ImportError):
        exec("from iot_customauth_client import Conection")


def test_a_star_import_gives_all_names() -> None:
    names: dict[str, object] = {}
    exec("from iot_customauth_client import *", names)
    assert set(package.__all__) <= set(names)


def test_the_version_is_that_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert package.__version__ == project["version"]
    assert "__version__" in dir(package)


def test_importing_the_authorizer_loads_nothing_of_the_client() -> None:
    loaded = loaded_by("import iot_customauth_client.authorizer")
    assert loaded.isdisjoint({"awscrt", "_awscrt", "awsiot", "ssl", "_ssl", "pydantic", "pydantic_core", "asyncio"})
    assert "iot_customauth_client.errors" not in loaded


def test_importing_the_package_loads_nothing_until_a_name_is_used() -> None:
    loaded = loaded_by("import iot_customauth_client")
    assert {name for name in loaded if name.startswith("iot_customauth_client.")} == set()
    assert loaded.isdisjoint({"awscrt", "pydantic"})


@pytest.mark.parametrize(
    ("names", "unwanted"),
    [
        ("Credentials, ConnectionSettings", {"awscrt", "pydantic_settings", "ssl", "asyncio"}),
        ("connect", {"pydantic_settings", "ssl", "http.client", "tomllib", "cryptography"}),
        ("ConfigurationError, InvalidTopic", {"awscrt", "pydantic", "ssl"}),
    ],
)
def test_a_name_loads_only_what_it_needs(names: str, unwanted: set[str]) -> None:
    assert loaded_by(f"from iot_customauth_client import {names}").isdisjoint(unwanted)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(package.__file__).parent / "py.typed").is_file()


@pytest.mark.timeout(300)
def test_a_type_checker_sees_the_types_that_users_rely_on() -> None:
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*mypy, str(ROOT / "tests" / "typing" / "api.py")], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
