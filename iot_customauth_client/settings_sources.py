"""Where `ConnectionSettings.load` finds its values: arguments, then the environment, then a TOML file.

This file is loaded by `load` alone: pydantic-settings costs more to import than all the rest of the package, and
nothing else may read the environment.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from ._suggest import unknown
from .errors import ConfigurationError
from .files import read_table
from .will import Will

if TYPE_CHECKING:
    from .settings import ConnectionSettings

PREFIX = "IOT_CUSTOMAUTH_"
_NESTED = "__"


def gather(settings: type[ConnectionSettings], file: Path | None, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the values that were given, not yet validated. Raises `ConfigurationError` for unknown names."""
    values = _from_file(settings, file) if file is not None else {}
    for name, value in _from_environment(settings).items():
        below = values.get(name)
        # One part of the will may come from the environment and the rest from the file.
        values[name] = {**below, **value} if isinstance(below, dict) and isinstance(value, dict) else value
    return values | overrides


def _from_file(settings: type[ConnectionSettings], file: Path) -> dict[str, Any]:
    table = read_table(file, "connection")
    for name in table:
        if name not in settings.model_fields:
            problem = unknown("setting", name, settings.model_fields)
            raise ConfigurationError(f"{file}, [connection]: {problem}", code="unknown_setting")
    if isinstance(table.get("ca_file"), str):
        table["ca_file"] = file.parent / table["ca_file"]
    return table


def _from_environment(settings: type[ConnectionSettings]) -> dict[str, Any]:
    names = [name[len(PREFIX) :] for name in os.environ if name.upper().startswith(PREFIX)]
    for name in names:
        field, nested, part = name.lower().partition(_NESTED)
        if field not in settings.model_fields or (nested and (field != "will" or part not in Will.model_fields)):
            known = [f"{PREFIX}{known.upper()}" for known in settings.model_fields]
            problem = unknown("environment variable", f"{PREFIX}{name}", known)
            raise ConfigurationError(problem, code="unknown_setting")

    class Environment(BaseSettings):
        model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter=_NESTED, extra="ignore")
        __annotations__ = {name: field.annotation for name, field in settings.model_fields.items()}

    with contextlib.suppress(ValueError):  # pydantic-settings quotes the value it could not read
        return dict(EnvSettingsSource(Environment)())
    raise ConfigurationError(f"an {PREFIX} variable cannot be read", code="settings_invalid")
