"""The code of the pages runs as it is printed, with a connection to the local endpoint where it needs one.

The blocks of a page run one after the other, and share their names; `connect`, `settings`, `credentials` and
`connection` are there from the start.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import signal
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import iot_customauth_client
from iot_customauth_client import Credentials, aio, connect
from iot_customauth_client.local import Choices, LocalEndpoint
from iot_customauth_client.local.choices import values_of
from iot_customauth_client.local.config import Flags, configure

DOCS = Path(__file__).parent.parent / "docs"
CREDENTIALS = Credentials.from_password("user01", "pass01", authorizer="any")


def allow_all(event: dict[str, object], context: object) -> dict[str, object]:
    return {
        "isAuthenticated": True,
        "principalId": "device1",
        "disconnectAfterInSeconds": 3600,
        "refreshAfterInSeconds": 300,
        "policyDocuments": [
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        ],
    }


def blocks_of(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.chdir(tmp_path)
    with LocalEndpoint({"any": allow_all}) as endpoint:
        yield {"connect": connect, "credentials": CREDENTIALS, "settings": endpoint.settings("client_id")}


@pytest.mark.parametrize("page", ["domain-configurations.md", "choices.md"])
def test_the_code_of_a_page_about_the_local_endpoint_runs_and_its_toml_is_taken(page: str, tmp_path: Path) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        exec(compile(block, page, "exec"), {"lambda_handler": allow_all})
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "password.py").write_text("def lambda_handler(event, context): ...\n")
    file = tmp_path / "local.toml"
    file.write_text(toml + '[authorizers.password]\nfunction = "password.py"\nsigning_disabled = true\n')
    configure(file, Flags())


def test_every_choice_is_in_its_document_with_its_default_first() -> None:
    text = (DOCS / "choices.md").read_text(encoding="utf-8")
    settings = text.partition("## Settings")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\|[^|]*\| `(\w+)` \| ([^|]*) \|$", settings, re.MULTILINE))
    assert rows.keys() == {each.name for each in fields(Choices)}
    for each in fields(Choices):
        assert rows[each.name].split("`")[1] == json.dumps(each.default), each.name
        for value in values_of(each.name):
            assert json.dumps(value) in rows[each.name].replace("1,800", "1800"), (each.name, value)


@pytest.mark.parametrize("page", ["lasting-connections.md", "credential-sources.md", "requests.md"])
def test_the_code_of_a_page_runs(page: str, names: dict[str, Any]) -> None:
    blocks = blocks_of(page)
    assert blocks
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with connect(names["settings"], credentials=CREDENTIALS) as connection:
            names["connection"] = connection
            for block in blocks:
                exec(compile(block, page, "exec"), names)
    finally:
        if "closing" in names:
            names["closing"].undo()
    assert before == {number: signal.getsignal(number) for number in before}


def test_the_code_of_the_page_about_the_outbox_runs_and_gets_past_a_damaged_file(names: dict[str, Any]) -> None:
    first, *others = blocks_of("outbox.md")
    exec(compile(first, "outbox.md", "exec"), names)
    with connect(names["settings"], credentials=CREDENTIALS, outbox=names["in_a_file"]) as connection:
        names["connection"] = connection
        for block in others:
            exec(compile(block, "outbox.md", "exec"), names)
    Path("outbox.db").write_bytes(b"no database" * 1_000)
    with names["open_connection"]() as connection:
        connection.publish("my-topic").result(10)
    assert Path("outbox.db.damaged").exists()


def test_the_code_of_the_page_about_asyncio_runs(names: dict[str, Any]) -> None:
    names["aio"] = aio

    async def run(block: str) -> None:
        code = compile(block, "asyncio.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result

    for block in blocks_of("asyncio.md"):
        asyncio.run(run(block))


def test_every_public_name_of_a_connection_that_lasts_is_in_a_document() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in [DOCS.parent / "README.md", *DOCS.glob("*.md")])
    for name in ("SharedCredentials", "SqliteOutbox", "MemoryOutbox", "close_on_signal", "close_all", "StateChange"):
        assert name in iot_customauth_client.__all__
        assert name in text, name


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_no_paragraph_is_continued_by_a_line_that_is_indented_like_code(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert not re.findall(r"^\S.*\n {4,}\S.*", text, re.MULTILINE)
