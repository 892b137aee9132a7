"""Reading a template without running it: names, types, what may be missing, and which facts it needs.

Every expression gets the type that the scope's annotations say; `Any` where they say nothing, and then
nothing is claimed. Branches of `{% if %}` know what their condition has made sure of.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Union, get_args, get_origin, get_type_hints

from jinja2 import TemplateNotFound, TemplateSyntaxError, nodes

from holdfast.audience.people import ORDERS_SHOWN, Attributes, Money, Needs
from holdfast.content.environment import LINK_FILTER, TemplateEnvironment
from holdfast.content.scope import LATER, VISIBLE_TYPES, Scope, members
from holdfast.errors import Problem
from holdfast.mistakes import closest

Hint = Any  # what typing calls a type: a class, a union, tuple[Line, ...], or Any

_REFUSED: dict[type[nodes.Node], str] = {
    nodes.AssignBlock: "{% set %} with a block",
    nodes.FilterBlock: "{% filter %}",
    nodes.CallBlock: "{% call %}",
    nodes.Macro: "{% macro %}",
    nodes.Import: "{% import %}",
    nodes.FromImport: "{% from … import %}",
}
_FORMATTERS = {"date": (date,), "time": (datetime,), "money": (Money,), "number": (int, float)}
_KEEP_ELEMENTS = frozenset(
    {"list", "sort", "reverse", "unique", "selectattr", "rejectattr", "select", "reject"}
)
_URL_OPENS = re.compile(r"""\b(?:href|action)\s*=\s*(["'])[^"']*$""", re.IGNORECASE)


def is_nullable(hint: Hint) -> bool:
    """The value may be None."""
    return _origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def without_none(hint: Hint) -> Hint:
    """The type of the value where it is there."""
    if not is_nullable(hint):
        return hint
    rest = [part for part in get_args(hint) if part is not type(None)]
    return rest[0] if len(rest) == 1 else Union[tuple(rest)]  # noqa: UP007 - built at run time


def element(hint: Hint) -> Hint:
    """What iterating over it gives."""
    return get_args(hint)[0] if _origin(hint) is tuple else Any


def _origin(hint: Hint) -> Any:
    return get_origin(hint)


@dataclass
class Analysis:
    """What was found in one template file and those it extends and includes.

    `blocks` are the file's own, `inherited` those of the others; `files` are all of them, in reading order.
    """

    problems: list[Problem] = field(default_factory=list)
    needs: Needs = field(default_factory=Needs)
    blocks: set[str] = field(default_factory=set)
    inherited: set[str] = field(default_factory=set)
    files: dict[str, None] = field(default_factory=dict)


def analyse(
    environment: TemplateEnvironment,
    name: str,
    sure_of: frozenset[str] = frozenset(),
    scope: type = Scope,
) -> Analysis:
    """Reads the file `name` (a path under the templates' folder), for what is in `scope`.

    `sure_of` are paths like `history.last_order` that every customer of the audience has. Raises
    TemplateNotFound when there is no such file.
    """
    reader = _Reader(environment, dict(get_type_hints(scope)), set(sure_of))
    reader.read(name)
    return reader.found


class _Reader:
    def __init__(self, environment: TemplateEnvironment, names: dict[str, Hint], sure_of: set[str]) -> None:
        self.found = Analysis()
        self._environment = environment
        self._names = names
        self._sure_of = sure_of
        self._file = ""
        self._lines: list[str] = []
        self._in_url = False
        self._reading: list[str] = []

    def read(self, name: str) -> None:
        """One file; problems and needs are added to what was found."""
        before = self._file, self._lines
        content = self._environment.files.read(name)
        self.found.files[name] = None
        self._reading.append(name)
        self._file, self._lines = name, []
        try:
            source = content.decode()
            self._lines = source.splitlines()
            self._statements(self._environment.parse(source).body)
        except UnicodeDecodeError:
            self._problem(0, "", "not UTF-8 text")
        except TemplateSyntaxError as error:
            self._problem(error.lineno, "", (error.message or "syntax error").rstrip("."))
        self._reading.pop()
        self._file, self._lines = before

    # --- statements -------------------------------------------------------------------------------

    def _statements(self, body: list[nodes.Node]) -> None:
        for node in body:
            self._statement(node)

    def _statement(self, node: nodes.Node) -> None:
        match node:
            case nodes.Output():
                for part in node.nodes:
                    self._output(part)
            case nodes.If():
                self._if(node)
            case nodes.For():
                kind = element(self._value(node.iter, "loop over it"))
                with self._scope():
                    self._bind(node.target, kind)
                    self._names["loop"] = Any
                    if node.test:
                        self._type(node.test)
                    self._statements(node.body)
                self._statements(node.else_)
            case nodes.Assign():
                self._bind(node.target, self._type(node.node))
            case nodes.With():
                with self._scope():
                    for target, value in zip(node.targets, node.values, strict=True):
                        self._bind(target, self._type(value))
                    self._statements(node.body)
            case nodes.Block():
                (self.found.blocks if len(self._reading) == 1 else self.found.inherited).add(node.name)
                with self._scope():
                    self._statements(node.body)
            case nodes.Extends() | nodes.Include():
                self._other_file(node)
            case _ if type(node) in _REFUSED:
                construct = _REFUSED[type(node)]
                self._problem(
                    node.lineno,
                    construct.split()[1],
                    f"{construct} is not supported: it would work on placeholders",
                    expected="{% if %}, {% for %}, {% include %}, filters or {% set name = … %}",
                )
            case _:
                self._problem(node.lineno, "", f"{type(node).__name__.lower()} is not supported here")

    def _if(self, node: nodes.If) -> None:
        otherwise: set[str] = set()
        for branch in (node, *node.elif_):
            with self._scope(otherwise):
                self._type(branch.test)
                yes, no = self._sure(branch.test)
            with self._scope(otherwise | yes):
                self._statements(branch.body)
            otherwise |= no
        with self._scope(otherwise):
            self._statements(node.else_)

    def _other_file(self, node: nodes.Extends | nodes.Include) -> None:
        verb = "extends" if isinstance(node, nodes.Extends) else "include"
        if not isinstance(node.template, nodes.Const) or not isinstance(node.template.value, str):
            self._problem(
                node.lineno, verb, f"{{% {verb} %}} with a computed name", expected="a file's name in quotes"
            )
            return
        name = node.template.value
        if name in self._reading:
            self._problem(node.lineno, name, f"templates/{name} comes back to itself through {{% {verb} %}}")
            return
        try:
            with self._scope():
                self.read(name)
        except TemplateNotFound:
            near = closest(name, sorted(self._environment.files.names))
            self._problem(node.lineno, name, f"no file templates/{name}", suggestion=near)

    def _output(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.TemplateData):
            if _URL_OPENS.search(node.data):
                self._in_url = True
            elif '"' in node.data or "'" in node.data:
                self._in_url = False
            return
        if _is_captured(node):
            return
        hint = self._value(node, "print it")
        path = _path(node) or "this value"
        for name, kinds in _FORMATTERS.items():
            if name != "number" and isinstance(hint, type) and issubclass(hint, kinds):
                self._problem(
                    node.lineno, path, f"{path} is printed without a filter", expected=f"`| {name}` after it"
                )
                return
        if hint in VISIBLE_TYPES or _origin(hint) is tuple:
            self._problem(node.lineno, path, f"{path} has parts; it cannot be printed as a whole")
        if self._in_url and not _is_link(node):
            self._problem(
                node.lineno,
                "{{",
                "a computed address in a link",
                expected=f"the whole address in one expression, with `| {LINK_FILTER}` at its end",
            )

    def _bind(self, target: nodes.Node, hint: Hint) -> None:
        if isinstance(target, nodes.Name):
            self._names[target.name] = hint
            self._sure_of = {path for path in self._sure_of if path.split(".")[0] != target.name}
        else:
            for name in target.find_all(nodes.Name):
                self._names[name.name] = Any

    @contextmanager
    def _scope(self, sure_of: set[str] | None = None) -> Iterator[None]:
        names, sure = self._names, self._sure_of
        self._names, self._sure_of = dict(names), sure | (sure_of or set())
        yield
        self._names, self._sure_of = names, sure

    # --- expressions ------------------------------------------------------------------------------

    def _value(self, node: nodes.Node, use: str) -> Hint:
        """The type of an expression that must be there to be used so."""
        hint = self._type(node)
        path = _path(node)
        if not is_nullable(hint):
            return hint
        shown = path or _path(_innermost(node)) or "this value"
        wanted = f"`{{% if {shown} %}}` around it" if path and use != "print it" else None
        self._problem(
            node.lineno,
            shown,
            f"{shown} may be missing",
            expected=wanted or f'`| or_("…")` after it, or `{{% if {shown} %}}` around it',
        )
        return without_none(hint)

    def _type(self, node: nodes.Node) -> Hint:
        match node:
            case nodes.Const():
                return type(node.value)
            case nodes.Name():
                return self._known(node, self._name(node))
            case nodes.Getattr():
                return self._known(node, self._attribute(node))
            case nodes.Getitem():
                return self._known(node, self._item(node))
            case nodes.Filter():
                return self._filter(node)
            case nodes.Call():
                return self._call(node)
            case nodes.CondExpr():
                return self._conditional(node)
            case nodes.And():
                self._type(node.left)
                with self._scope(self._sure(node.left)[0]):
                    self._type(node.right)
                return Any
            case nodes.Or():
                self._type(node.left)
                with self._scope(self._sure(node.left)[1]):
                    self._type(node.right)
                return Any
            case nodes.Test():
                if node.name not in self._environment.tests:
                    self._problem(node.lineno, node.name, f"unknown test {node.name!r}")
                if node.node:
                    self._type(node.node)
                return bool
            case nodes.Compare():
                ordered = any(operand.op not in ("eq", "ne", "in", "notin") for operand in node.ops)
                read: Callable[[nodes.Node], Hint] = self._compared if ordered else self._type
                for part in (node.expr, *(operand.expr for operand in node.ops)):
                    read(part)
                return bool
            case nodes.Concat():
                for part in node.nodes:
                    self._value(part, "print it")
                return str
            case nodes.Not():
                self._type(node.node)
                return bool
            case nodes.BinExpr():
                self._value(node.left, "compute with it")
                self._value(node.right, "compute with it")
                return Any
            case _:
                for child in node.iter_child_nodes():
                    self._type(child)
                return Any

    def _compared(self, node: nodes.Node) -> Hint:
        return self._value(node, "compare it")

    def _known(self, node: nodes.Node, hint: Hint) -> Hint:
        """The type, knowing what the branch is sure of."""
        return without_none(hint) if _path(node) in self._sure_of else hint

    def _name(self, node: nodes.Name) -> Hint:
        name = node.name
        if name in self._names:
            return self._names[name]
        if name in LATER:
            self._problem(node.lineno, name, f"{name} is not supported yet")
        elif name in Scope.__annotations__:
            self._problem(node.lineno, name, f"a post has no {name}: it is written to nobody in particular")
        elif name not in ("self", "range"):
            self._problem(
                node.lineno,
                name,
                f"unknown name {name!r}",
                expected=f"one of {', '.join(sorted(self._names))}",
                suggestion=closest(name, self._names),
            )
        return Any

    def _attribute(self, node: nodes.Getattr) -> Hint:
        owner, name = self._value(node.node, "look into it"), node.attr
        path = _path(node) or name
        self._note_need(owner, name)
        if owner is Attributes:
            return Any | None
        if owner not in VISIBLE_TYPES:
            if owner is not Any:
                self._problem(node.lineno, path, f"{_path(node.node) or 'this value'} has no {name!r}")
            return Any
        known = members(owner)
        if name in known:
            return known[name]
        if path in LATER:
            self._problem(node.lineno, path, f"{path} is not supported yet")
            return Any
        self._problem(
            node.lineno,
            path,
            f"{_path(node.node) or 'this value'} has no {name!r}",
            expected=f"one of {', '.join(sorted(known))}",
            suggestion=closest(name, known),
        )
        return Any

    def _item(self, node: nodes.Getitem) -> Hint:
        owner = self._value(node.node, "look into it")
        if isinstance(node.arg, nodes.Slice):
            return owner
        self._type(node.arg)
        if owner is Attributes:
            return Any | None
        if _origin(owner) is tuple:
            return element(owner) if _path(node.node) in self._sure_of else element(owner) | None
        return Any

    def _filter(self, node: nodes.Filter) -> Hint:
        name = node.name
        if name not in self._environment.filters:
            self._problem(
                node.lineno,
                name,
                f"unknown filter {name!r}",
                suggestion=closest(name, self._environment.filters),
            )
            return Any
        for argument in (*node.args, *(pair.value for pair in node.kwargs)):
            self._type(argument)
        if node.node is None:
            return Any
        if name in _FORMATTERS:
            return self._formatted(node, _FORMATTERS[name])
        if name == "or_":
            return without_none(self._type(node.node))
        hint = self._value(node.node, "filter it")
        if _origin(hint) is tuple:
            self.found.needs |= Needs(lines=True)  # a filter may look into the orders it is given
            if name in _KEEP_ELEMENTS:
                return hint
            if name in ("first", "last"):
                return element(hint) | None
        return int if name in ("length", "count") else Any

    def _formatted(self, node: nodes.Filter, kinds: tuple[type, ...]) -> Hint:
        assert node.node is not None  # noqa: S101 - for the types; `_filter` looked
        hint = self._type(node.node)
        kind = without_none(hint)
        if isinstance(kind, type) and kind is not Any and not issubclass(kind, kinds):
            path = _path(node.node) or "this value"
            self._problem(node.lineno, path, f"{path} cannot be printed with `| {node.name}`")
        return str | None if is_nullable(hint) else str

    def _call(self, node: nodes.Call) -> Hint:
        if _is_captured(node):
            name = "super" if isinstance(node.node, nodes.Name) else "self"
            self._problem(node.lineno, name, "a block can only be printed as it is: it holds placeholders")
            return Any
        if isinstance(node.node, nodes.Name) and node.node.name == "range":
            for argument in node.args:
                self._type(argument)
            return Any
        path = _path(node.node) or "this value"
        self._problem(node.lineno, path, f"{path} is called", expected="a filter: templates call nothing")
        return Any

    def _conditional(self, node: nodes.CondExpr) -> Hint:
        self._type(node.test)
        yes, no = self._sure(node.test)
        with self._scope(yes):
            first = self._type(node.expr1)
        if node.expr2 is None:
            self._problem(node.lineno, "if", "an inline if without else", expected='`… else ""`')
            return first
        with self._scope(no):
            second = self._type(node.expr2)
        hint = without_none(first) if without_none(first) == without_none(second) else Any
        return hint | None if is_nullable(first) or is_nullable(second) else hint

    def _sure(self, test: nodes.Node) -> tuple[set[str], set[str]]:
        """The paths that are certainly there when the test holds, and when it does not."""
        match test:
            case nodes.Name() | nodes.Getattr() | nodes.Getitem():
                path = _path(test)
                return ({path} if path else set()), set()
            case nodes.Not():
                yes, no = self._sure(test.node)
                return no, yes
            case nodes.And():
                return self._sure(test.left)[0] | self._sure(test.right)[0], set()
            case nodes.Or():
                return set(), self._sure(test.left)[1] | self._sure(test.right)[1]
            case nodes.Test(name="none"):
                path = _path(test.node) if test.node else None
                return set(), ({path} if path else set())
            case _:
                return set(), set()

    # --- what is found ----------------------------------------------------------------------------

    def _note_need(self, owner: Hint, name: str) -> None:
        match name:
            case "last_order":
                self.found.needs |= Needs(orders=1)
            case "orders":
                self.found.needs |= Needs(orders=ORDERS_SHOWN)
            case "lines":
                self.found.needs |= Needs(lines=True)
            case "favourite_category" | "recommended":
                self.found.needs |= Needs(favourites=True)

    def _problem(self, line: int, needle: str, what: str, expected: str = "", suggestion: str = "") -> None:
        # Jinja knows lines only, and a statement over several lines by its first.
        shown = self._lines[line - 1] if 0 < line <= len(self._lines) else ""
        column = max(shown.find(needle), 0) if needle else len(shown) - len(shown.lstrip())
        problem = Problem(f"templates/{self._file}", line, column + 1, what, expected, suggestion, shown)
        if problem not in self.found.problems:
            self.found.problems.append(problem)


def _path(node: nodes.Node | None) -> str | None:
    """`history.last_order.total`, for chains of names that a template can test and read again."""
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            owner = _path(node.node)
            return f"{owner}.{node.attr}" if owner else None
        case nodes.Getitem(arg=nodes.Const()):
            owner = _path(node.node)
            return f"{owner}[{node.arg.value!r}]" if owner else None  # type: ignore[attr-defined]
        case _:
            return None


def _innermost(node: nodes.Node) -> nodes.Node | None:
    while isinstance(node, nodes.Filter) and node.node is not None:
        node = node.node
    return node


def _is_captured(node: nodes.Node) -> bool:
    """`super()` or `self.name()`: markup with placeholders, that can only be printed."""
    if not isinstance(node, nodes.Call):
        return False
    called = node.node
    if isinstance(called, nodes.Getattr):
        called = called.node
        return isinstance(called, nodes.Name) and called.name == "self"
    return isinstance(called, nodes.Name) and called.name == "super"


def _is_link(node: nodes.Node) -> bool:
    path = _path(node) or ""
    return (isinstance(node, nodes.Filter) and node.name == LINK_FILTER) or path.startswith("links.")
