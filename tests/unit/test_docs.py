"""The documentation says all that there is, and nothing that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from holdfast.audience.lifecycle import Stage
from holdfast.audience.reasons import Reason
from holdfast.campaign import later
from holdfast.campaign.loading import load_campaign, load_segments
from holdfast.campaign.models import Campaign
from holdfast.channel import RejectReason
from holdfast.cli import app
from holdfast.settings import LATER, Lifecycle, ProjectFile, load_project
from holdfast.tables import MESSAGE_STATES, RUN_STATES
from holdfast.units import format_duration

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next one of its level or above."""
    heading = re.search(rf"^(#+) {re.escape(title)}\n", text, re.MULTILINE)
    assert heading, f"no heading {title!r}"
    rest = text[heading.end() :]
    return re.split(rf"^#{{1,{len(heading[1])}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """What is in backticks in the first column of the text's tables."""
    return [
        word
        for row in re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)
        for word in re.findall(r"`([^`]+)`", row)
    ]


# --- commands -------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, Any]]:
    def walk(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, (*path, name))
            if not hasattr(command, "commands") or command.invoke_without_command:
                yield " ".join((*path, name)), command

    return walk(typer.main.get_command(app), ())


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_with_its_arguments_and_options(name: str) -> None:
    text = page("commands")
    of_command = section(text, name.split()[0] if name.startswith(("import", "cases")) else name)
    usage = next(line for line in of_command.splitlines() if line.startswith(f"    holdfast {name}"))
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in usage
            assert all(option in of_command + text.split("## validate")[0] for option in parameter.opts)
        elif parameter.metavar:
            assert parameter.metavar in usage


def test_options_of_the_whole_program_are_documented() -> None:
    start = page("commands").split("## validate")[0]
    for parameter in typer.main.get_command(app).params:
        assert all(f"`{option}" in start for option in parameter.opts)


def test_no_command_or_option_is_documented_that_is_not_there() -> None:
    usages = re.findall(r"^    holdfast ([a-z].*)$", page("commands"), re.MULTILINE)
    assert usages
    for usage in usages:
        name = next(name for name in COMMANDS if re.match(rf"{name}\b", usage))
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", usage)) <= known, usage


# --- files ----------------------------------------------------------------------------------------


def keys(schema: dict[str, Any], node: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every key that files may have, as `steps.variants.weight`; rules are documented elsewhere."""
    if not isinstance(node, dict):
        return
    if (name := node.get("$ref", "").rpartition("/")[2]) and "Rule" not in name and name != "SecretRef":
        yield from keys(schema, schema["$defs"][name], path)
    for key, child in node.get("properties", {}).items():
        yield ".".join((*path, key))
        yield from keys(schema, child, (*path, key))
    for child in (
        *node.get("anyOf", ()),
        *node.get("oneOf", ()),
        node.get("items"),
        node.get("additionalProperties"),
        *node.get("patternProperties", {}).values(),
    ):
        yield from keys(schema, child, path)


def keys_of(model: Any) -> list[str]:
    schema = model.model_json_schema()
    return list(dict.fromkeys(keys(schema, schema)))


def documented_keys(name: str) -> set[str]:
    """First cells of the tables with the columns key, type, default, meaning."""
    tables = re.findall(r"^\| key \| type \|.*?\n\n", page(name), re.DOTALL | re.MULTILINE)
    return {word for table in tables for word in first_cells(table)}


def test_every_campaign_key_is_documented_and_no_other() -> None:
    assert documented_keys("campaigns") == set(keys_of(Campaign))


def test_every_setting_is_documented_and_no_other() -> None:
    sections = {
        "brand",
        "business",
        "channels",
        "defaults",
        "lifecycle",
        "dispatch",
        "web",
        "schedules",
        "sources",
    }
    assert documented_keys("project") | sections == set(keys_of(ProjectFile))


@pytest.mark.parametrize(
    ("name", "coming"),
    [("campaigns", {**later.CAMPAIGN, **later.RULE}), ("project", LATER)],
)
def test_every_key_that_is_yet_to_come_is_documented_and_no_other(name: str, coming: dict[str, str]) -> None:
    listed = section(page(name), "Not supported yet")
    assert sorted(first_cells(listed)) == sorted(key.replace(".*", "") for key in coming)


def test_the_example_of_a_campaign_is_a_campaign(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", page("campaigns"), re.DOTALL)
    (tmp_path / "winback.yaml").write_text(example, encoding="utf-8")
    project, segments = load_project(REPOSITORY / "holdfast.yaml"), load_segments(REPOSITORY)
    campaign = load_campaign(tmp_path / "winback.yaml", project, segments)
    assert campaign.model_fields_set == set(Campaign.model_fields), "the example is to show every key"


def test_the_example_of_a_project_is_a_project(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", page("project"), re.DOTALL)
    (tmp_path / "holdfast.yaml").write_text(example, encoding="utf-8")
    project = load_project(tmp_path / "holdfast.yaml", {})
    assert project.model_fields_set >= set(ProjectFile.model_fields), "the example is to show every key"


def test_defaults_are_documented_as_they_are() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| [^|]* \| `([^`]*)` \|", page("project"), re.MULTILINE))
    project = ProjectFile.model_validate({"referrals": {"url": "https://shop.example"}})
    for key, shown in rows.items():
        if not key.startswith("channels."):
            value: Any = project.model_dump(by_alias=True, mode="json")
            for part in key.split("."):
                value = value[part]
            assert (str(value).lower() if isinstance(value, bool) else str(value)) == shown, key


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("The life of a message", MESSAGE_STATES),
        ("The life of a run", RUN_STATES),
        ("Lifecycle stages", tuple(Stage)),
        ("Why a message is rejected", tuple(RejectReason)),
    ],
)
def test_every_state_stage_and_refusal_is_documented(title: str, words: tuple[str, ...]) -> None:
    assert set(words) <= set(first_cells(section(page("concepts"), title)))


def test_the_documented_reasons_are_those_of_the_ledger() -> None:
    titles = ("Why a customer is turned away", "Why a message is skipped", "In doubt")
    documented = {word for title in titles for word in first_cells(section(page("concepts"), title))}
    assert documented == {*Reason} - {Reason.RESENT, Reason.SETTLED_BY_HAND}  # which say how a doubt ended


def test_thresholds_of_stages_are_those_of_the_settings() -> None:
    rows = re.findall(r"`(\w+)`, (\w+) \|$", section(page("concepts"), "Lifecycle stages"), re.MULTILINE)
    defaults = Lifecycle()
    for name, shown in rows:
        value = getattr(defaults, name)
        assert shown == (str(value) if isinstance(value, int) else format_duration(value))
    assert {name for name, _ in rows} == set(Lifecycle.model_fields)


# --- links ----------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_every_page_is_linked_from_the_readme_or_another_page(path: Path) -> None:
    others = "".join(other.read_text(encoding="utf-8") for other in PAGES if other != path)
    assert re.search(rf"\((docs/)?{re.escape(path.name)}[#)]", others)
