"""`make demo` as a stranger sees it, in a project of its own."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]


def settings() -> dict[str, str]:
    """The environment of somebody who has set nothing."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "HOLDFAST_"))
    }


def holdfast(project: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast.cli", *arguments],
        cwd=project,
        env=settings() | more,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    for name in ("campaigns", "templates"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("holdfast.yaml", "segments.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    yield tmp_path
    holdfast(tmp_path, "demo", "--stop")


@pytest.mark.timeout(600)
def test_the_demo_closes_the_circle_and_finds_what_was_planted_after_one_that_was_killed(
    project: Path, browser: Browser
) -> None:
    home = project / ".holdfast" / "demo"
    kill_one_half_way(project)
    assert (home / "demo.db").exists()

    told = demo(project)
    counts = counted(told)
    letters = list((home / "sandbox" / "email").glob("*.eml"))
    assert len(letters) == counts["accepted by email"]
    won = counted(waterfall(told, "winback"))["to send"]
    assert won > 900
    assert counts["to send"] == sum(n for what, n in counts.items() if what.startswith("accepted by "))
    thanks = list((home / "mail").glob("*.eml"))
    assert len(thanks) == counts["accepted by receipts"] > 900

    assert "more customers converted than without the campaign" in verdict(told)
    arms = dict(re.findall(r"^(treated|holdout) +([\d,]+) ", told, re.M))
    assert sum(int(n.replace(",", "")) for n in arms.values()) == won + away(told)

    pages = {path.name: path.read_text() for path in (home / "report").iterdir()}
    assert verdict(told) in html.unescape(pages["winback.html"])
    assert {"index.html", "news.html", "thanks.html"} < pages.keys()
    assert "messages (sandbox)  .holdfast/demo/sandbox/index.html\n" in told
    shown = {path.name: path.read_text() for path in (home / "sandbox").glob("*.html")}
    assert f"The newest 50 of {len(letters):,}." in shown["index.html"]
    assert shown["index.html"].count("<iframe") == 50
    for channel, title in (("telegram", "Telegram"), ("sms", "SMS")):
        assert counts[f"accepted by {channel}"] > 20
        assert f">{title} <span>{counts[f'accepted by {channel}']}</span></a>" in shown["index.html"]
    assert "the new arrivals are here" in shown["channel-sms.html"]
    assert "/u/" in shown["channel-telegram.html"]
    assert "It is good to see old friends again." in shown["channel-x.html"]
    assert re.search(r"Prefect UI +http://127\.0\.0\.1:\d+\n", told)

    a_complaint_was_seen_to(project)
    a_survey_is_answered(project, browser, *re.findall(r"^  survey +(http\S+)$", told, re.M))

    [address] = re.findall(r"web app +(http://127\.0\.0\.1:\d+) ", told)
    with urlopen(f"{address}/healthz") as answer:  # noqa: S310 - our own
        assert answer.status == 200
    assert holdfast(project, "demo", "--stop").returncode == 0
    with pytest.raises(URLError, match="refused"):
        urlopen(f"{address}/healthz")  # noqa: S310


def a_complaint_was_seen_to(project: Path) -> None:
    """Customers wrote by every channel; complaints are cases, and an operator has closed one of them."""
    of = {"HOLDFAST_DATABASE_URL": "sqlite:///.holdfast/demo/demo.db"}
    wrote = json.loads(holdfast(project, "conversations", "--json", **of).stdout)
    assert {each["channel"] for each in wrote} == {"email", "telegram", "sms", "x"}
    cases = json.loads(holdfast(project, "cases", "--all", "--json", **of).stdout)
    assert {case["reason"] for case in cases} >= {"reply", "mention", "low_score"}
    [closed] = [case for case in cases if case["closed_at"]]
    assert (closed["reason"], closed["closed_at"]) == ("reply", closed["answered_at"])
    shown = holdfast(project, "cases", "show", str(closed["id"]), **of).stdout
    assert "broken" in shown or "enttäuscht" in shown
    assert "A new parcel is on its way to you." in shown


def a_survey_is_answered(project: Path, browser: Browser, link: str) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(link)
    # In whatever language, and with its digits.
    ten = page.locator("input[value='10']")
    page.locator("label", has=ten).click()
    assert ten.is_checked()
    page.get_by_role("textbox").fill("I would tell everybody.")
    page.get_by_role("button").click()
    page.get_by_role("status").wait_for()
    page.close()
    of = {"HOLDFAST_DATABASE_URL": "sqlite:///.holdfast/demo/demo.db"}
    assert "1 new answers" in holdfast(project, "collect", **of).stdout


def kill_one_half_way(project: Path) -> None:
    """Kills a smaller demo when its shop is half full."""
    command = [sys.executable, "-m", "holdfast.cli", "demo", "--customers", "300"]
    with subprocess.Popen(command, cwd=project, env=settings(), stderr=subprocess.PIPE, text=True) as begun:
        assert begun.stderr is not None
        assert next(begun.stderr) == "imported 300 customers\n"
        begun.kill()


def demo(project: Path) -> str:
    """What a demo that went well told."""
    told = holdfast(project, "demo")
    assert told.returncode == 0, told.stderr
    assert not re.search(r"traceback|warning|error", told.stdout + told.stderr, re.IGNORECASE)
    return told.stdout


def counted(told: str) -> Counter[str]:
    """The numbers at the ends of lines, by the words before them; of several lines their sum."""
    found: Counter[str] = Counter()
    for words, n in re.findall(r"^(\D+?) +(-?[\d,]+)$", told, re.M):
        found[words.strip()] += int(n.replace(",", ""))
    return found


def waterfall(told: str, campaign: str) -> str:
    [found] = re.findall(rf"^{campaign}: from the rule.*?^to send[^\n]*", told, re.M | re.S)
    return str(found)


def away(told: str) -> int:
    """Customers of winback who were enrolled and got no letter: held out, or back before it went."""
    gone = re.findall(r"^  (?:held out|skipped: \w+) +-([\d,]+)$", waterfall(told, "winback"), re.M)
    return sum(int(n.replace(",", "")) for n in gone)


def verdict(told: str) -> str:
    [sentence] = re.findall(r"^The verdict: (.+)$", told, re.M)
    return str(sentence)
