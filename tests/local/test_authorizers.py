"""Describing an authorizer, finding its function in a file, and reading the file again when it changes."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local import LocalAuthorizer, authorizer_files
from iot_customauth_client.local.authorizer_files import FileFunction, FunctionUnavailable
from iot_customauth_client.local.authorizer_targets import split_function
from iot_customauth_client.local.authorizers import as_authorizers


def function(event: object, context: object) -> dict[str, object]:
    return {"isAuthenticated": False}


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


GOOD_KEY = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))

UNREADABLE_CURVE = """-----BEGIN PUBLIC KEY-----
MEIwFAYHKoZIzj0CAQYJKyQDAwIIAQEBAyoABAYH23/36Eiyjf17S97+NcwXfxwF
oSbmVbhA9XGaR0hMApSEHWIZQ9E=
-----END PUBLIC KEY-----
"""
"""brainpoolP160r1, which the cryptography package has no name for."""

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("signing without keys", {"token_key_name": "t"}, "signing_disabled to true"),
    ("signing without a key name", {"public_keys": (GOOD_KEY,)}, "token_key_name"),
    ("a key name with a dot", {"token_key_name": "a.b", "signing_disabled": True}, "a.b"),
    (
        "a reserved key name",
        {"token_key_name": "x-amz-customauthorizer-name", "signing_disabled": True},
        "reserved",
    ),
    ("an unknown status", {"status": "ACTIV", "signing_disabled": True}, "ACTIVE"),
    ("no PEM", {"token_key_name": "t", "public_keys": ("-----BEGIN nothing",)}, "PEM"),
    ("no file", {"token_key_name": "t", "public_keys": ("/nowhere/key.pem",)}, "/nowhere/key.pem"),
    (
        "a short key",
        {
            "token_key_name": "t",
            "public_keys": (pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),),
        },
        "1024 bits",
    ),
    (
        "an elliptic key",
        {"token_key_name": "t", "public_keys": (pem(ec.generate_private_key(ec.SECP256R1())),)},
        "not an RSA key",
    ),
    (
        "a key on a curve that nobody reads",
        {"token_key_name": "t", "public_keys": (UNREADABLE_CURVE,)},
        "not an RSA key",
    ),
]


@pytest.mark.parametrize(("fields", "named"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_what_could_never_work_is_refused_at_once(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named.replace("[", r"\[")):
        LocalAuthorizer(function, **fields)


def test_a_key_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text(GOOD_KEY)
    authorizer = LocalAuthorizer(function, token_key_name="t", public_keys=(file, GOOD_KEY.encode()))
    assert len(authorizer.loaded_keys) == 2


def test_a_bare_callable_means_that_signing_is_disabled() -> None:
    assert as_authorizers({"a": function}, default=None)["a"].signing_disabled


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "a" * 129, "a\n"])
def test_a_name_that_the_service_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="authorizer name"):
        as_authorizers({name: function}, default=None)


@pytest.mark.parametrize("name", ["a", "A_b=c,d@e-9", "a" * 128])
def test_a_name_that_the_service_takes_is_taken(name: str) -> None:
    assert name in as_authorizers({name: function}, default=name)


def test_a_default_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'custom_auth'"):
        as_authorizers({"custom_auth": function}, default="custom_aut")


def test_a_file_and_a_function_are_told_apart() -> None:
    assert split_function("a/b.py") == (Path("a/b.py"), "lambda_handler")
    assert split_function("a:b/c.py:handler") == (Path("a:b/c.py"), "handler")
    for wrong in ("a.js", "a.py:", "a.py:1x", "http://host/invocations", ""):
        with pytest.raises(ConfigurationError, match=r"FILE\.py"):
            split_function(wrong)


# -- files ---------------------------------------------------------------------------------------------------------


def write(file: Path, text: str) -> None:
    """Write a file so that its time of change differs, however coarse the file system's clock is."""
    before = file.stat().st_mtime_ns if file.exists() else 0
    file.write_text(text)
    if before:
        os.utime(file, ns=(before + 1_000_000_000, before + 1_000_000_000))


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "authorizer.py"
    write(file, "def lambda_handler(event, context): return 1")
    source = FileFunction(file, "lambda_handler")
    first = source.get(timeout=5)
    assert source.get(timeout=5) is first
    write(file, "def lambda_handler(event, context): return 2")  # same size
    assert (first({}, None), source.get(timeout=5)({}, None)) == (1, 2)


def test_a_change_of_a_module_beside_the_file_is_seen_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(authorizer_files, "_WROTE_NO_BYTECODE", False)
    write(tmp_path / "beside_the_authorizer.py", "VALUE = 1")
    write(tmp_path / "authorizer.py", "import beside_the_authorizer as m\ndef handler(event, context): return m.VALUE")
    path = list(sys.path)
    source = FileFunction(tmp_path / "authorizer.py", "handler")
    assert source.get(timeout=5)({}, None) == 1
    write(tmp_path / "beside_the_authorizer.py", "VALUE = 2")
    assert source.get(timeout=5)({}, None) == 2
    source.close()
    assert sys.path == path
    assert "beside_the_authorizer" not in sys.modules
    assert not (tmp_path / "__pycache__").exists()
    assert not sys.dont_write_bytecode


def test_a_broken_file_says_why_and_is_tried_again_after_a_change(tmp_path: Path) -> None:
    file = tmp_path / "authorizer.py"
    source = FileFunction(file, "lambda_handler")
    with pytest.raises(FunctionUnavailable, match="cannot be read"):
        source.get(timeout=5)
    for text, named in (
        ("def lambda_handler(event, context: pass", "SyntaxError"),
        ("import no_such_module", "no_such_module"),
        ("raise SystemExit('no')", "SystemExit: no"),
        ("def handler(event, context): pass", "no function `lambda_handler`"),
        ("lambda_handler = 3", "no function `lambda_handler`"),
    ):
        write(file, text)
        for _ in range(2):
            with pytest.raises(FunctionUnavailable, match=named):
                source.get(timeout=5)
    write(file, "def lambda_handler(event, context): return 'well'")
    assert source.get(timeout=5)({}, None) == "well"


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    sources = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "authorizer.py", f"def lambda_handler(event, context): return {name!r}")
        sources.append(FileFunction(tmp_path / name / "authorizer.py", "lambda_handler"))
    assert [source.get(timeout=5)({}, None) for source in sources] == ["a", "b"]


def test_a_file_that_hangs_while_it_is_loaded_holds_up_nobody_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "authorizer.py"
    write(file, "import _gate_of_this_test as g\ng.started.set()\ng.end.wait(20)\ndef lambda_handler(e, c): pass")
    gate: Any = type(sys)("_gate_of_this_test")
    gate.started, gate.end = threading.Event(), threading.Event()
    sys.modules["_gate_of_this_test"] = gate
    try:
        source = FileFunction(file, "lambda_handler")
        loading = threading.Thread(target=source.get, kwargs={"timeout": 5})
        loading.start()
        assert gate.started.wait(5)
        with pytest.raises(FunctionUnavailable, match="still being imported"):
            source.get(timeout=0.05)
        gate.end.set()
        loading.join(5)
        assert callable(source.get(timeout=5))
    finally:
        gate.end.set()
        del sys.modules["_gate_of_this_test"]
