"""The work of `iot-customauth local`: start the endpoint, print what happens, end on a signal.

SIGTERM and SIGINT end it with exit code 0, also while an authorizer function is stuck: the process then leaves without
waiting for that function's thread. A mistake of the user's is one line on stderr and exit code 2.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypedDict, Unpack

from ..carriage import NAME_PARAMETER
from ..errors import ConfigurationError
from .event_output import EventOutput

if TYPE_CHECKING:
    from ..local.config import LocalConfig
    from ..local.endpoint import LocalEndpoint

MAX_FILES = 65_536
"""Open files the command asks the system for, if it may: each connection takes one."""


class FlagValues(TypedDict):
    """The flags, by the names of `local.config.Flags`."""

    host: str | None
    port: int | None
    hostnames: tuple[str, ...]
    cert_dir: Path | None
    authorizers: tuple[str, ...]
    default_authorizer: str | None
    quotas: str | None
    region: str | None
    account: str | None
    ready_file: Path | None
    log_format: str | None
    show_secrets: bool


def main(config_file: Path | None, **flags: Unpack[FlagValues]) -> int:
    """Serve until a signal comes; returns the exit code."""
    try:
        with _signals() as signalled:
            from ..local.config import Flags, configure

            return _serve(configure(config_file, Flags(**flags)), signalled)
    except ConfigurationError as error:
        return _fail(error.message)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}")
    except (ValueError, ImportError) as error:  # CertificateError; an extra that is not installed
        return _fail(str(error))


def _fail(sentence: str) -> int:
    print(f"iot-customauth local: {' '.join(sentence.split())}", file=sys.stderr)
    return 2


def _serve(config: LocalConfig, signalled: int) -> int:
    from ..local.endpoint import LocalEndpoint

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    _allow_many_files()
    endpoint = LocalEndpoint(
        config.authorizers,
        default_authorizer=config.default_authorizer,
        host=config.host,
        port=config.port,
        hostnames=config.hostnames,
        domains=config.domains,
        cert_dir=config.cert_dir,
        region=config.region,
        account=config.account,
        refused_subscribe_311=config.refused_subscribe_311,
        choices=config.choices,
        quotas=config.quotas,
        session_expiry_seconds=config.session_expiry_seconds,
        max_connections_per_address=config.max_connections_per_address,
        max_half_open_per_address=config.max_half_open_per_address,
        show_secrets=config.show_secrets,
    )
    if config.ready_file is not None:
        try:
            config.ready_file.unlink(missing_ok=True)  # of an endpoint that was killed: nobody may take it for ours
        except OSError as error:
            raise _unwritable(config.ready_file, error) from error
    output = EventOutput(endpoint.events, as_json=config.log_format == "json")
    try:
        with endpoint:
            if config.log_format == "text":
                output.text(_introduction(endpoint, config))
            output.start()
            if config.ready_file is not None:
                _write_whole(config.ready_file, _ready(endpoint))
            os.read(signalled, 1)
    finally:
        if config.ready_file is not None:
            _remove_own(config.ready_file)
        output.close()
    if any(thread is not threading.main_thread() for thread in threading.enumerate()):
        # A function that never returned. Ending the interpreter under a thread that prints can abort the process.
        os._exit(0)
    return 0


def _introduction(endpoint: LocalEndpoint, config: LocalConfig) -> str:
    place = endpoint.place
    # Neither a pattern nor, if it can be helped, a name that leads to AWS from here.
    hostname = min(config.hostnames, key=lambda name: (name != "localhost", name.startswith("*")))
    names = ", ".join(config.authorizers) or "none: every CONNECT will be refused (--authorizer NAME=FILE.py)"
    example = config.default_authorizer or next(iter(config.authorizers), "NAME")
    username = "USER" if config.default_authorizer else f"USER?{NAME_PARAMETER}={example}"
    default = f" (default: {config.default_authorizer})" if config.default_authorizer else ""
    return (
        f"local endpoint on {endpoint.host}:{endpoint.port}, which stands for the service's port 443\n"
        f"  host names   {', '.join(config.hostnames)}\n"
        f"{_domains(config)}"
        f"  authorizers  {names}{default}\n"
        f"  policies     region {place.region or 'any'}, account {place.account or 'any'}\n"
        f"  CA file      {endpoint.ca_file}\n"
        f"connect with host name {hostname}, port {endpoint.port}, ALPN mqtt, that CA file,"
        f" and the MQTT user name {username}\n"
        f"try it: mosquitto_pub --tls-alpn mqtt --cafile {shlex.quote(str(endpoint.ca_file))} -h {hostname}"
        f" -p {endpoint.port} -i client_id -u '{username}' -P PASSWORD -q 1 -t my-topic -m hello\n"
    )


def _domains(config: LocalConfig) -> str:
    lines = (f"{name} ({each.domain_name}, {each.application_protocol})" for name, each in config.domains.items())
    return f"  domains      {', '.join(lines)}\n" if config.domains else ""


def _ready(endpoint: LocalEndpoint) -> str:
    ready = {"host": endpoint.host, "port": endpoint.port, "ca_file": str(endpoint.ca_file), "pid": os.getpid()}
    return json.dumps(ready) + "\n"


def _write_whole(file: Path, text: str) -> None:
    """Let the file appear with all its text at once, so that whoever waits for it never reads half of it."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            Path(name).chmod(0o644)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the ready file {file} cannot be written: {error.strerror}. Name a file in a directory that this user may"
        " write to (--ready-file)"
    )


def _remove_own(file: Path) -> None:
    """Remove the ready file unless another endpoint has written its own there."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if json.loads(file.read_text(encoding="utf-8")).get("pid") == os.getpid():
            file.unlink()


def _allow_many_files() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """Turn SIGTERM and SIGINT into a byte on a pipe; gives the end to read it from.

    The interpreter writes it on whichever thread the system hands the signal to. A handler would not do: it waits for
    the main thread, and nothing wakes that if the signal came to another one, as it may after SIGSTOP and SIGCONT.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    woken_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _leave_it_to_the_pipe) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield reading
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(woken_before)
        os.close(reading)
        os.close(writing)


def _leave_it_to_the_pipe(number: int, frame: FrameType | None) -> None:
    """Keep the signal from what it does by default."""
