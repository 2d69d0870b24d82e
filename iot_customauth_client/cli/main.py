"""The way into the `iot-customauth` command.

It imports as little as it can: `--help` must be there at once, and a missing extra must end in one line that says what
to install. A mistake of the user's is one line on stderr and exit code 2, never a traceback.
"""

from __future__ import annotations

import sys

MISSING_EXTRA = 'iot-customauth needs packages that are not installed: pip install "iot-customauth-client[cli]"'


def run() -> None:
    """Run the command with the arguments of the process, and end the process."""
    try:
        import typer  # noqa: F401  # only to see whether the extra is there
    except ImportError:
        print(MISSING_EXTRA, file=sys.stderr)
        raise SystemExit(2) from None

    from .application import application

    application(prog_name="iot-customauth")


if __name__ == "__main__":
    run()
