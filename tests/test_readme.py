"""The README's code runs as it is printed; only where the endpoint is differs."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

import iot_customauth_client
from iot_customauth_client.local import LocalEndpoint

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
ENDPOINT_LINE = '"xxxxxxxxxxxx-ats.iot.ap-northeast-1.amazonaws.com",'
FIRST_SCREEN_LINES = 40


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


def test_the_first_example_is_on_the_first_screen() -> None:
    lines = README.splitlines()
    assert "```python" in lines[:FIRST_SCREEN_LINES]
    assert "```" in lines[:FIRST_SCREEN_LINES]


def block_with(words: str) -> str:
    (found,) = (block for block in BLOCKS if words in block)
    return found


def run(block: str, endpoint: LocalEndpoint) -> None:
    """Run a block with only the line of the endpoint replaced."""
    assert block.count(ENDPOINT_LINE) == 1
    code = block.replace(ENDPOINT_LINE, 'endpoint.settings("client_id"),')
    exec(compile(code, "README.md", "exec"), {"endpoint": endpoint})


def test_the_first_example_runs_with_only_the_endpoint_line_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalEndpoint({"custom_auth_mqtt": allow_all}) as endpoint:
        run(BLOCKS[0], endpoint)
    assert capsys.readouterr().out == "{'counter': 1}\n"


def test_the_asyncio_example_runs_with_only_the_endpoint_line_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalEndpoint({"custom_auth_mqtt": allow_all}) as endpoint:
        run(block_with("import asyncio"), endpoint)
    assert capsys.readouterr().out == "{'counter': 1}\n"


def test_the_example_of_a_lasting_connection_runs_with_only_the_endpoint_line_replaced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    watching: list[Any] = []
    close_on_signal = iot_customauth_client.close_on_signal
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(iot_customauth_client, "close_on_signal", lambda: watching.append(close_on_signal()))
    monkeypatch.chdir(tmp_path)
    try:
        with LocalEndpoint({"custom_auth_mqtt": allow_all}) as endpoint:
            run(block_with("SqliteOutbox("), endpoint)
            endpoint.wait_for("published", timeout=5, topic="my-topic")
            assert signal.getsignal(signal.SIGTERM) != before
    finally:
        for each in watching:
            each.undo()
    assert capsys.readouterr().out == "CloseReport(unacknowledged=0, kept=0)\n"
    assert (tmp_path / "outbox.db").exists()


def test_the_example_with_a_local_endpoint_runs_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block_with("with LocalEndpoint("), "README.md", "exec"), {})
    assert capsys.readouterr().out == "my-topic\n"


def test_no_block_of_the_readme_is_left_untested() -> None:
    assert len(BLOCKS) == 4


def test_every_link_of_the_documents_leads_to_a_file() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def anchors_of(document: Path) -> set[str]:
    """Return what a link into the page can name: its headings as GitHub writes them, and its own anchors."""
    text = document.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings} | {
        *re.findall(r'<a id="([^"]+)"', text)
    }


def test_every_link_into_a_document_leads_to_a_place_in_it() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text(encoding="utf-8")):
            page = document.parent / target if target else document
            assert anchor in anchors_of(page), f"{document.name}: {target}#{anchor}"
