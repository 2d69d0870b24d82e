"""The authority is made once and found again; what cannot work is said, and two starts at once agree."""

import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from tls_clients import MemoryClient, client_context

from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local.certificates import CertificateError, Certificates
from iot_customauth_client.local.tls import TlsStream


def test_the_authority_is_kept_and_found_again(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "certs"
    with Certificates.open(directory, ["localhost"]) as first:
        before = first.ca_file.read_bytes()
    with Certificates.open(directory, ["localhost"]) as second:
        assert second.ca_file == directory / "ca.pem"
        assert second.ca_file.read_bytes() == before
    assert {file.name for file in directory.iterdir()} == {"ca.pem", "ca-key.pem"}


def test_only_the_owner_can_read_the_key(tmp_path: Path) -> None:
    Certificates.open(tmp_path, ["localhost"]).close()
    assert stat.S_IMODE((tmp_path / "ca-key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ca.pem").stat().st_mode) == 0o644


def test_without_a_directory_everything_is_gone_after_close() -> None:
    certificates = Certificates.open(None, ["localhost"])
    directory = certificates.ca_file.parent
    assert certificates.ca_file.exists()
    certificates.close()
    certificates.close()
    assert not directory.exists()


@pytest.mark.parametrize("name", ["localhost", "device.example.net", "10.1.2.3", "::1"])
def test_a_client_verifies_each_served_name(tmp_path: Path, name: str) -> None:
    certificates = Certificates.open(tmp_path, ["localhost", "*.example.net", "10.1.2.3", "::1"])
    client = MemoryClient(client_context(ca=str(certificates.ca_file), alpn=["mqtt"]), name)
    server = TlsStream(certificates.server_context(["mqtt"]))
    while not client.shake():
        client.feed(server.receive(client.read()).to_write)


def test_the_certificate_names_nothing_that_is_not_served(tmp_path: Path) -> None:
    certificates = Certificates.open(tmp_path, ["localhost"])
    client = MemoryClient(client_context(), "localhost")
    server = TlsStream(certificates.server_context(["mqtt"]))
    while not client.shake():
        client.feed(server.receive(client.read()).to_write)
    der = client.tls.getpeercert(binary_form=True)
    assert der is not None
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [x509.DNSName("localhost")]


def remove_key(directory: Path) -> None:
    (directory / "ca-key.pem").unlink()


def damage_certificate(directory: Path) -> None:
    (directory / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def empty_certificate(directory: Path) -> None:
    (directory / "ca.pem").write_bytes(b"")


def damage_key(directory: Path) -> None:
    (directory / "ca-key.pem").write_text("junk")


def foreign_key(directory: Path) -> None:
    (directory / "ca-key.pem").write_bytes(trustme.CA().private_key_pem.bytes())


def protected_key(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (directory / "ca-key.pem").write_bytes(pem)


def write_authority(directory: Path, *, begins_in: timedelta, ends_in: timedelta, authority: bool = True) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody's own")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + begins_in)
        .not_valid_after(now + ends_in)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "ca-key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def expire(directory: Path) -> None:
    write_authority(directory, begins_in=timedelta(days=-9), ends_in=timedelta(days=-1))


def come_too_early(directory: Path) -> None:
    write_authority(directory, begins_in=timedelta(days=1), ends_in=timedelta(days=9))


def be_no_authority(directory: Path) -> None:
    write_authority(directory, begins_in=timedelta(days=-1), ends_in=timedelta(days=9), authority=False)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (remove_key, "without its private key"),
        (damage_certificate, "ca.pem is damaged"),
        (empty_certificate, "ca.pem is damaged"),
        (damage_key, "ca-key.pem is damaged"),
        (foreign_key, "is not the private key of"),
        (protected_key, "passphrase"),
        (expire, "expired on"),
        (come_too_early, "clock"),
        (be_no_authority, "not the certificate of an authority"),
    ],
)
def test_a_pair_that_cannot_work_is_an_error_and_stays_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    Certificates.open(tmp_path, ["localhost"]).close()
    spoil(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(CertificateError, match=words):
        Certificates.open(tmp_path, ["localhost"])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_an_authority_of_ones_own_is_used(tmp_path: Path) -> None:
    write_authority(tmp_path, begins_in=timedelta(days=-1), ends_in=timedelta(days=9))
    test_a_client_verifies_each_served_name(tmp_path, "localhost")


def test_a_key_left_alone_by_a_crash_is_replaced(tmp_path: Path) -> None:
    Certificates.open(tmp_path, ["localhost"]).close()
    (tmp_path / "ca.pem").unlink()
    Certificates.open(tmp_path, ["localhost"]).close()
    Certificates.open(tmp_path, ["localhost"]).close()


@pytest.mark.parametrize("place", ["/dev/null", "/dev/null/certs", "/proc/certs"])
def test_a_place_that_cannot_be_written_is_named(place: str) -> None:
    with pytest.raises(CertificateError, match=f"{place} cannot be used: .*--cert-dir"):
        Certificates.open(Path(place), ["localhost"])


def test_what_is_not_a_host_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a host name"):
        Certificates.open(tmp_path, ["localhost:8443"])
    assert not list(tmp_path.iterdir())


START = """
import sys
from pathlib import Path
from iot_customauth_client.local.certificates import Certificates
sys.stdin.read(1)
sys.stdout.write(Certificates.open(Path(sys.argv[1]), ["localhost"]).ca_file.read_text())
"""


def test_processes_that_start_at_once_on_an_empty_directory_share_one_authority(tmp_path: Path) -> None:
    starts = [
        subprocess.Popen([sys.executable, "-c", START, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for start in starts:
        assert start.stdin is not None
        start.stdin.write(b"!")
        start.stdin.flush()
    outcomes = {start.communicate(timeout=30)[0] for start in starts}
    assert [start.returncode for start in starts] == [0] * 4
    assert outcomes == {(tmp_path / "ca.pem").read_bytes()}
    Certificates.open(tmp_path, ["localhost"]).close()


def test_a_name_that_no_certificate_can_hold_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"ab--cd.example"):
        Certificates.open(tmp_path, ["localhost", "ab--cd.example"])


FORK = """
import gc, os, sys
from iot_customauth_client.local import LocalEndpoint
endpoint = LocalEndpoint({"gate": lambda event, context: {"isAuthenticated": False}}).start()
ca_file = endpoint.ca_file
child = os.fork()
if child == 0:
    HOW
    sys.exit()
os.waitpid(child, 0)
print(ca_file.exists())
endpoint.stop()
print(ca_file.exists())
"""


@pytest.mark.parametrize("how", ["endpoint.stop()", "del endpoint; gc.collect()", "pass"])
def test_a_forked_process_does_not_take_the_certificate_away_from_the_first(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK.replace("HOW", how)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["True", "False"], done.stderr
