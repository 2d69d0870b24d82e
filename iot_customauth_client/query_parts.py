"""Which part of somebody's finished query is which: authorizer, signature, token, and the rest.

A query names the authorizer and the signature by the service's own names; the token stands under a name that only its
authorizer knows. With a signature there must be a token, so a single further part is it; otherwise it has to be named.
Values are never shown, and a name only if it looks like one (`carriage.shown_name`).
"""

from __future__ import annotations

from collections.abc import Iterable

from .carriage import RawCredentials, shown_name
from .errors import ConfigurationError
from .limits import RESERVED_PARAMETERS


def sort_parts(
    parts: Iterable[tuple[str, str]], token_key_name: str | None, *, what: str, username: str = ""
) -> RawCredentials:
    """Return decoded query parts as credentials, with the base user name that stood before them.

    Raises `ConfigurationError` for a name that stands twice, for a `token_key_name` that is not there, and for a
    signature whose token cannot be told. `what` is the text's name in these messages: "user name" or "URL".
    """
    parts = tuple(parts)
    names = [name for name, _ in parts]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ConfigurationError(
            f"the {what} gives {_shown(part for part in parts if part[0] in repeated)} more than once: "
            "give each parameter once",
            code="credentials_repeated_parameter",
        )
    rest = dict(parts)
    authorizer, signature = (rest.pop(name, None) for name in RESERVED_PARAMETERS)
    if token_key_name is None and signature is not None:
        token_key_name = _only_name(rest, what)
    if token_key_name is not None and token_key_name not in rest:
        raise ConfigurationError(
            f"the {what} has no parameter {token_key_name!r}, the token key name",
            code="credentials_incomplete",
            what_to_do=f"the parameters it has besides name and signature: {_shown(rest.items())}",
        )
    token = rest.pop(token_key_name) if token_key_name is not None else None
    return RawCredentials(
        username=username,
        authorizer=authorizer,
        signature=signature,
        token_key_name=token_key_name,
        token=token,
        parameters=tuple(rest.items()),
    )


def _only_name(rest: dict[str, str], what: str) -> str:
    if len(rest) != 1:
        raise ConfigurationError(
            f"the {what} has a signature, but which parameter is the token cannot be told: pass token_key_name=",
            code="credentials_incomplete",
            what_to_do=f"the parameters it has besides name and signature: {_shown(rest.items())}",
        )
    return next(iter(rest))


def _shown(parts: Iterable[tuple[str, str]]) -> str:
    return ", ".join(sorted({shown_name(*part) for part in parts})) or "none"
