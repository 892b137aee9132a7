"""Every problem in a campaign's templates, before anyone is written to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import PurePosixPath

from holdfast.audience.lifecycle import Stage
from holdfast.audience.people import Person
from holdfast.audience.rules import Rule
from holdfast.campaign.models import Campaign, Post
from holdfast.content.analysis import Analysis, analyse
from holdfast.content.library import ATTACHED_BYTES, Library, RenderedContent, suffixes
from holdfast.content.message import SAMPLE_LINKS, content_of, occasion_of
from holdfast.content.samples import REGULAR, SAMPLE_PEOPLE
from holdfast.content.scope import Occasion, PostScope, Scope
from holdfast.content.skeleton import MJML_TAGS
from holdfast.documents import Document
from holdfast.errors import Problem, RenderError
from holdfast.mistakes import Place, closest
from holdfast.settings import Project
from holdfast.surveys import SCALES

# Why a channel's network would refuse the text of a post, in words; None: it fits.
PostCheck = Callable[[str], str | None]

_NO_WAY_TO_CONFIRM = ("it asks for a confirmation and has no links.confirm", "it in the body")
_NOTHING_TO_CONFIRM = ("links.confirm where nothing is confirmed", "a campaign whose purpose is confirmation")
_NO_WAY_TO_ANSWER = ("it asks a survey and has no links.survey", "it in the body")
_NOTHING_TO_ANSWER = ("links.survey where nothing is asked", "`survey: nps` or `survey: csat` in the step")

_CHOSEN = re.compile(r"\?answer=([^\s\"'<>&]*)")

_VOID = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"})


def lint_templates(
    campaign: Campaign,
    project: Project,
    kinds: Mapping[str, str],
    document: Document | None = None,
    library: Library | None = None,
    post_checks: Mapping[str, PostCheck] | None = None,
) -> list[Problem]:
    """Every problem in the templates of the campaign's steps and variants, sorted.

    `kinds` is the kind of each channel by its name; channels it does not know are passed over. `document` is
    the campaign's file: missing templates are shown at their place in it. Campaigns that share a `library`
    are checked faster. `post_checks` are those of the channels that publish: what fits a post.
    """
    library = library or Library(project.root / "templates", project.brand, project.business)
    sure_of = _sure_of(campaign.audience)
    problems: set[Problem] = set()
    for place, template, channels, occasion in _uses(campaign):
        for kind in sorted({kinds[channel] for channel in channels if channel in kinds}):
            names = library.serving(template, kind)
            if not set(names) & set(library.candidates(template, kind, None)):
                problems.add(_missing(library, template, kind, place, campaign, document))
            for name in names:
                problems.update(_file_problems(library, name, kind, occasion, sure_of))
    problems.update(_attachment_problems(campaign, library, document))
    for place, post, channel in _posts(campaign):
        if channel in kinds:
            names = library.serving(post.template, kinds[channel])
            if not set(names) & set(library.candidates(post.template, kinds[channel], None)):
                problems.add(_missing(library, post.template, kinds[channel], place, campaign, document))
            for name in names:
                check = (post_checks or {}).get(channel)
                problems.update(_post_problems(library, name, occasion_of(campaign, post), check))
    return sorted(problems)


def _uses(campaign: Campaign) -> Iterator[tuple[Place, str, list[str], Occasion]]:
    """(place in the campaign's file, template, channels, occasion) of all that its steps may send."""
    for index, step in enumerate(campaign.steps):
        if isinstance(step, Post):
            continue
        for variant in step.variants or (None,):
            content = content_of(campaign, step, variant)
            own = variant is not None and step.variants[variant].template is not None
            place: Place = (
                ("steps", index, "variants", str(variant), "template")
                if own
                else ("steps", index, "template")
            )
            yield place, content.template, step.channels, content.occasion


def _attachment_problems(
    campaign: Campaign, library: Library, document: Document | None
) -> Iterator[Problem]:
    for index, step in enumerate(campaign.steps):
        if isinstance(step, Post):
            continue
        place: Place = ("steps", index, "attach")
        missing = [name for name in step.attach if name not in library.files.names]
        for name in missing:
            at = (*place, step.attach.index(name))
            what = f"there is no file templates/{name} to attach"
            yield _at(document, campaign, at, what, suggestion=closest(name, library.files.names))
        for name in filter(library.files.leads_out, step.attach):
            at, what = (*place, step.attach.index(name)), f"templates/{name} is a link out of templates/"
            yield _at(document, campaign, at, what, "the file itself")
        size = sum(len(library.files.read(name)) for name in step.attach if name not in missing)
        if size > ATTACHED_BYTES:
            what = f"{size:,} bytes to attach"
            yield _at(
                document, campaign, place, what, f"{ATTACHED_BYTES:,} at most, or a link in the template"
            )


def _at(
    document: Document | None,
    campaign: Campaign,
    place: Place,
    what: str,
    expected: str = "",
    suggestion: str = "",
) -> Problem:
    if document is not None:
        return document.problem(place, what, expected=expected, suggestion=suggestion)
    return Problem(f"campaigns/{campaign.campaign}.yaml", 0, 0, what, expected, suggestion)


def _posts(campaign: Campaign) -> Iterator[tuple[Place, Post, str]]:
    """(place in the campaign's file, post, channel) of all that it publishes."""
    for index, step in enumerate(campaign.steps):
        if isinstance(step, Post):
            for channel in step.post:
                yield ("steps", index, "template"), step, channel


def _sure_of(rule: Rule) -> frozenset[str]:
    """What every customer that the rule selects has, as far as it is plain to see."""
    if rule.all_:
        return frozenset().union(*map(_sure_of, rule.all_))
    bought = (
        rule.orders_first is not None
        or rule.orders_last is not None
        or (rule.orders_count is not None and _is_positive(rule))
        or (rule.lifecycle is not None and _excludes_strangers(rule))
    )
    return frozenset({"history.last_order", "history.orders", "history.average_order"} if bought else ())


def _is_positive(rule: Rule) -> bool:
    count = rule.orders_count
    return count is not None and max(count.eq or 0, count.gte or 0, 1 if count.gt is not None else 0) > 0


def _excludes_strangers(rule: Rule) -> bool:
    stages = rule.lifecycle
    if stages is None:
        return False
    allowed = stages.in_ or ([stages.eq] if stages.eq else None)
    refused = stages.not_in or ([stages.ne] if stages.ne else [])
    return Stage.NEVER_PURCHASED in refused or (allowed is not None and Stage.NEVER_PURCHASED not in allowed)


def _missing(
    library: Library, template: str, kind: str, place: Place, campaign: Campaign, document: Document | None
) -> Problem:
    tried = [f"templates/{name}" for name in library.candidates(template, kind, None)]
    what = f"there is no template {template} for {kind}"
    suggestion = closest(template, _templates(library, kind))
    return _at(document, campaign, place, what, " or ".join(tried), suggestion)


def _templates(library: Library, kind: str) -> list[str]:
    """The names of all templates that have a file for the kind."""
    paths = map(PurePosixPath, library.files.names)
    of_kind = (path for path in paths if path.suffix in suffixes(kind) and f".{kind}" in path.name)
    return sorted({str(path.parent / path.name.split(".")[0]) for path in of_kind})


def _file_problems(
    library: Library, name: str, kind: str, occasion: Occasion, sure_of: frozenset[str]
) -> list[Problem]:
    analysis = _analysis(library, name, sure_of)
    problems = analysis.problems + _block_problems(analysis, name, kind)
    return problems or _sample_problems(library, name, kind, occasion, sure_of)


def _post_problems(library: Library, name: str, occasion: Occasion, check: PostCheck | None) -> list[Problem]:
    if problems := _analysis(library, name, scope=PostScope).problems:
        return problems
    try:
        text = library.render_post_file(library.open(name), occasion)
    except RenderError as error:
        return [_not_rendered(name, error)]
    refusal = check(text) if check else None
    return [_whole(name, refusal)] if refusal else []


@lru_cache(maxsize=1024)
def _analysis(
    library: Library, name: str, sure_of: frozenset[str] = frozenset(), scope: type = Scope
) -> Analysis:
    return analyse(library.environment, name, sure_of, scope)


def _block_problems(analysis: Analysis, name: str, kind: str) -> list[Problem]:
    problems = []
    if kind == "email" and "subject" not in analysis.blocks | analysis.inherited:
        problems.append(_whole(name, "an email without a subject", "{% block subject %}…{% endblock %}"))
    if "body" in analysis.inherited and "body" not in analysis.blocks:
        problems.append(_whole(name, "the layout's body is not filled", "{% block body %}…{% endblock %}"))
    return problems


def _not_rendered(name: str, error: RenderError) -> Problem:
    return _whole(name, str(error).removeprefix(f"templates/{name} cannot be rendered: "))


def _whole(name: str, what: str, expected: str = "") -> Problem:
    return Problem(f"templates/{name}", 0, 0, what, expected)


def _sample_problems(
    library: Library, name: str, kind: str, occasion: Occasion, sure_of: frozenset[str]
) -> list[Problem]:
    """What shows only when the file is rendered, for people who differ in all that templates ask."""
    problems: dict[Problem, None] = {}
    for person in SAMPLE_PEOPLE:
        if sure_of and not person.history.orders:
            person = Person(person.customer, REGULAR.history)
        try:
            file = library.open(name)
            source = library.run(file, person, occasion, SAMPLE_LINKS).source
            rendered = library.render_file(file, person, occasion, SAMPLE_LINKS)
        except RenderError as error:
            problems[_not_rendered(name, error)] = None
            continue
        if PurePosixPath(name).suffix == ".mjml":
            problems |= dict.fromkeys(_tag_problems(library, name, source))
        is_marketing = occasion.campaign.purpose == "marketing"
        if kind == "email" and is_marketing and SAMPLE_LINKS.unsubscribe not in rendered.plain:
            problems[
                _whole(name, "a marketing email without links.unsubscribe", "it in the body or layout")
            ] = None
        asks = occasion.campaign.purpose == "confirmation"
        if asks is not (SAMPLE_LINKS.confirm in rendered.plain):
            problems[_whole(name, *(_NO_WAY_TO_CONFIRM if asks else _NOTHING_TO_CONFIRM))] = None
        problems |= dict.fromkeys(_survey_problems(name, occasion, rendered))
        if kind == "email" and not rendered.subject:
            problems[
                _whole(name, "an email whose subject is empty for some customers", "text for everyone")
            ] = None
    return list(problems)


def _survey_problems(name: str, occasion: Occasion, rendered: RenderedContent) -> Iterator[Problem]:
    skeleton, link = rendered.skeleton, SAMPLE_LINKS.survey
    if (occasion.survey is not None) is not (link in rendered.plain):
        yield _whole(name, *(_NO_WAY_TO_ANSWER if occasion.survey else _NOTHING_TO_ANSWER))
    elif occasion.survey is not None:
        scale = SCALES[occasion.survey]
        behind = [
            *zip(skeleton.html_holes, skeleton.html[1:], strict=True),
            *zip(skeleton.text_holes, skeleton.text[1:], strict=True),
        ]
        chosen = (_CHOSEN.match(text) for hole, text in behind if rendered.plain[hole] == link)
        for answer in dict.fromkeys(found[1] for found in chosen if found):
            if answer not in map(str, scale):
                what = f"links.survey with ?answer={answer}, which {occasion.survey} does not take"
                yield _whole(name, what, f"an answer from {scale[0]} to {scale[-1]}")


def _tag_problems(library: Library, name: str, source: str) -> list[Problem]:
    """MJML forgives a wrong end tag or element, and leaves out or misplaces what is in it. We do not."""
    return [_tag_problem(library, name, *found) for found in _wrong_tags(source)]


@lru_cache(maxsize=256)
def _wrong_tags(source: str) -> list[tuple[str, str, str]]:
    """(where to look for it, what is wrong, did you mean) of each tag that is."""
    checker = _TagChecker()
    checker.feed(source)
    checker.close()
    return checker.found


def _tag_problem(library: Library, name: str, needle: str, what: str, suggestion: str) -> Problem:
    """At the first line that has the tag, in the file or in one that it includes."""
    for file in _analysis(library, name).files:
        for number, line in enumerate(library.files.read(file).decode().splitlines(), 1):
            column = line.find(needle)
            if column >= 0:
                return Problem(f"templates/{file}", number, column + 1, what, "", suggestion, line)
    return _whole(name, what)


class _TagChecker(HTMLParser):
    """Notes unknown MJML elements and the first end tag that closes something else."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self._open: list[str] = []
        self._astray = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag.startswith("mj") and tag not in MJML_TAGS:
            self.found.append((f"<{tag}", f"unknown MJML element <{tag}>", closest(tag, MJML_TAGS)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if self._astray or tag in _VOID:
            return
        expected = self._open.pop() if self._open else None
        if tag != expected:
            self._astray = True  # whatever follows is out of step
            closes = f"where </{expected}> was expected" if expected else "that closes nothing"
            self.found.append((f"</{tag}", f"</{tag}> {closes}", ""))
