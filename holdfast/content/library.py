"""A project's templates: choosing the file for a customer, and rendering it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from mimetypes import MimeTypes
from pathlib import Path, PurePosixPath

from jinja2 import Template, TemplateError, UndefinedError
from jinja2.exceptions import SecurityError
from markupsafe import escape

from holdfast.audience.people import Needs, Person, clean
from holdfast.channel import Attachment, Skeleton
from holdfast.content.analysis import Analysis, analyse
from holdfast.content.environment import FORMATS, TRACKED, VALUES, TemplateEnvironment
from holdfast.content.formats import Formats, direction, known_locale, known_zone
from holdfast.content.scope import BrandScope, Links, MessageScope, Occasion, PostScope, Scope
from holdfast.content.skeleton import build_skeleton
from holdfast.content.tracking import Tracking
from holdfast.errors import RenderError
from holdfast.settings import Brand, Business

# One way through a template is one skeleton of some 20 KB; a template whose ways are endless must not
# grow without end.
_SKELETONS_KEPT = 1024
_SUBJECT_LENGTH = 250
# Of all files that go along with a message. Encoded they are a third larger, and many servers take 20 MB.
ATTACHED_BYTES = 10_000_000
# Not by the tables of the machine, which differ.
_MEDIA_TYPES = MimeTypes()
_SUFFIXES = {"email": (".mjml", ".html")}


def suffixes(kind: str) -> tuple[str, ...]:
    """The file endings that templates of a channel's kind may have."""
    return _SUFFIXES.get(kind, (".txt",))


def locale_chain(locale: str | None) -> Iterator[str]:
    """From the best to none: `ar_EG` gives `ar-EG`, `ar`, and the empty text for the default file."""
    known = known_locale(locale) if locale else None
    parts = known.split("_") if known else []
    for length in range(len(parts), 0, -1):
        yield "-".join(parts[:length])
    yield ""


@dataclass(frozen=True, slots=True)
class RenderedContent:
    """One customer's content: the subject (empty for kinds without one), and a skeleton with its values."""

    subject: str
    skeleton: Skeleton
    escaped: tuple[str, ...]
    plain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """One file, compiled: `name` is its path under templates/, `locale` the one it is written in."""

    name: str
    locale: str
    template: Template
    message: MessageScope
    skeleton: Callable[[str, str | None, Tracking | None], Skeleton]


@dataclass(frozen=True, slots=True)
class TemplateOutput:
    """What a template printed for one customer: the subject whole, the rest with placeholders."""

    subject: str
    source: str
    text: str | None
    values: list[str]


class Library:
    """The templates under one folder, as they were when first read. Safe to share between threads."""

    def __init__(
        self, root: Path, brand: Brand, business: Business, tracking: Tracking | None = None
    ) -> None:
        self._tracking = tracking
        self.environment = TemplateEnvironment(root)
        self.files = self.environment.files
        self.business = business
        self._brand = BrandScope.of(brand)
        # Cached as bound functions, so that the caches live and die with the library.
        self.choose = lru_cache(maxsize=4096)(self._choose)
        self.open = lru_cache(maxsize=None)(self._open_file)
        self._analysis = lru_cache(maxsize=None)(self._analyse)
        self._formats = lru_cache(maxsize=4096)(self._formats_for)
        self.attachments = lru_cache(maxsize=None)(self._attachments)

    @cached_property
    def languages(self) -> frozenset[str]:
        """The languages that any of the templates is written in, as files are named by them."""
        own = (PurePosixPath(name).name.split(".")[2:-1] for name in self.files.names)
        tags = {known_locale(found[0]) for found in own if found} | {known_locale(self.business.locale)}
        return frozenset(tag.replace("_", "-") for tag in tags if tag)

    def candidates(self, template: str, kind: str, locale: str | None) -> Iterator[str]:
        """The files that may serve, best first, as paths under the folder."""
        for tag in locale_chain(locale):
            for suffix in suffixes(kind):
                yield f"{template}.{kind}{'.' + tag if tag else ''}{suffix}"

    def serving(self, template: str, kind: str) -> list[str]:
        """All files of the template for the kind, in every locale, as paths under the folder, sorted."""
        endings = "|".join(map(re.escape, suffixes(kind)))
        name = re.compile(rf"{re.escape(f'{template}.{kind}')}(\.[\w-]+)?({endings})")
        return sorted(filter(name.fullmatch, self.files.names))

    def needs(self, template: str, kind: str) -> Needs:
        """Which facts about customers the template's files for the kind read."""
        return self._analysis(template, kind)[0]

    def sources(self, template: str, kind: str) -> list[str]:
        """All files that the template's output depends on, layouts and includes too, sorted."""
        return self._analysis(template, kind)[1]

    def _analyse(self, template: str, kind: str) -> tuple[Needs, list[str]]:
        found: list[Analysis] = [analyse(self.environment, name) for name in self.serving(template, kind)]
        needs = Needs()
        for analysis in found:
            needs |= analysis.needs
        return needs, sorted({name for analysis in found for name in analysis.files})

    def _choose(self, template: str, kind: str, locale: str | None) -> TemplateFile:
        """The file that serves a customer of this locale best. Raises RenderError when there is none."""
        for name in self.candidates(template, kind, locale):
            if name in self.files.names:
                return self.open(name)
        raise RenderError(
            f"no template {template} for {kind} and locale {locale or 'none'}",
            hint=f"add templates/{template}.{kind}{suffixes(kind)[0]}",
        )

    def _open_file(self, name: str) -> TemplateFile:
        path = PurePosixPath(name)
        tags = path.name.split(".")[2:-1]
        own = known_locale(tags[0]) if tags else None
        locale = own or known_locale(self.business.locale) or "en"
        try:
            template = self.environment.get_template(name)
        except (TemplateError, UnicodeDecodeError) as error:
            reason = error if isinstance(error, TemplateError) else "not UTF-8 text"
            raise RenderError(
                f"templates/{name} cannot be read: {reason}", hint="run `holdfast validate`"
            ) from None
        return TemplateFile(
            name,
            locale,
            template,
            MessageScope.of(locale, direction(locale)),
            lru_cache(maxsize=_SKELETONS_KEPT)(
                lambda source, text, tracking: build_skeleton(path.suffix, source, text, tracking)
            ),
        )

    def render(
        self, template: str, kind: str, person: Person, occasion: Occasion, links: Links, token: str = ""
    ) -> RenderedContent:
        """One customer's content. Raises RenderError, which names the file and line, never the customer.

        `token` is the message's track token; without one no link is tracked.
        """
        file = self.choose(template, kind, person.customer.locale)
        return self.render_file(file, person, occasion, links, token)

    def render_file(
        self, file: TemplateFile, person: Person, occasion: Occasion, links: Links, token: str = ""
    ) -> RenderedContent:
        """One customer's content from this file, whatever their locale. Raises RenderError."""
        output = self.run(file, person, occasion, links, token)
        try:
            skeleton = file.skeleton(output.source, output.text, self._tracking if token else None)
        except RenderError as error:
            raise self._placed(file, error) from None
        escaped = escape_all(output.values) if skeleton.html_holes else ()
        return RenderedContent(_one_line(output.subject), skeleton, escaped, tuple(output.values))

    def run(
        self, file: TemplateFile, person: Person, occasion: Occasion, links: Links, token: str = ""
    ) -> TemplateOutput:
        """What the template itself prints for a customer, before MJML. Raises RenderError."""
        values: list[str] = [token]
        tracking = self._tracking if token else None
        context = file.template.new_context(
            {
                **self._scope(file, person, occasion, links),
                VALUES: values,
                FORMATS: self._formats(person.customer.locale, person.customer.timezone, file.locale),
                TRACKED: tracking and (lambda url: tracking.url(url, token)),
            }
        )
        try:
            # Rendering the root makes the blocks of the whole `extends` chain known.
            source = "".join(file.template.root_render_func(context))
            blocks = context.blocks
            text = "".join(blocks["text"][0](context)) if "text" in blocks else None
            context.parent[VALUES] = None
            subject = "".join(blocks["subject"][0](context)) if "subject" in blocks else ""
        except Exception as error:
            raise self._placed(file, error) from None
        return TemplateOutput(subject, source, text, values)

    def _attachments(self, names: tuple[str, ...]) -> tuple[Attachment, ...]:
        """The files of these paths under the folder. Raises RenderError for one that is not there, and when
        they are too large together."""
        if missing := sorted(set(names) - self.files.names):
            raise RenderError(
                f"there is no file templates/{missing[0]} to attach", hint="run `holdfast validate`"
            )
        if outside := [name for name in names if self.files.leads_out(name)]:
            raise RenderError(
                f"templates/{outside[0]} is a link out of templates/", hint="put the file itself there"
            )
        files = tuple(map(self._attachment, names))
        if (size := sum(len(file.content) for file in files)) > ATTACHED_BYTES:
            raise RenderError(
                f"{size:,} bytes to attach; at most {ATTACHED_BYTES:,} go along with a message",
                hint="put a link to them into the template",
            )
        return files

    def _attachment(self, name: str) -> Attachment:
        media_type, encoding = _MEDIA_TYPES.guess_type(name)
        return Attachment(
            PurePosixPath(name).name,
            media_type if media_type and not encoding else "application/octet-stream",
            self.files.read(name),
        )

    def render_post(self, template: str, kind: str, occasion: Occasion) -> str:
        """The text of a post, in the business's own language if there is such a file. Raises RenderError."""
        return self.render_post_file(self.choose(template, kind, self.business.locale), occasion)

    def render_post_file(self, file: TemplateFile, occasion: Occasion) -> str:
        """The text of a post from this file. Raises RenderError."""
        formats = self._formats(None, None, file.locale)
        scope = self._post_scope(file, occasion)
        context = file.template.new_context({**scope, VALUES: None, FORMATS: formats, TRACKED: None})
        try:
            return "".join(file.template.root_render_func(context)).strip()
        except Exception as error:
            raise self._placed(file, error) from None

    def _placed(self, file: TemplateFile, error: Exception) -> RenderError:
        """As a RenderError with its place. Only texts that cannot hold a customer's data are passed on."""
        place = f"templates/{file.name}"
        for frame, number in traceback.walk_tb(error.__traceback__):
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(self.files.root):  # the template's own code, with Jinja's line numbers
                name = path.relative_to(self.files.root).as_posix()
                line = self.environment.get_template(name).get_corresponding_lineno(number)
                place = f"templates/{name}:{line}"
        known = isinstance(error, (RenderError, UndefinedError, SecurityError))
        reason = str(error) if known else f"a {type(error).__name__}"
        return RenderError(f"{place} cannot be rendered: {reason}", hint="run `holdfast validate`")

    def _scope(self, file: TemplateFile, person: Person, occasion: Occasion, links: Links) -> Scope:
        return {
            **self._post_scope(file, occasion),
            "customer": person.customer,
            "history": person.history,
            "variant": occasion.variant,
            "links": links,
        }

    def _post_scope(self, file: TemplateFile, occasion: Occasion) -> PostScope:
        return {
            "campaign": occasion.campaign,
            "step": occasion.step,
            "coupon": occasion.coupon,
            "brand": self._brand,
            "message": file.message,
        }

    def _formats_for(self, customer_locale: str | None, zone: str | None, file_locale: str) -> Formats:
        """The customer's own, where they fit the text around: no German dates in an English letter."""
        theirs = known_locale(customer_locale) if customer_locale else None
        fits = theirs is not None and theirs.split("_")[0] == file_locale.split("_")[0]
        return Formats(theirs if fits and theirs else file_locale, known_zone(zone, self.business.timezone))


def escape_all(values: list[str]) -> tuple[str, ...]:
    """Each value for HTML. One call for all, unless one holds the separator: much faster."""
    escaped = str(escape("\0".join(values))).split("\0")
    return tuple(escaped) if len(escaped) == len(values) else tuple(str(escape(value)) for value in values)


def _one_line(text: str) -> str:
    return clean(" ".join(text.split()), _SUBJECT_LENGTH) or ""
