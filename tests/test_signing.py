"""Token signatures: the same as openssl's, with keys of every form; and what is said about keys that cannot be used."""

from __future__ import annotations

import base64
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from token_support import (
    PASSWORD,
    all_shown_by,
    needs_openssl,
    openssl,
    other_key,
    private_pem,
    public_pem,
    rsa_key,
)

from iot_customauth_client import ConfigurationError, Credentials
from iot_customauth_client.signing import KeyPair, generate_key_pair, sign_token, verify_token

tokens = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
FORMS: dict[str, tuple[bool, bool]] = {
    "PKCS#8": (False, False),
    "PKCS#1": (True, False),
    "encrypted PKCS#8": (False, True),
    "encrypted PKCS#1": (True, True),
}


def raw(signature: str) -> bytes:
    return base64.b64decode(signature, validate=True)


# -- the same as others make ------------------------------------------------------------------------------------------


@needs_openssl
@pytest.mark.parametrize("form", FORMS)
def test_a_signature_is_the_one_that_openssl_makes(form: str, tmp_path: Path) -> None:
    pkcs1, encrypted = FORMS[form]
    pem = private_pem(pkcs1=pkcs1, encrypted=encrypted)
    file = tmp_path / "key.pem"
    file.write_text(pem)
    unlock = ["-passin", f"pass:{PASSWORD}"] if encrypted else []
    for token in ("abc.def", "", "t\u00f6ken \u2603", "a" * 6_144, "ends with a line break\n"):
        theirs = openssl("dgst", "-sha256", "-sign", str(file), *unlock, given=token.encode())
        one_line = openssl("base64", "-A", given=theirs).decode()
        assert sign_token(token, file, password=PASSWORD if encrypted else None) == one_line


@needs_openssl
def test_openssl_takes_the_keys_that_are_made_here(tmp_path: Path) -> None:
    pair = generate_key_pair()
    private, public, signature = tmp_path / "key.pem", tmp_path / "pub.pem", tmp_path / "signature"
    private.write_text(pair.private_pem)
    public.write_text(pair.public_pem)
    signature.write_bytes(raw(sign_token("abc", pair.private_pem)))
    assert openssl("rsa", "-in", str(private), "-pubout").decode() == pair.public_pem
    check = ("dgst", "-sha256", "-verify", str(public), "-signature", str(signature))
    assert openssl(*check, given=b"abc").strip() == b"Verified OK"


@needs_openssl
@pytest.mark.parametrize(
    "convert",
    [
        ("pkcs8", "-topk8", "-v2", "aes-256-cbc"),
        ("pkcs8", "-topk8", "-v2", "des3"),
        ("pkcs8", "-topk8", "-scrypt"),
        ("rsa", "-aes128", "-traditional"),
        ("rsa", "-des3", "-traditional"),
    ],
    ids=" ".join,
)
def test_keys_that_openssl_encrypted_can_sign(convert: tuple[str, ...]) -> None:
    pem = openssl(*convert, "-passout", "pass:abcd", given=private_pem().encode())
    assert sign_token("t", pem, password=b"abcd") == sign_token("t", private_pem())


@given(tokens)
def test_an_independent_library_verifies_every_signature(token: str) -> None:
    signature = sign_token(token, private_pem())
    rsa_key().public_key().verify(raw(signature), token.encode(), padding.PKCS1v15(), hashes.SHA256())


@given(tokens)
def test_what_was_signed_verifies(token: str) -> None:
    signature = sign_token(token, private_pem(pkcs1=True))
    assert verify_token(token, signature, public_pem())
    assert verify_token(token, signature.rstrip("="), public_pem(pkcs1=True))


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_keys_of_all_usual_sizes_are_made_and_used(bits: int) -> None:
    pair = generate_key_pair(bits)
    signature = sign_token("t", pair.private_pem)
    assert len(raw(signature)) == bits // 8
    assert verify_token("t", signature, pair.public_pem)


# -- no to what does not fit ------------------------------------------------------------------------------------------


@given(tokens, tokens)
def test_another_token_does_not_verify(token: str, other: str) -> None:
    if token == other:
        other += "x"
    assert not verify_token(other, sign_token(token, private_pem()), public_pem())


def test_another_key_does_not_verify() -> None:
    assert not verify_token("t", sign_token("t", private_pem()), public_pem(rsa_key(2048, 1)))
    assert not verify_token("t", sign_token("t", private_pem()), public_pem(rsa_key(3072)))


@given(st.integers(0, 2047))
def test_a_signature_with_one_bit_changed_does_not_verify(bit: int) -> None:
    data = bytearray(raw(sign_token("t", private_pem())))
    data[bit // 8] ^= 1 << bit % 8
    assert not verify_token("t", base64.b64encode(data).decode(), public_pem())


@given(st.text(max_size=400) | st.binary(max_size=300).map(lambda data: base64.b64encode(data).decode()))
def test_any_text_in_place_of_a_signature_does_not_verify(signature: str) -> None:
    assert not verify_token("t", signature, public_pem())


def test_a_signature_spelt_otherwise_does_not_verify() -> None:
    signature = next(made for n in range(99) if {"+", "/"} <= set(made := sign_token(f"t{n}", private_pem())))
    token = next(f"t{n}" for n in range(99) if sign_token(f"t{n}", private_pem()) == signature)
    assert verify_token(token, signature, public_pem())
    wrapped = "\n".join(textwrap.wrap(signature, 64))
    for other in (wrapped, signature + "\n", signature.replace("+", "-").replace("/", "_"), signature + "="):
        assert not verify_token(token, other, public_pem())


def test_a_signature_by_another_padding_or_hash_does_not_verify() -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    for pad, algorithm in ((pss, hashes.SHA256()), (padding.PKCS1v15(), hashes.SHA512())):
        signature = base64.b64encode(rsa_key().sign(b"t", pad, algorithm)).decode()
        with pytest.raises(InvalidSignature):
            rsa_key().public_key().verify(raw(signature), b"t", padding.PKCS1v15(), hashes.SHA256())
        assert not verify_token("t", signature, public_pem())


# -- where a key may stand --------------------------------------------------------------------------------------------


def test_a_key_may_be_text_bytes_or_a_path(tmp_path: Path) -> None:
    private, public = tmp_path / "device key", tmp_path / "pub.pem"
    private.write_text(private_pem())
    public.write_text(public_pem())
    signature = sign_token("t", private_pem())
    for source in (private_pem().encode(), private, str(private)):
        assert sign_token("t", source) == signature
    for source in (public_pem(), public_pem().encode(), public, str(public)):
        assert verify_token("t", signature, source)


@pytest.mark.parametrize(
    "change",
    [
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: pem.replace("\n", " "),
        lambda pem: f"Bag Attributes\n    friendlyName: device\n{pem}",
        lambda pem: "\ufeff" + pem,
        lambda pem: public_pem() + pem,
        lambda pem: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" + pem,
    ],
    ids=["CRLF", "one line", "attributes", "byte order mark", "after its public key", "after a certificate"],
)
def test_a_private_key_is_found_in_whatever_stands_around_it(change: Callable[[str], str]) -> None:
    assert sign_token("t", change(private_pem())) == sign_token("t", private_pem())
    assert sign_token("t", change(private_pem()).encode()) == sign_token("t", private_pem())


# -- keys that cannot be used -----------------------------------------------------------------------------------------


def _public_key_too_small() -> object:
    return verify_token("t", "YQ==", public_pem(rsa_key(1024)))


def _pss_only() -> str:
    pem = private_pem().replace("\n", "")
    der = base64.b64decode(pem.removeprefix("-----BEGIN PRIVATE KEY-----").removesuffix("-----END PRIVATE KEY-----"))
    pss = der.replace(bytes.fromhex("2a864886f70d010101"), bytes.fromhex("2a864886f70d01010a"))
    return f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(pss).decode()}\n-----END PRIVATE KEY-----"


def _der() -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return rsa_key().private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "public for private": (lambda: sign_token("t", public_pem()), "is a public key: to sign"),
    "public PKCS#1 for private": (lambda: sign_token("t", public_pem(pkcs1=True)), "is a public key: to sign"),
    "private for public": (lambda: verify_token("t", "YQ==", private_pem()), "is a private key.*-pubout"),
    "encrypted for public": (lambda: verify_token("t", "YQ==", private_pem(encrypted=True)), "is a private key"),
    "elliptic": (lambda: sign_token("t", private_pem(other_key("ec"))), "is an elliptic curve key"),
    "elliptic SEC 1": (lambda: sign_token("t", private_pem(other_key("ec"), pkcs1=True)), "is an elliptic curve key"),
    "elliptic encrypted": (
        lambda: sign_token("t", private_pem(other_key("ec"), encrypted=True), password=PASSWORD),
        "is an elliptic curve key",
    ),
    "elliptic public": (lambda: verify_token("t", "YQ==", public_pem(other_key("ec"))), "is an elliptic curve key"),
    "Ed25519": (lambda: sign_token("t", private_pem(other_key("ed"))), "is an Ed25519 key"),
    "RSA-PSS": (lambda: sign_token("t", _pss_only()), "RSA-PSS only"),
    "1024 bits": (lambda: sign_token("t", private_pem(rsa_key(1024))), "has 1024 bits.* 2048 bits and more"),
    "1024 bits PKCS#1": (lambda: sign_token("t", private_pem(rsa_key(1024), pkcs1=True)), "has 1024 bits"),
    "1024 bits encrypted": (
        lambda: sign_token("t", private_pem(rsa_key(1024), encrypted=True), password=PASSWORD),
        "has 1024 bits",
    ),
    "1024 bits public": (_public_key_too_small, "has 1024 bits"),
    "2047 bits": (lambda: sign_token("t", private_pem(rsa_key(2047))), "has 2047 bits"),
    "2052 bits": (lambda: sign_token("t", private_pem(rsa_key(2052))), "only keys of whole bytes"),
    "wrong password": (
        lambda: sign_token("t", private_pem(encrypted=True), password="wrong"),
        "does not open with this password",
    ),
    "wrong password PKCS#1": (
        lambda: sign_token("t", private_pem(encrypted=True, pkcs1=True), password="wrong"),
        "does not open with this password",
    ),
    "no password": (lambda: sign_token("t", private_pem(encrypted=True)), "is encrypted: pass its password="),
    "empty password": (lambda: sign_token("t", private_pem(encrypted=True), password=""), "is encrypted: pass its"),
    "needless password": (lambda: sign_token("t", private_pem(), password="x"), "is not encrypted, and a password"),
    "cut off": (lambda: sign_token("t", private_pem()[:900]), "is damaged: it has no whole block"),
    "not base64": (lambda: sign_token("t", private_pem().replace("MII", "M!I", 1)), "is damaged: between"),
    "line lost": (
        lambda: sign_token("t", "".join([*private_pem().splitlines(True)[:5], "-----END PRIVATE KEY-----"])),
        "is damaged",
    ),
    "empty block": (lambda: sign_token("t", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"), "is damaged"),
    "backslash n": (lambda: sign_token("t", private_pem().replace("\n", "\\n")), "a backslash and an n"),
    "DER": (lambda: sign_token("t", _der()), "is DER, not PEM"),
    "garbage": (lambda: sign_token("t", b"\xff\xfe-\0-\0"), "is not PEM"),
    "empty": (lambda: sign_token("t", b""), "is not PEM"),
    "certificate": (
        lambda: verify_token("t", "YQ==", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"),
        "is a certificate: .*openssl x509",
    ),
    "OpenSSH": (
        lambda: sign_token("t", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----"),
        "ssh-keygen",
    ),
    "of another type": (lambda: sign_token("t", 5), "must be PEM text, bytes or a path, not int"),  # type: ignore[arg-type]
    "lone surrogate": (lambda: sign_token("\ud800", private_pem()), "lone surrogate"),
    "token of another type": (lambda: sign_token(b"t", private_pem()), "token must be a str"),  # type: ignore[arg-type]
    "too few bits to make": (lambda: generate_key_pair(1024), "1024 bits cannot be used"),
    "odd bits to make": (lambda: generate_key_pair(2050), "2050 bits cannot be used"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_key_that_cannot_be_used_is_refused_by_what_is_wrong(what: str) -> None:
    bad, message = BAD[what]
    with pytest.raises(ConfigurationError, match=message):
        bad()


@pytest.mark.parametrize("what", BAD)
def test_no_error_shows_or_drags_along_a_key_or_a_password(what: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BAD[what][0]()
    shown = all_shown_by(caught.value)
    keys = [private_pem(), private_pem(rsa_key(1024)), private_pem(other_key("ec")), private_pem(encrypted=True)]
    lines = {line for pem in keys for line in pem.splitlines()[1:-1]}
    assert not [line for line in lines if line in shown]
    assert PASSWORD not in shown


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"private key .*missing\.pem cannot be read: No such file"):
        sign_token("t", tmp_path / "missing.pem")
    with pytest.raises(ConfigurationError, match=r"private key keys/missing\.pem cannot be read: No such file"):
        sign_token("t", "keys/missing.pem")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        sign_token("t", tmp_path)


@pytest.mark.parametrize("mistake", ["header.payload", "MIIEvQIBADANBgkq", "c2lnbmF0dXJl" * 60, "null\0.pem", ""])
def test_a_secret_in_the_place_of_a_path_is_not_shown(mistake: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        sign_token("t", mistake)
    assert not mistake or mistake not in all_shown_by(caught.value)


@given(st.data())
@settings(max_examples=examples(200))
def test_no_byte_of_a_key_can_change_unnoticed(data: st.DataObject) -> None:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    der = bytearray(rsa_key().private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption()))
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{base64.b64encode(der).decode()}\n-----END RSA PRIVATE KEY-----\n"
    with pytest.raises(ConfigurationError, match=r"damaged|bits"):
        sign_token("t", pem)


@given(st.sampled_from(["PRIVATE KEY", "RSA PRIVATE KEY", "PUBLIC KEY", "RSA PUBLIC KEY"]), st.binary(max_size=200))
def test_any_content_of_a_pem_block_is_refused_by_our_own_error(label: str, content: bytes) -> None:
    pem = f"-----BEGIN {label}-----\n{base64.b64encode(b'0' + content).decode()}\n-----END {label}-----\n"
    for use in (lambda: sign_token("t", pem), lambda: verify_token("t", "YQ==", pem)):
        with pytest.raises(ConfigurationError):
            use()


# -- what is loaded, what is shown ------------------------------------------------------------------------------------


def run(code: str) -> str:
    """Run code in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_credentials_and_signing_loads_neither_awscrt_nor_cryptography() -> None:
    modules = "credentials, signing, jwt, ready_url"
    check = "[name for name in sys.modules if name.partition('.')[0] in ('awscrt', '_awscrt', 'cryptography')]"
    assert run(f"import sys\nfrom iot_customauth_client import {modules}\nprint({check})") == "[]"


def test_plain_keys_sign_and_verify_where_the_extra_is_missing() -> None:
    code = f"""
import sys
sys.modules["cryptography"] = None
from iot_customauth_client.signing import sign_token, verify_token
print(verify_token("t", sign_token("t", {private_pem()!r}), {public_pem()!r}))
"""
    assert run(code) == "True"


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (f"signing.sign_token('t', {private_pem(encrypted=True)!r}, password='x')", "decrypting"),
        ("signing.generate_key_pair()", "making keys"),
    ],
    ids=["decrypting", "making keys"],
)
def test_where_the_extra_is_missing_the_error_says_how_to_install_it(call: str, what: str) -> None:
    code = f"""
import sys
sys.modules["cryptography"] = None
from iot_customauth_client import ConfigurationError, signing
try:
    {call}
except ConfigurationError as error:
    print(error.code, error)
"""
    shown = run(code)
    assert shown.startswith("extra_missing")
    assert f"{what} needs the library cryptography" in shown
    assert "pip install 'iot-customauth-client[signing]'" in shown


def test_the_repr_of_a_key_pair_does_not_show_the_private_key() -> None:
    pair = KeyPair(private_pem(), public_pem())
    assert "PRIVATE" not in repr(pair)
    assert "PUBLIC" in repr(pair)


def test_two_pairs_are_two_keys() -> None:
    assert generate_key_pair() != generate_key_pair()


# -- Credentials.sign -------------------------------------------------------------------------------------------------


def test_credentials_sign_their_own_token_and_keep_all_else() -> None:
    plain = Credentials.from_bearer_token(
        "t\u00f6k", token_key_name="k", authorizer="A", username="u", password="p", parameters={"x": "y"}
    )
    signed = plain.sign(private_pem(encrypted=True), password=PASSWORD)
    assert signed.signature is not None
    assert verify_token("t\u00f6k", signed.signature.get_secret_value(), public_pem())
    assert signed == Credentials.from_signed_token(
        "t\u00f6k",
        signed.signature.get_secret_value(),
        token_key_name="k",
        authorizer="A",
        username="u",
        password="p",
        parameters={"x": "y"},
    )
    assert plain.signature is None
    assert signed.signature.get_secret_value() not in repr(signed)


def test_signed_credentials_expire_when_the_plain_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import iot_customauth_client.credentials as module

    class LaterWallClock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=3_650)

    plain = Credentials.from_bearer_token("t", token_key_name="k", expires_in_seconds=1_000)
    monkeypatch.setattr(module, "datetime", LaterWallClock)  # NTP sets a device's clock after the boot
    signed = plain.sign(private_pem())
    assert signed.expires_at == plain.expires_at
    assert not signed.expired(time.monotonic() + 900)
    assert signed.expired(time.monotonic() + 1_001)


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        (Credentials.from_password("u", "p"), "no token to sign"),
        (Credentials.from_signed_token("t", "c2ln", token_key_name="k"), "has a signature already"),
    ],
)
def test_what_has_no_token_or_a_signature_cannot_be_signed(credentials: Credentials, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        credentials.sign(private_pem())


def test_the_key_type_in_these_tests_is_what_they_say() -> None:
    assert isinstance(rsa_key(), rsa.RSAPrivateKey)
    assert rsa_key(2047).key_size == 2047
