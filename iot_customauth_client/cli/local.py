"""`iot-customauth local`: the flags of the local endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def local(
    *,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="TOML file; flags override it.")] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", help="Port, which stands for 443; 0: any free one.  [default: 8443]", min=0, max=65535
        ),
    ] = None,
    hostname: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Host name to serve, as clients send it in SNI; may be repeated.  [default: localhost]"
        ),
    ] = None,
    cert_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIRECTORY", help="Keeps ca.pem, which clients must trust.  [default: a temporary one]"),
    ] = None,
    authorizer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE.py[:function]|URL",
            help="Authorizer without signatures: a Python function, or a Lambda Invoke URL; may be repeated.",
        ),
    ] = None,
    default_authorizer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Authorizer for devices that name none.")
    ] = None,
    quotas: Annotated[
        str | None,
        typer.Option(metavar="off|aws", help="Whether the service's rates are enforced too.  [default: off]"),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(metavar="REGION", help="Region in policies' ARNs.  [default: from an AWS host name, else any]"),
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="12_DIGITS", help="Account in policies' ARNs.  [default: any]")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Written as JSON {host, port, ca_file, pid} once it listens.")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="text|json", help="What is printed on stdout.  [default: text]")
    ] = None,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="Print user names, passwords and tokens as they are.")
    ] = False,
) -> None:
    """Serve AWS IoT Core custom authentication on this machine, with your own authorizer function."""
    from .serving import main

    raise typer.Exit(
        main(
            config,
            host=host,
            port=port,
            hostnames=tuple(hostname or ()),
            cert_dir=cert_dir,
            authorizers=tuple(authorizer or ()),
            default_authorizer=default_authorizer,
            quotas=quotas,
            region=region,
            account=account,
            ready_file=ready_file,
            log_format=log_format,
            show_secrets=show_secrets,
        )
    )
