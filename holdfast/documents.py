"""YAML files that people write: from text to a model, or every problem at once, each with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from holdfast.errors import Problem, ProblemsFound
from holdfast.mistakes import Place, children, mistakes

MAX_BYTES = 256 * 1024
MAX_DEPTH = 40
MAX_VALUES = 10_000
MAX_SHOWN = 200

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)

# What ruamel says of text that is not YAML, and the same in words that name the usual cause.
_SYNTAX = (
    (
        "mapping values are not allowed here",
        "a ':' where no key can be",
        "quotes around text that holds ': '",
    ),
    ("found character '\\t'", "a tab", "spaces for indentation"),
    ("cannot start any token", "a character that no value can start with", "quotes around the text"),
    ("found undefined alias", "an alias without its anchor", "the anchor (&name) before the alias (*name)"),
    ("found another document", "a second document", "one document in a file"),
    ("unexpected end of stream", "the file ends inside quotes", "a closing quote"),
    ("too many values", "too long to be written by hand", f"at most {MAX_VALUES:,} values"),
    ("maximum depth", "nested too deep", f"at most {MAX_DEPTH} levels"),
)

_CORE = "tag:yaml.org,2002:"
_CONSTRUCT: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": lambda text: text.lower() == "true",
    "int": lambda text: int(text, 0),
    "float": float,
    "str": str,
    "timestamp": str,
}


class _Composer(Composer):
    """Gives up on too many values while it reads them: parsing takes a tenth of a millisecond for each."""

    values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise ComposerError(None, None, "too many values", self.parser.peek_event().start_mark)
        return super().compose_node(parent, index)


def shown(path: Path) -> str:
    """A file's name for messages: as seen from the working directory, where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def read(path: Path, *, secrets: re.Pattern[str] | None = None) -> Document:
    """The file's document. Raises ProblemsFound where it cannot be read, is not YAML or is too large."""
    file = shown(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ProblemsFound([Problem(file, 0, 0, f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ProblemsFound([Problem(file, 0, 0, "is not text in UTF-8")]) from None
    if len(content) > MAX_BYTES:
        raise ProblemsFound([Problem(file, 0, 0, "is too large", expected=f"at most {MAX_BYTES // 1024} KB")])
    return Document(file, text, secrets=secrets)


class Document:
    """One file's data with the place of every key and value, and the problems found in it so far.

    `data` holds plain dict, list, str, int, float, bool and None; an empty file is an empty dict.
    """

    def __init__(self, file: str, text: str, *, secrets: re.Pattern[str] | None = None) -> None:
        """Reads the text. Raises ProblemsFound where it is not YAML or blows up.

        `secrets` finds the keys whose values no problem may show.
        """
        self.file = file
        self.text = text
        self.problems: list[Problem] = []
        self._secrets = secrets
        self._lines = text.splitlines()
        self._keys: dict[Place, tuple[int, int]] = {}
        self._values: dict[Place, tuple[int, int]] = {(): (1, 1)}
        self._variables: dict[Place, str] = {}
        # Values that have their problem already; what a model says of them is no news.
        self._spoilt: set[Place] = set()
        node = self._compose(text)
        self.data: Any = {} if node is None else self._build(node, ())

    def at(self, place: Place) -> Any:
        """The value at this place. Raises LookupError where there is none."""
        value = self.data
        for part in place:
            value = value[part]
        return value

    def find(self, pattern: str) -> Iterator[tuple[Place, Any]]:
        """Places and values that match a pattern like `steps.*.channels.*`; `*` is any key or index."""
        found: list[tuple[Place, Any]] = [((), self.data)]
        for part in pattern.split("."):
            found = [
                ((*place, key), child)
                for place, value in found
                for key, child in children(value)
                if part in ("*", key)
            ]
        return iter(found)

    def problem(
        self, place: Place, what: str, *, expected: str = "", suggestion: str = "", at_key: bool = False
    ) -> Problem:
        """A problem with the value at this place, or with its key; nothing there: with what holds it."""
        for origin, variable in self._variables.items():
            if place[: len(origin)] == origin:
                return Problem(f"environment variable {variable}", 0, 0, what, expected, suggestion)
        positions = self._keys if at_key else self._values
        at = place
        while at not in positions:
            positions, at = self._values, at[:-1]
        line, column = positions[at]
        if not at:
            return Problem(self.file, line, column, what, expected, suggestion)
        hidden = self._secrets is not None and any(self._secrets.search(str(part)) for part in place)
        return self._problem_at(line, column, what, expected, suggestion, hidden=hidden)

    def is_overridden(self, place: Place) -> bool:
        """Whether the value at this place comes from an environment variable."""
        return place in self._variables

    def override(self, place: Place, value: str, variable: str) -> None:
        """Puts the value of an environment variable over what the file says."""
        holder = self.data
        for depth, part in enumerate(place[:-1], start=1):
            holder = holder.setdefault(part, {})
            if not isinstance(holder, dict):
                what = f"`{part}` is no mapping, but {variable} asks for one"
                self.problems.append(self.problem(place[:depth], what))
                return
        holder[place[-1]] = value
        self._variables[place] = variable

    def into(
        self, model: type[Model], later: Mapping[Place, str] | None = None, *, excuse: Iterable[Place] = ()
    ) -> Model | None:
        """The data as a model, or None, with the reasons added to `problems`.

        `later` has the places of keys that a later version will take, and what they will be for; `excuse`
        has places of which all is said.
        """
        later = later or {}
        self.problems += [
            self.problem(place, f"`{place[-1]}` is not supported yet: {purpose}", at_key=True)
            for place, purpose in later.items()
        ]
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            self.problems += self.explain(error, model, excuse=[*later, *excuse])
            return None

    def explain(
        self, error: ValidationError, model: type[BaseModel], *, at: Place = (), excuse: Iterable[Place] = ()
    ) -> list[Problem]:
        """What the model refused of the data at this place, except at the excused places and inside them."""
        excused = self._spoilt.union(excuse)
        return [
            self.problem(
                mistake.place,
                mistake.what,
                expected=mistake.expected,
                suggestion=mistake.suggestion,
                at_key=mistake.at_key,
            )
            for mistake in mistakes(error, model, self.at(at), at)
            if excused.isdisjoint(mistake.place[:end] for end in range(len(mistake.place) + 1))
        ]

    def require(self, value: T | None) -> T:
        """What `into` made of the document. Raises ProblemsFound if anything at all is wrong with it."""
        if value is None or self.problems:
            raise ProblemsFound(self.problems)
        return value

    # --- from text to nodes to data -----------------------------------------------------------------

    def _compose(self, text: str) -> Node | None:
        yaml = YAML(typ="safe", pure=True)
        yaml.Composer = _Composer
        yaml.max_depth = MAX_DEPTH
        yaml.composer.warn_double_anchors = False
        try:
            node: Node | None = yaml.compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = str(error.problem)
            known = ((cause, remedy) for words, cause, remedy in _SYNTAX if words in said)
            what, expected = next(known, (f"not YAML: {said}", ""))
            raise ProblemsFound([self._problem_at(mark.line + 1, mark.column + 1, what, expected)]) from None
        except ReaderError as error:
            before = text[: error.position]
            line, column = before.count("\n") + 1, error.position - before.rfind("\n")
            raise ProblemsFound(
                [self._problem_at(line, column, "a control character", "plain text")]
            ) from None
        except YAMLError:
            raise ProblemsFound([Problem(self.file, 0, 0, "not YAML")]) from None
        return node

    def _build(self, node: Node, place: Place) -> Any:
        position = (node.start_mark.line + 1, node.start_mark.column + 1)
        if len(place) > MAX_DEPTH or len(self._values) > MAX_VALUES:
            limit = f"at most {MAX_DEPTH} levels and {MAX_VALUES:,} values, aliases included"
            raise ProblemsFound([self._problem_at(*position, "the file unfolds to too much", limit)])
        self._values[place] = position
        tag = str(node.tag or "")
        if not tag.startswith(_CORE):
            return self._spoil(place, position, f"the tag {tag} is not allowed")
        if isinstance(node, SequenceNode):
            return [self._build(child, (*place, index)) for index, child in enumerate(node.value)]
        if isinstance(node, MappingNode):
            return self._build_mapping(node, place)
        return self._build_scalar(node, tag.removeprefix(_CORE), place, position)

    def _build_mapping(self, node: MappingNode, place: Place) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            position = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            key = key_node.value
            if str(key_node.tag) == f"{_CORE}merge":
                self._found(position, "merge keys are not supported", "the keys themselves")
            elif not isinstance(key_node, ScalarNode) or str(key_node.tag) != f"{_CORE}str":
                self._found(position, "a key that is not text", "quotes around the key")
            elif key in mapping:
                first, _ = self._keys[*place, key]
                self._found(position, f"`{key}` is here twice; line {first} has it already")
            else:
                self._keys[*place, key] = position
                mapping[key] = self._build(value_node, (*place, key))
                if mapping[key] is None and (*place, key) not in self._spoilt:
                    self._spoil((*place, key), position, f"`{key}` is empty", "a value, or the key left out")
        return mapping

    def _build_scalar(self, node: Node, kind: str, place: Place, position: tuple[int, int]) -> Any:
        construct = _CONSTRUCT.get(kind)
        if construct is None:
            return self._spoil(place, position, f"the tag !!{kind} is not allowed")
        try:
            return construct(node.value)
        except ValueError:
            what = "a number written in a way that can be misread"
            return self._spoil(place, position, what, "quotes around it, if it is text")

    def _spoil(self, place: Place, position: tuple[int, int], what: str, expected: str = "") -> None:
        self._spoilt.add(place)
        self._found(position, what, expected)

    def _found(self, position: tuple[int, int], what: str, expected: str = "") -> None:
        self.problems.append(self._problem_at(*position, what, expected))

    def _problem_at(
        self,
        line: int,
        column: int,
        what: str,
        expected: str = "",
        suggestion: str = "",
        *,
        hidden: bool = False,
    ) -> Problem:
        source = self._lines[line - 1] if line <= len(self._lines) and column <= MAX_SHOWN else ""
        secret = self._secrets.search(source) if self._secrets else None
        ends = [column - 1] * hidden + ([source.find(":", secret.end()) + 1] if secret else [])
        if ends:
            source = source[: min(ends)] + " …"
        elif len(source) > MAX_SHOWN:
            source = source[:MAX_SHOWN] + "…"
        return Problem(self.file, line, column, what, expected, suggestion, source)
