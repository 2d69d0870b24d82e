"""`Choices` itself: what it takes, what it refuses, and that the file says the same as the object."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.errors import ConfigurationError
from iot_customauth_client.local import Choices, LocalEndpoint
from iot_customauth_client.local.choices import read_choices, values_of
from iot_customauth_client.local.config import Flags, configure

NAMES = [each.name for each in fields(Choices)]


def toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_every_setting_can_be_given_in_the_file(name: str, tmp_path: Path) -> None:
    for value in values_of(name):
        file = tmp_path / "local.toml"
        file.write_text(f"[choices]\n{name} = {toml(value)}\n")
        assert configure(file, Flags()).choices == Choices(**{name: value})


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_explained_with_its_values(name: str) -> None:
    paragraphs = dict(re.findall(r"\n        (\w+): (.*?)(?=\n        \w+: |\n\n)", Choices.__doc__ or "", re.DOTALL))
    for value in values_of(name):
        assert toml(value) in paragraphs[name]


def test_without_a_table_everything_is_the_default(tmp_path: Path) -> None:
    assert configure(None, Flags()).choices == Choices()


@pytest.mark.parametrize("name", NAMES)
@given(value=st.one_of(st.integers(), st.text(), st.booleans(), st.none(), st.floats()))
def test_any_other_value_is_refused_with_the_name_of_the_setting(name: str, value: object) -> None:
    numbers = [each for each in values_of(name) if type(each) is int]
    between = name.endswith("_seconds") and type(value) is int and min(numbers) <= value <= max(numbers)
    if between or any(type(value) is type(each) and value == each for each in values_of(name)):
        read_choices({name: value})
        return
    with pytest.raises(ConfigurationError, match=name):
        read_choices({name: value})


def test_a_misspelt_setting_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    file = tmp_path / "local.toml"
    file.write_text("[choices]\nrefused_upgrade = 401\n")
    with pytest.raises(ConfigurationError, match=r"\[choices\]: unknown key .* did you mean 'refused_upgrade_status'"):
        configure(file, Flags())


def test_a_misspelt_value_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    file = tmp_path / "local.toml"
    file.write_text('[choices]\nrefused_connect_mqtt5 = "hangup"\n')
    with pytest.raises(ConfigurationError, match="did you mean 'hang_up'"):
        configure(file, Flags())


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "local.toml"
    file.write_text("choices = 1\n")
    with pytest.raises(ConfigurationError, match=r"\[choices\]"):
        configure(file, Flags())


def test_read_choices_takes_what_the_object_takes() -> None:
    assert read_choices({"refused_upgrade_status": 401}) == Choices(refused_upgrade_status=401)


def test_an_endpoint_is_made_with_choices() -> None:
    LocalEndpoint({}, choices=Choices(refused_upgrade_status=401))
