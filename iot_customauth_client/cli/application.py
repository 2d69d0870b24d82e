"""The subcommands and what they have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from .local import local

application = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich takes `[default: 8443]` for markup and leaves it out
    help="AWS IoT Core custom authentication: the local endpoint.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(version("iot-customauth-client"))
        except PackageNotFoundError:
            typer.echo("not installed: run from its sources")
        raise typer.Exit


@application.callback()
def _all(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    del version  # _show_version has answered


application.command()(local)
