"""What is said of files that people got wrong: the exact text, place and offending line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from holdfast.documents import MAX_BYTES, MAX_DEPTH, Document, read
from holdfast.errors import ProblemsFound
from holdfast.units import Duration, Share


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Repeat(Part):
    after: Duration


class Piece(Part):
    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    weight: int = Field(1, gt=0, le=100)


class Sheet(Part):
    title: str
    purpose: Literal["marketing", "transactional"] = "marketing"
    share: Share = 0.0
    within: Duration | None = None
    repeat: Literal["never", "always"] | Repeat = "never"
    enabled: bool = True
    ratio: float = 1.0
    pieces: list[Piece] = Field(default_factory=list, min_length=1)
    named: dict[str, Piece] = Field(default_factory=dict)


def problems(text: str, model: type[BaseModel] = Sheet, **options: Any) -> str:
    """Every problem of the text, as it is printed."""
    with pytest.raises(ProblemsFound) as found:
        load(text, model, **options)
    return str(found.value)


def load(text: str, model: type[BaseModel], **options: Any) -> None:
    document = Document("sheet.yaml", text, **options)
    document.require(document.into(model))


def test_a_right_file_becomes_a_model() -> None:
    document = Document(
        "sheet.yaml", "title: Hello\nshare: 5%\nrepeat: {after: 2d}\npieces: [{id: a, weight: 3}]\n"
    )
    sheet = document.require(document.into(Sheet))
    assert (sheet.title, sheet.share, sheet.pieces[0].weight) == ("Hello", 0.05, 3)


WRONG = [
    pytest.param(
        "titel: Hello\n",
        "sheet.yaml:1:1: unknown key `titel`; did you mean 'title'?\n    titel: Hello\n    ^",
        id="a misspelt key is one problem, not an unknown and a missing key",
    ),
    pytest.param(
        "title: Hello\nzebra: 1\n",
        "sheet.yaml:2:1: unknown key `zebra`; expected enabled, named, pieces, purpose, ratio, repeat, share,"
        " title or within\n    zebra: 1\n    ^",
        id="an unknown key that resembles none",
    ),
    pytest.param("share: 5%\n", "sheet.yaml:1:1: `title` is missing", id="a missing key of the file"),
    pytest.param(
        "title: Hello\npieces:\n  - weight: 2\n",
        "sheet.yaml:3:5: `id` is missing in item 1 of `pieces`\n      - weight: 2\n        ^",
        id="a missing key inside",
    ),
    pytest.param(
        "title: [Hello]\n",
        "sheet.yaml:1:8: `title` is a list; expected text\n    title: [Hello]\n           ^",
        id="a list for text",
    ),
    pytest.param(
        "title: 5\n",
        "sheet.yaml:1:8: `title` is 5; expected text\n    title: 5\n           ^",
        id="a number for text",
    ),
    pytest.param(
        "title: Hello\npieces: [{id: a, weight: many}]\n",
        "sheet.yaml:2:26: `weight` is text; expected a whole number\n"
        "    pieces: [{id: a, weight: many}]\n                             ^",
        id="text for a whole number",
    ),
    pytest.param(
        "title: Hello\npieces: [{id: a, weight: 1.5}]\n",
        "sheet.yaml:2:26: `weight` is 1.5; expected a whole number\n"
        "    pieces: [{id: a, weight: 1.5}]\n                             ^",
        id="a fraction for a whole number",
    ),
    pytest.param(
        "title: Hello\nnamed:\n  x: {id: a, weight: 0}\n",
        "sheet.yaml:3:22: `weight` is 0; expected more than 0\n"
        "      x: {id: a, weight: 0}\n                         ^",
        id="a number too small",
    ),
    pytest.param(
        "title: Hello\nnamed:\n  x: {id: a, weight: 101}\n",
        "sheet.yaml:3:22: `weight` is 101; expected at most 100\n"
        "      x: {id: a, weight: 101}\n                         ^",
        id="a number too large",
    ),
    pytest.param(
        "title: Hello\nenabled: perhaps\n",
        "sheet.yaml:2:10: `enabled` is text; expected true or false\n    enabled: perhaps\n             ^",
        id="text for a switch",
    ),
    pytest.param(
        "title: Hello\nratio: wide\n",
        "sheet.yaml:2:8: `ratio` is text; expected a number\n    ratio: wide\n           ^",
        id="text for a number",
    ),
    pytest.param(
        "title: Hello\npieces: a\n",
        "sheet.yaml:2:9: `pieces` is text; expected a list\n    pieces: a\n            ^",
        id="text for a list",
    ),
    pytest.param(
        "title: Hello\npieces: []\n",
        "sheet.yaml:2:9: `pieces` is an empty list; expected 1 or more items\n    pieces: []\n            ^",
        id="an empty list",
    ),
    pytest.param(
        "title: Hello\npieces: [5]\n",
        "sheet.yaml:2:10: item 1 of `pieces` is 5; expected a mapping\n    pieces: [5]\n             ^",
        id="a number for a mapping in a list",
    ),
    pytest.param(
        "- title\n", "sheet.yaml:1:1: the file is a list; expected a mapping", id="a list for the whole file"
    ),
    pytest.param(
        "title:\n",
        "sheet.yaml:1:1: `title` is empty; expected a value, or the key left out\n    title:\n    ^",
        id="a key without a value",
    ),
    pytest.param(
        "title: Hello\npurpose: marketng\n",
        "sheet.yaml:2:10: `purpose` cannot be 'marketng'; expected marketing or transactional;"
        " did you mean 'marketing'?\n    purpose: marketng\n             ^",
        id="a misspelt choice",
    ),
    pytest.param(
        "title: Hello\npieces: [{id: Ä}]\n",
        "sheet.yaml:2:15: `id` is not well formed; expected small letters, digits, - and _, a letter first\n"
        "    pieces: [{id: Ä}]\n                  ^",
        id="a name that is none",
    ),
    pytest.param(
        "title: Hello\nwithin: 14 days\n",
        "sheet.yaml:2:9: `within` is not a duration; expected a number and s, min, h, d or w, like 14d\n"
        "    within: 14 days\n            ^",
        id="a duration that is none",
    ),
    pytest.param(
        "title: Hello\nshare: 10\n",
        "sheet.yaml:2:8: `share` is not a share; expected a percentage from 0% to 100%, like 10%\n"
        "    share: 10\n           ^",
        id="a share without percent",
    ),
    pytest.param(
        "title: Hello\nrepeat: alwys\n",
        "sheet.yaml:2:9: `repeat` cannot be 'alwys'; expected never or always or a mapping;"
        " did you mean 'always'?\n    repeat: alwys\n            ^",
        id="none of several alternatives",
    ),
    pytest.param(
        "title: Hello\nrepeat: {aftr: 2d}\n",
        "sheet.yaml:2:10: unknown key `aftr`; did you mean 'after'?\n    repeat: {aftr: 2d}\n             ^",
        id="of several alternatives the one that was meant",
    ),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_a_model_refuses_is_said_in_words_and_with_its_place(text: str, said: str) -> None:
    assert problems(text) == said


NOT_YAML = [
    (
        "title: a: b\n",
        "sheet.yaml:1:9: a ':' where no key can be; expected quotes around text that holds ': '\n"
        "    title: a: b\n            ^",
    ),
    (
        "title: x\nnamed:\n\tx: 1\n",
        "sheet.yaml:3:1: a tab; expected spaces for indentation\n    \tx: 1\n    ^",
    ),
    (
        "title: @x\n",
        "sheet.yaml:1:8: a character that no value can start with; expected quotes around the text\n"
        "    title: @x\n           ^",
    ),
    (
        "title: 'x\n",
        "sheet.yaml:2:1: the file ends inside quotes; expected a closing quote",
    ),
    (
        "title: *name\n",
        "sheet.yaml:1:8: an alias without its anchor; expected the anchor (&name) before the alias (*name)\n"
        "    title: *name\n           ^",
    ),
    (
        "title: x\n---\ntitle: y\n",
        "sheet.yaml:2:1: a second document; expected one document in a file\n    ---\n    ^",
    ),
    (
        "title: a\x01b\n",
        "sheet.yaml:1:9: a control character; expected plain text\n    title: a\x01b\n            ^",
    ),
    (
        "pieces: [1, 2\ntitle: x\n",
        "sheet.yaml:2:6: not YAML: expected ',' or ']', but got ':'\n    title: x\n         ^",
    ),
]


@pytest.mark.parametrize(("text", "said"), NOT_YAML)
def test_text_that_is_not_yaml_is_one_problem_with_its_place(text: str, said: str) -> None:
    assert problems(text) == said


REFUSED_YAML = [
    (
        "title: a\ntitle: b\n",
        "sheet.yaml:2:1: `title` is here twice; line 1 has it already\n    title: b\n    ^",
    ),
    (
        "title: !!python/name:os.system x\n",
        "sheet.yaml:1:8: the tag !!python/name:os.system is not allowed\n"
        "    title: !!python/name:os.system x\n           ^",
    ),
    ("title: !mine x\n", "sheet.yaml:1:8: the tag !mine is not allowed\n    title: !mine x\n           ^"),
    (
        "title: !!binary aGk=\n",
        "sheet.yaml:1:8: the tag !!binary is not allowed\n    title: !!binary aGk=\n           ^",
    ),
    (
        "title: x\nnamed: {<<: {id: a}}\n",
        "sheet.yaml:2:9: merge keys are not supported; expected the keys themselves\n"
        "    named: {<<: {id: a}}\n            ^",
    ),
    (
        "title: x\nnamed: {1: {id: a}}\n",
        "sheet.yaml:2:9: a key that is not text; expected quotes around the key\n"
        "    named: {1: {id: a}}\n            ^",
    ),
    (
        "title: 0123\n",
        "sheet.yaml:1:8: a number written in a way that can be misread;"
        " expected quotes around it, if it is text\n"
        "    title: 0123\n           ^",
    ),
]


@pytest.mark.parametrize(("text", "said"), REFUSED_YAML)
def test_yaml_that_means_something_else_than_it_seems_is_refused(text: str, said: str) -> None:
    assert problems(text) == said


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    said = problems(
        "pieces:\n  - {id: a, wight: 3}\n  - {id: b, weight: x}\nshare: ten\ntitle: 1\ntitle: 2\n"
    )
    assert [line for line in said.splitlines() if line.startswith("sheet")] == [
        "sheet.yaml:2:13: unknown key `wight`; did you mean 'weight'?",
        "sheet.yaml:3:21: `weight` is text; expected a whole number",
        "sheet.yaml:4:8: `share` is not a share; expected a percentage from 0% to 100%, like 10%",
        "sheet.yaml:5:8: `title` is 1; expected text",
        "sheet.yaml:6:1: `title` is here twice; line 5 has it already",
    ]


def test_a_key_of_a_later_version_is_named_as_such_and_nothing_inside_it_is_told() -> None:
    document = Document("sheet.yaml", "title: x\nguard: {stop: [}\n".replace("[}", "1}"))
    document.into(Sheet, {("guard",): "limits that stop a run by themselves"})
    assert [str(problem) for problem in document.problems] == [
        "sheet.yaml:2:1: `guard` is not supported yet: limits that stop a run by themselves\n"
        "    guard: {stop: 1}\n    ^"
    ]


def test_words_that_yaml_once_took_for_switches_are_text() -> None:
    assert Document("x", "country: NO\nanswer: yes\nday: 2026-10-05\nwindow: 09:00-20:00\n").data == {
        "country": "NO",
        "answer": "yes",
        "day": "2026-10-05",
        "window": "09:00-20:00",
    }


def test_an_alias_stands_for_its_anchor_and_its_problems_are_at_the_anchor() -> None:
    said = problems("title: x\nnamed:\n  a: &piece {id: A}\n  b: *piece\n")
    assert [line for line in said.splitlines() if "well formed" in line] == [
        "sheet.yaml:3:18: `id` is not well formed; expected small letters, digits, - and _, a letter first",
    ] * 2


def test_aliases_that_unfold_to_too_much_are_refused_quickly() -> None:
    rows = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "the file unfolds to too much; expected at most 40 levels and 10,000 values, aliases included" in (
        problems("\n".join(rows))
    )


def test_an_alias_inside_its_own_anchor_is_refused() -> None:
    assert "the file unfolds to too much" in problems("title: &x [*x]\n")


def test_nesting_is_bounded() -> None:
    said = problems("[" * 5000)
    assert said.startswith(
        f"sheet.yaml:1:{MAX_DEPTH + 1}: nested too deep; expected at most {MAX_DEPTH} levels"
    )
    assert len(said) < 500


def test_the_number_of_values_is_bounded() -> None:
    said = problems("- a\n" * 60_000)
    assert said.splitlines()[0] == (
        "sheet.yaml:10000:3: too long to be written by hand; expected at most 10,000 values"
    )


def test_a_long_line_is_shown_in_part() -> None:
    assert problems(f"title: [{'x' * 5000}]\n").splitlines()[1].endswith("xxx…")


def test_a_large_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    file = tmp_path / "big.yaml"
    file.write_text("a: " + "x" * MAX_BYTES)
    with pytest.raises(ProblemsFound, match="is too large; expected at most 256 KB"):
        read(file)


def test_a_file_that_is_not_text_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "binary.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProblemsFound, match="is not text in UTF-8"):
        read(file)


def test_a_missing_file_is_a_problem_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProblemsFound) as found:
        read(tmp_path / "campaigns" / "none.yaml")
    assert str(found.value) == "campaigns/none.yaml: cannot be read: No such file or directory"


SECRETS = re.compile("password", re.IGNORECASE)


@pytest.mark.parametrize(
    "text",
    [
        "password: hunter2\n",
        "title: {password: hunter2}\n",
        "title: {host: x, password: hunter2, port: 5}\n",
        "password:\n  hunter2\n",
        "password: {hunter2: 1}\npieces: x\n",
        "password: [1, hunter2\ntitle: x\n",
        "password: 'hunter2\n",
        "title: {password: @hunter2}\n",
    ],
)
def test_no_problem_shows_the_value_of_a_secret(text: str) -> None:
    said = problems(text, secrets=SECRETS).replace("unknown key `hunter2`", "")
    assert "hunter2" not in said


def test_an_environment_variable_wins_and_is_named_in_its_problems() -> None:
    document = Document("sheet.yaml", "title: x\nrepeat: {after: 1d}\n")
    document.override(("title",), "y", "HOLDFAST_TITLE")
    document.override(("repeat", "after"), "soon", "HOLDFAST_REPEAT__AFTER")
    document.override(("title", "deeper"), "z", "HOLDFAST_TITLE__DEEPER")
    document.into(Sheet)
    assert document.data["title"] == "y"
    assert [str(problem) for problem in document.problems] == [
        "environment variable HOLDFAST_TITLE: `title` is no mapping, but HOLDFAST_TITLE__DEEPER asks for one",
        "environment variable HOLDFAST_REPEAT__AFTER: `after` is not a duration;"
        " expected a number and s, min, h, d or w, like 14d",
    ]


@given(st.text(max_size=200))
def test_any_text_gives_data_or_problems_and_never_another_error(text: str) -> None:
    try:
        document = Document("any.yaml", text)
    except ProblemsFound as error:
        problems, sheet = error.problems, None
    else:
        sheet = document.into(Sheet)
        problems = document.problems
    assert problems or sheet is not None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
        lambda inside: (
            st.lists(inside, max_size=4)
            | st.dictionaries(
                st.sampled_from(["title", "pieces", "repeat", "named", "id", "x"]), inside, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_data_of_any_shape_is_taken_or_every_problem_has_a_place_inside_the_file(data: Any) -> None:
    import json

    text = json.dumps(data, indent=1)
    document = Document("any.yaml", text)
    if document.into(Sheet) is None:
        lines = text.splitlines()
        assert document.problems
        assert all(1 <= problem.line <= len(lines) for problem in document.problems)
        assert all(1 <= problem.column <= len(lines[problem.line - 1]) for problem in document.problems)
