"""local.toml and the flags: what they say, which one counts, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local import DomainConfiguration
from iot_customauth_client.local.command import Command
from iot_customauth_client.local.config import Flags, configure, split_authorizer_flag

EXAMPLE = Path(__file__).parents[2] / "examples" / "local.toml"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "authorizer.py").write_text("")
    return tmp_path


def write(directory: Path, text: str) -> Path:
    file = directory / "local.toml"
    file.write_text(text)
    return file


def test_the_example_is_valid() -> None:
    config = configure(EXAMPLE, Flags())
    assert config.port == 8443
    assert list(config.authorizers) == ["custom_auth_mqtt_2021_08_21"]
    assert config.hostnames == ("localhost", "xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com")


def test_without_a_file_and_flags_the_defaults_are_documented_ones() -> None:
    config = configure(None, Flags())
    assert (config.host, config.port, config.hostnames) == ("127.0.0.1", 8443, ("localhost",))
    assert (config.cert_dir, config.default_authorizer, config.region, config.account) == (None, None, None, None)
    assert (config.log_format, config.show_secrets, dict(config.authorizers)) == ("text", False, {})
    assert (config.quotas, config.session_expiry_seconds) == ("off", 3600)


def test_the_file_can_say_all_and_its_paths_are_relative_to_it(directory: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    (directory / "key.pem").write_bytes(
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    config = configure(
        write(
            directory,
            """
            [endpoint]
            host = "0.0.0.0"
            port = 0
            hostnames = ["a.example"]
            cert_dir = "certificates"
            default_authorizer = "signed"
            region = "eu-central-1"
            account = "000000000001"
            ready_file = "ready.json"
            refused_subscribe_311 = "suback"
            quotas = "aws"
            session_expiry_seconds = 604800
            log_format = "json"
            show_secrets = true

            [authorizers.signed]
            function = "authorizer.py:handler"
            token_key_name = "tok"
            public_keys = ["key.pem"]
            status = "INACTIVE"
            enable_caching_for_http = true
            """,
        ),
        Flags(),
    )
    assert (config.host, config.port, config.hostnames) == ("0.0.0.0", 0, ("a.example",))
    assert (config.cert_dir, config.ready_file) == (directory / "certificates", directory / "ready.json")
    assert (config.region, config.account) == ("eu-central-1", "000000000001")
    assert (config.log_format, config.show_secrets, config.default_authorizer) == ("json", True, "signed")
    assert config.refused_subscribe_311 == "suback"
    assert (config.quotas, config.session_expiry_seconds) == ("aws", 604_800)
    authorizer = config.authorizers["signed"]
    assert authorizer.function == f"{directory / 'authorizer.py'}:handler"
    assert (authorizer.token_key_name, authorizer.status, len(authorizer.loaded_keys)) == ("tok", "INACTIVE", 1)
    assert authorizer.enable_caching_for_http


def test_flags_override_the_file_and_add_authorizers(directory: Path) -> None:
    file = write(
        directory,
        """
        [endpoint]
        port = 1
        quotas = "aws"
        hostnames = ["a.example"]
        region = "eu-central-1"
        [authorizers.one]
        function = "authorizer.py"
        signing_disabled = true
        """,
    )
    flag = f"two={directory / 'authorizer.py'}"
    config = configure(file, Flags(port=0, quotas="off", hostnames=("b.example", "localhost"), authorizers=(flag,)))
    assert config.quotas == "off"
    assert (config.port, config.hostnames, config.region) == (0, ("b.example", "localhost"), "eu-central-1")
    assert list(config.authorizers) == ["one", "two"]
    assert config.authorizers["two"].signing_disabled


MISTAKES: list[tuple[str, str]] = [
    ("[endpoint]\nprot = 1", r"local\.toml, \[endpoint\]: unknown key 'prot': did you mean 'port'\?"),
    ("[endpoint]\nquotas = 'on'", "'off' or 'aws'"),
    ("[endpoint]\nsession_expiry_seconds = 604801", "session_expiry_seconds"),
    ("[endpoint]\nport = '8443'", r"\[endpoint\]: port"),
    ("[endpoint]\nport = 70000", r"\[endpoint\]: port"),
    ("[endpoint]\nhostnames = []", "hostnames"),
    ("[endpoint]\nlog_format = 'xml'", "'text' or 'json'"),
    ("[endpoints]", "unknown table 'endpoints': did you mean 'endpoint'"),
    ("endpoint = 3", r"write \[endpoint\]"),
    ("[authorizers.a]\nfunction = 'authorizer.py'", r"\[authorizers\.a\]: .*signing_disabled"),
    ("[authorizers.a]\nfunctoin = 'authorizer.py'", "did you mean 'function'"),
    ("[authorizers.a]\nsigning_disabled = true", "calls one thing: .*; 0 were given"),
    ("[authorizers.a]\ncommand = ['cat']\nfunction = 'authorizer.py'", "calls one thing: .*; 2 were given"),
    ("[authorizers.a]\ncommand = []\nsigning_disabled = true", "no program"),
    ("[authorizers.a]\ncommand = 'node a.js'\nsigning_disabled = true", "command"),
    ("[authorizers.a]\ncommand = ['no-such-program']\nsigning_disabled = true", "no program 'no-such-program' on PATH"),
    ("[authorizers.a]\ncommand = ['./authorizer.py']\nsigning_disabled = true", "may not be executed"),
    ("[authorizers.a]\nfunction = 'nowhere.py'\nsigning_disabled = true", r"there is no file .*nowhere\.py"),
    ("[authorizers.a]\nfunction = 'http://h/i'\nsigning_disabled = true", "another path than an invocation"),
    ("[authorizers.'a b']\nfunction = 'authorizer.py'\nsigning_disabled = true", "authorizer name 'a b'"),
    ("[endpoint", "is not TOML"),
    ("[endpoint]\nhostnames = 'localhost'", "hostnames must be a list of texts"),
    ("[endpoint]\nshow_secrets = 'no'", "show_secrets must be true or false, without quotes"),
    ("[endpoint]\nport = '8443'", "port must be a whole number, without quotes"),
    ("[endpoint]\nport = -1", "port must be 0 or more"),
    ("[endpoint]\nplus_in_query = 'space'", r"'plus_in_query': it belongs in \[choices\]"),
    ("[choices]\nrefused_subscribe_311 = 'suback'", r"'refused_subscribe_311': it belongs in \[endpoint\]"),
    ("[choices]\nrefused_connect_mqtt5 = '135'", "a text: write 135, without quotes"),
    ("port = 8443", r"unknown key 'port': it belongs in \[endpoint\]"),
    ("[endpoint.choices]\nplus_in_query = 'space'", r"'choices': it is a table of its own, write \[choices\]"),
    ("[endpoint]\nauthorizers = ['a.py']", r"a table of its own, write \[authorizers\.NAME\], once for each"),
    ("[authorizers]\nfunction = 'a.py'", r"\[authorizers\]: 'function' belongs in \[authorizers\.NAME\]"),
    ("[domains]\ndomain_name = 'a.example'", r"\[domains\]: 'domain_name' belongs in \[domains\.NAME\]"),
    ("[authorizers]\na = 'authorizer.py'", r"write \[authorizers\.a\], and below it function"),
    ("[[domains]]\ndomain_name = 'a.example'", r"write \[domains\.NAME\]"),
    ("[endpoint]\nhostnames = ['a', 'b c']", r"\[endpoint\]: hostnames: 'b c' is not a host name"),
    ("[endpoint]\nhostnames = ['a', 3]", r"\[endpoint\]: hostnames, item 2, must be a text"),
    ("[endpoint]\nregion = 'Ireland'", r"local\.toml, \[endpoint\]: region 'Ireland'"),
    ("[endpoint]\naccount = '12'", r"local\.toml, \[endpoint\]: account '12'"),
    ("[endpoint]\ndefault_authorizer = 'a'", r"local\.toml, \[endpoint\]: unknown default authorizer 'a': known: none"),
    ("[endpoint]\ncert_dir = ''", r"\[endpoint\]: cert_dir must not be empty"),
    ('[endpoint]\nhost = "a\\u0000"', r"\[endpoint\]: host must not .* control characters"),
    (f"[authorizers.a]\nfunction = '{'x' * 300}.py'", r"\[authorizers\.a\]: function: .* cannot be read"),
    (f"[authorizers.a]\ncommand = ['./{'x' * 300}']", r"\[authorizers\.a\]: command: .* cannot be read"),
    ('[authorizers."a\\nb"]', r"\[authorizers\.'a\\nb'\]"),
    ("[domains.a]\nstatus = 'ENABLED'", r"\[domains\.a\]: domain_name is missing"),
    ("[domains.a]\ndomain_name = 'a.example'\napplication_protocol = 'MQTT'", "known: DEFAULT, SECURE_MQTT"),
]


@pytest.mark.parametrize(("text", "named"), MISTAKES, ids=[each[0].replace("\n", " ") for each in MISTAKES])
def test_a_mistake_is_told_in_one_sentence(directory: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        configure(write(directory, text), Flags())
    assert "\n" not in caught.value.message


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read nowhere\.toml: No such file"):
        configure(Path("nowhere.toml"), Flags())


def test_a_wrong_flag_is_told_as_a_flag() -> None:
    with pytest.raises(ConfigurationError, match="command line: log_format"):
        configure(None, Flags(log_format="xml"))
    with pytest.raises(ConfigurationError, match=r"NAME=FILE\.py"):
        configure(None, Flags(authorizers=("authorizer.py",)))
    with pytest.raises(ConfigurationError, match="there is no file"):
        configure(None, Flags(authorizers=("a=nowhere.py",)))
    with pytest.raises(ConfigurationError, match="--authorizer: authorizer name 'a b'"):
        configure(None, Flags(authorizers=("a b=authorizer.py",)))
    with pytest.raises(ConfigurationError, match=f"--authorizer a: function: {'x' * 300}.py cannot be read"):
        configure(None, Flags(authorizers=(f"a={'x' * 300}.py",)))
    with pytest.raises(ConfigurationError, match="command line: region 'x'"):
        configure(None, Flags(region="x"))
    with pytest.raises(ConfigurationError, match="command line: unknown default authorizer 'a'"):
        configure(None, Flags(default_authorizer="a"))


def test_an_authorizer_may_be_an_invoke_url_or_a_command_beside_the_file(directory: Path) -> None:
    url = "http://127.0.0.1:3001/2015-03-31/functions/authorizer/invocations"
    config = configure(
        write(
            directory,
            f"""
            [authorizers.behind_a_url]
            function = "{url}"
            signing_disabled = true
            [authorizers.as_a_command]
            command = ["cat", "authorizer.py"]
            signing_disabled = true
            """,
        ),
        Flags(authorizers=(f"a=b={url}?Qualifier=1",)),
    )
    assert str(config.authorizers["behind_a_url"].target) == url
    assert config.authorizers["as_a_command"].target == Command(("cat", "authorizer.py"), directory)
    assert str(config.authorizers["a=b"].target) == f"{url}?Qualifier=1"
    assert config.authorizers["a=b"].signing_disabled


def test_names_and_files_may_both_hold_an_equals_sign(directory: Path) -> None:
    (directory / "x=y").mkdir()
    file = directory / "x=y" / "authorizer.py"
    file.write_text("")
    assert split_authorizer_flag(f"n=1={file}:f") == ("n=1", f"{file}:f")
    assert split_authorizer_flag(f"n={file}") == ("n", str(file))
    assert split_authorizer_flag("n=nowhere.py") == ("n", "nowhere.py")


# -- domain configurations --------------------------------------------------------------------------------------------

AUTHORIZER_TABLE = '[authorizers.a]\nfunction = "authorizer.py"\nsigning_disabled = true\n'


def test_the_file_describes_domain_configurations(directory: Path) -> None:
    text = """
        [domains.devices]
        domain_name = "devices.example.com"
        default_authorizer = "a"
        allow_authorizer_override = false
        authentication_type = "CUSTOM_AUTH"
        application_protocol = "SECURE_MQTT"
        status = "DISABLED"

        [domains."v1.0-x"]
        domain_name = "other.example.com"
    """
    config = configure(write(directory, AUTHORIZER_TABLE + text), Flags())
    assert dict(config.domains) == {
        "devices": DomainConfiguration(
            domain_name="devices.example.com",
            default_authorizer="a",
            allow_authorizer_override=False,
            authentication_type="CUSTOM_AUTH",
            application_protocol="SECURE_MQTT",
            status="DISABLED",
        ),
        "v1.0-x": DomainConfiguration(domain_name="other.example.com"),
    }


def test_without_the_table_there_are_no_domain_configurations(directory: Path) -> None:
    assert dict(configure(write(directory, AUTHORIZER_TABLE), Flags()).domains) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[domains.d]", r"\[domains.d\].*domain_name"),
        ("[domains]\nd = 1", r"\[domains.d\] is not a table"),
        ('[domains.d]\ndomain_name = "d.example"\ndefault_authoriser = "a"', "did you mean 'default_authorizer'"),
        ('[domains.d]\ndomain_name = "d.example"\nallow_authorizer_override = "no"', r"\[domains.d\].*override"),
        (
            '[domains.d]\ndomain_name = "d.example"\nauthentication_type = "CUSTOM_AUTH_X509"',
            r"\[domains.d\].*awsiotsdk",
        ),
        ('[domains.d]\ndomain_name = "d.example"\nauthentication_type = "AWS_SIGV4"', r"\[domains.d\].*SigV4"),
        ('[domains.d]\ndomain_name = "localhost"', r"\[domains\].*hostnames already"),
        ('[domains."IoT:Data"]\ndomain_name = "d.example"', r"\[domains\].*service's own"),
        (
            '[domains.d]\ndomain_name = "d.example"\ndefault_authorizer = "b"\nallow_authorizer_override = true',
            r"\[domains\].*'d'.*default authorizer 'b'",
        ),
        ('[domain.d]\ndomain_name = "d.example"', "did you mean 'domains'"),
    ],
)
def test_a_mistake_in_a_domain_configuration_is_told_with_its_place(directory: Path, text: str, words: str) -> None:
    file = write(directory, f"{AUTHORIZER_TABLE}{text}\n")
    with pytest.raises(ConfigurationError, match=words) as caught:
        configure(file, Flags())
    assert str(file) in caught.value.message
    assert "\n" not in caught.value.message


def test_the_eleventh_authorizer_is_one_too_many(directory: Path) -> None:
    tables = [AUTHORIZER_TABLE.replace("authorizers.a", f"authorizers.a{number}") for number in range(11)]
    assert len(configure(write(directory, "".join(tables[:10])), Flags()).authorizers) == 10
    with pytest.raises(ConfigurationError, match="11 authorizers: an account of AWS has at most 10"):
        configure(write(directory, "".join(tables)), Flags())
