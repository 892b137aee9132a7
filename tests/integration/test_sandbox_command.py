"""`holdfast sandbox`: pages of what a project's channels have written, and what is told of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.test_cli_campaigns import Done, Holdfast, holdfast, project

__all__ = ["holdfast", "project"]

CHANNELS = (
    "brand: {name: Acme}\n"
    "channels:\n"
    "  email: {adapter: sandbox, webhook_key: {env: NOT_SET}}\n"
    "  wall: {adapter: sandbox, kind: x, post: true, folder: wall}\n"
    "  receipts: {adapter: smtp, host: 127.0.0.1}\n"
)


@pytest.fixture
def sent(project: Path) -> Path:
    """A project whose sandboxes hold three letters and a post."""
    (project / "holdfast.yaml").write_text(CHANNELS)
    letters = project / ".holdfast" / "sandbox" / "email"
    letters.mkdir(parents=True)
    for number in range(3):
        (letters / f"{number}.eml").write_text(
            f"From: Acme <hello@acme.example>\nTo: ann{number}@shop.example\nSubject: Hello {number}\n\nHello"
        )
    (project / "wall").mkdir()
    (project / "wall" / "post.txt").write_text("Tea is ready.")
    return project


def test_it_writes_a_page_for_each_sandbox_and_needs_neither_secret_nor_database(
    holdfast: Holdfast, sent: Path
) -> None:
    done = holdfast("sandbox", "--latest", "2")
    folder = sent / ".holdfast" / "sandbox"
    assert done.code == 0
    assert [line.split() for line in done.out.splitlines()] == [
        ["channel", "kind", "written", "shown"],
        ["email", "email", "3", "2"],
        ["wall", "x", "1", "1"],
    ]
    assert done.err == f"written: {folder / 'index.html'}\n"
    assert {path.name for path in folder.glob("*.html")} == {"index.html", "channel-wall.html"}
    assert "The newest 2 of 3." in (folder / "index.html").read_text()
    assert "Tea is ready." in (folder / "channel-wall.html").read_text()
    assert not (sent / ".holdfast" / "holdfast.db").exists()


def test_it_tells_facts_to_programs_and_writes_where_it_is_told_to(holdfast: Holdfast, sent: Path) -> None:
    done = holdfast("sandbox", "--json", "--output", "pages")
    assert json.loads(done.out) == {
        "page": "pages/index.html",
        "channels": [
            {"channel": "email", "kind": "email", "written": 3, "shown": 3},
            {"channel": "wall", "kind": "x", "written": 1, "shown": 1},
        ],
    }
    assert (sent / "pages" / "index.html").is_file()


def test_before_anything_was_sent_the_page_says_how_to_send(holdfast: Holdfast, project: Path) -> None:
    assert holdfast("sandbox").code == 0
    shown = (project / ".holdfast" / "sandbox" / "index.html").read_text()
    assert "Nothing went out by <b>email</b> yet." in shown
    assert "holdfast send-test" in shown


def test_a_project_without_a_sandbox_is_told_so(holdfast: Holdfast, project: Path) -> None:
    (project / "holdfast.yaml").write_text("channels: {email: {adapter: smtp, host: 127.0.0.1}}\n")
    assert holdfast("sandbox") == Done(
        1,
        "",
        "error: no channel of this project is a sandbox\n"
        "hint: `adapter: sandbox` in holdfast.yaml makes one; messages of others are where they were sent\n",
    )
