"""The project file, holdfast.yaml, as frozen models; secrets as references."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from holdfast import documents
from holdfast.documents import Document
from holdfast.errors import SettingsError
from holdfast.units import (
    Cron,
    Duration,
    Mailbox,
    Name,
    OneOrMore,
    Rate,
    Share,
    TimeZone,
    WebAddress,
    Window,
)

FILE_NAME = "holdfast.yaml"
SECRET_KEYS = re.compile(
    r"pass|token|secret|credential|api_?key|(?:_|\b)key\b|database|\burl\b", re.IGNORECASE
)
SECRET_BYTES = 16

Kind = Literal["customers", "orders", "lines", "refunds", "events"]
"""What is imported."""

Scope = Literal["customers", "orders", "lines", "refunds", "events", "cases", "metrics"]
"""What a bearer token lets its holder do: send records of a kind, work on cases, read the metrics."""

ReadBlock = Callable[[str], str]
"""Gives the value of a Prefect Secret block by its name, or raises SettingsError."""


Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*$")]


def _readable(labels: dict[str, str]) -> dict[str, str]:
    if not labels:
        raise PydanticCustomError(
            "labels",
            "no name that customers could read; expected one in a language at least, like {en: Offers}",
        )
    return labels


Labels = Annotated[dict[Language, Annotated[str, StringConstraints(min_length=1)]], AfterValidator(_readable)]
"""What customers read, by language. A language that is missing reads the business's, else the first."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SecretRef(_Part):
    """Where a secret is: an environment variable, or a Prefect Secret block. Never the secret itself."""

    env: str | None = None
    block: str | None = None

    @model_validator(mode="after")
    def _in_one_place(self) -> Self:
        if (self.env is None) == (self.block is None):
            raise PydanticCustomError(
                "secret", "a secret needs one place; expected {{env: NAME}} or {{block: NAME}}", {"places": 1}
            )
        return self

    def __str__(self) -> str:
        return f"environment variable {self.env}" if self.env else f"Prefect Secret block {self.block}"


class Brand(_Part):
    """Who the messages come from."""

    name: str = "Acme"
    sender: Mailbox = Field("Acme <hello@acme.example>", alias="from")
    reply_to: Mailbox | None = Field(None, description="Where answers to email go. Absent: to the sender.")
    color: Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")] = Field(
        "#1f5c4d", description="Of buttons and links, in email and on the pages for customers: #rrggbb."
    )
    postal_address: str = ""
    public_url: WebAddress = Field(
        "https://example.invalid", description="Where the pages for customers are served."
    )

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Business(_Part):
    """The business's own zone, currency and language: the fallback for customers without."""

    timezone: TimeZone = "UTC"
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "EUR"
    locale: Language = "en"


class Cap(_Part):
    """At most so many marketing messages a customer in a sliding window, over all campaigns."""

    messages: int = Field(gt=0, le=1000)
    per: Duration


class SendPolicy(_Part):
    """When, and how often, customers may be written to."""

    window: Window | None = Field(None, description="Hours of the customer's day, like 09:00-20:00.")
    cap: Cap | None = None
    rate: Rate | None = Field(
        None, description="The most messages a time, like 600/min; the channel's own rate holds beside it."
    )
    prefer: Literal["step", "customer"] | None = Field(
        None, description="Whose order a step's channels are tried in: the step's own, or each customer's."
    )


class StopIf(_Part):
    """What stops a run by itself: too many of its messages come back, or calls fail one after the other."""

    bounce_rate: Share | None = Field(None, description="Refused or bounced, of those sent.")
    complaint_rate: Share | None = Field(None, description="Reported as spam, of those accepted.")
    after: int = Field(500, ge=1, description="Messages sent before the rates are judged.")
    errors: int = Field(10, ge=1, le=1000, description="Calls that failed in a row on one channel.")


class Guard(_Part):
    """Limits of a run: what needs a person's approval, and what stops it."""

    approve_above: int | None = Field(
        None, ge=0, description="With more customers to write to than this, a run waits for approval."
    )
    stop_if: StopIf = StopIf.model_validate({})


class Defaults(_Part):
    """What campaigns use where they say nothing."""

    holdout: Share = 0.0
    double_opt_in: list[Name] = Field(
        default_factory=list,
        description="Kinds, like `email`, whose yes to marketing counts once the customer has confirmed it.",
    )
    send: SendPolicy = SendPolicy.model_validate({})
    guard: Guard = Guard.model_validate({})


class Lifecycle(_Part):
    """Thresholds of the lifecycle stages; see docs/concepts.md for the table."""

    new: Duration = timedelta(days=30)
    active: Duration = timedelta(days=90)
    lapsed: Duration = timedelta(days=180)
    loyal: int = Field(5, ge=2, description="Orders that make an active customer loyal.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.active >= self.lapsed:
            raise PydanticCustomError(
                "lifecycle", "nobody could be at risk; expected `lapsed` longer than `active`"
            )
        return self


_Phrase = Annotated[str, StringConstraints(max_length=100, pattern=r"[^\W_]{2}")]
WordList = Literal["en", "de", "ar", "fa"]
"""The languages that words of complaint come in."""


class Cases(_Part):
    """What is a complaint and opens a case, and what follows from one."""

    nps_up_to: int = Field(
        6, ge=-1, le=9, description="An NPS answer that low is a complaint; -1: none is one."
    )
    csat_up_to: int = Field(
        2, ge=0, le=4, description="A CSAT answer that low is a complaint; 0: none is one."
    )
    words_of: list[WordList] = Field(
        default_factory=lambda: list(get_args(WordList)),
        description="Languages whose words of complaint, as shipped, count. Default: all.",
    )
    words: list[_Phrase] = Field(
        default_factory=list,
        max_length=1000,
        description="More words and phrases that make a text a complaint; * stands for any ending of a word.",
    )
    reopen_within: Duration = Field(
        timedelta(days=14), description="A complaint so long after a case was closed opens that case again."
    )
    recovery: Name | None = Field(
        None, description="A transactional campaign that is started when cases are opened."
    )


class ChannelConfig(BaseModel):
    """One channel by its name in campaigns: the adapter and, beside it, the adapter's own settings."""

    model_config = ConfigDict(extra="allow", frozen=True)

    adapter: str
    enabled: bool = True
    rate: Rate | None = Field(None, description="The most messages a time, all workers together: 600/min.")
    per_day: int | None = Field(
        None, ge=1, description="The most messages a day of the business; the rest waits for the next one."
    )
    attributed_within: Duration = Field(
        timedelta(days=7), description="Orders this long after a click or an open are attributed to it."
    )
    slow_start: Duration | None = Field(
        None, description="How long sending takes to come up from a tenth of `rate` after a pause."
    )

    @model_validator(mode="after")
    def _starts_slowly_to_a_rate(self) -> Self:
        if self.slow_start is not None and self.rate is None:
            raise PydanticCustomError("channel", "slow_start leads up to a rate; expected `rate` beside it")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The adapter's own settings, as written; secrets still as mappings {env: …} or {block: …}."""
        return dict(self.model_extra or {})


class Dispatch(_Part):
    """How much is done at once."""

    # Large enough that a batch provider gets full requests of each way through a template.
    chunk: int = Field(5000, ge=1, le=20_000, description="Messages leased, loaded and rendered together.")
    lease: Duration = timedelta(minutes=5)
    threads: int = Field(2, ge=1, le=64, description="Chunks in work at once in one process.")


class Runner(_Part):
    """What the chunks of a run are worked on by."""

    kind: Literal["threads", "processes", "dask"] = Field(
        "threads", description="Threads of the flow's process, processes of its machine, or a Dask cluster."
    )
    workers: int = Field(
        2, ge=1, le=256, description="How many processes, or workers of a Dask cluster of our own."
    )
    address: str | None = Field(
        None, description="The Dask scheduler's, like tcp://host:8786. Absent: a cluster on this machine."
    )

    @model_validator(mode="after")
    def _has_a_cluster(self) -> Self:
        if self.address is not None and self.kind != "dask":
            raise PydanticCustomError("runner", "only a Dask cluster has an address; expected `kind: dask`")
        return self


class AccessToken(_Part):
    """A bearer token of one of your systems, and all that it opens."""

    token: OneOrMore[SecretRef] = Field(
        min_length=1, description="Where it is; a list while it is changed over: any of them is believed."
    )
    scopes: OneOrMore[Scope] = Field(min_length=1, description="What it may be used for.")


class Web(_Part):
    """The web app: webhooks, the links in messages, pages for customers, ingestion."""

    host: str = Field("127.0.0.1", description="Where it listens. A proxy with TLS stands before it.")
    port: int = Field(8480, ge=1, le=65_535)
    tokens: dict[Name, AccessToken] = Field(
        default_factory=dict,
        description="Who may ask the API and /metrics, by names of yours. What none may ask is closed.",
    )
    track_clicks: bool = Field(True, description="Lead the links of email through our redirect.")
    track_opens: bool = Field(True, description="Put an open pixel at the end of email.")


class Referrals(_Part):
    """Where customers' invitations lead. Absent: there are none."""

    url: WebAddress = Field(description="The shop's page for those whom a customer recommends it to.")
    parameter: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,62}$")] = Field(
        "ref", description="What the invitation's code is called in the page's address."
    )

    def address(self, code: str) -> str:
        """The shop's page for who comes by this invitation."""
        parts = urlsplit(self.url)
        query = f"{parts.query}&" if parts.query else ""
        return parts._replace(query=f"{query}{self.parameter}={quote(code)}").geturl()


class Privacy(_Part):
    """How long what customers say is kept as it came, and what becomes of their wish to be erased."""

    keep_answers: Duration = Field(
        timedelta(days=90),
        description="How long the bodies of answers are kept once they are read. What was read stays.",
    )
    erase_after: Duration | None = Field(
        None, description="Customers who ask are erased by themselves after this time. Absent: by hand."
    )

    @model_validator(mode="after")
    def _within_a_month(self) -> Self:
        if self.erase_after is not None and self.erase_after > timedelta(days=30):
            raise PydanticCustomError(
                "privacy", "customers are told that it takes a month; expected `erase_after` of 30d at most"
            )
        return self


class Schedules(_Part):
    """When the flows run that belong to no campaign, in the business's zone."""

    collect: Cron = Field("*/5 * * * *", description="collect_responses: what customers answered.")
    refresh: Cron = Field("15 5 * * *", description="refresh_metrics: results, the KPI sheet, reports.")
    sync: Cron = Field("45 * * * *", description="sync_customers: from the sources, where there are any.")


class SourcePart(_Part):
    """Where one kind of records comes from: a query in the source's database, or files."""

    sql: str | None = Field(
        None, min_length=1, description="A SELECT; its columns are named as those of an import."
    )
    cursor: str | None = Field(
        None, description="A column of the query that grows with every change. Absent: all is read each time."
    )
    file: str | None = Field(
        None, min_length=1, description="CSV, JSON lines or Parquet, in the project's folder; * and ? match."
    )

    @model_validator(mode="after")
    def _from_one_place(self) -> Self:
        if (self.sql is None) == (self.file is None):
            raise PydanticCustomError("source", "comes from one place; expected either `sql` or `file`")
        if self.cursor is not None and self.sql is None:
            raise PydanticCustomError("source", "`cursor` is a column of `sql`; expected none beside `file`")
        if self.sql is not None and re.search(r"(?<!:):cursor\b", self.sql):
            raise PydanticCustomError(
                "source",
                "the query is narrowed for you; expected no :cursor in it, but `cursor: COLUMN` beside",
            )
        return self


class SyncSource(_Part):
    """Where customers and what they did are synced from."""

    url: SecretRef | None = Field(None, description="The database that `sql` is asked of: an SQLAlchemy URL.")
    customers: SourcePart | None = None
    orders: SourcePart | None = None
    lines: SourcePart | None = None
    refunds: SourcePart | None = None
    events: SourcePart | None = None

    @property
    def parts(self) -> dict[Kind, SourcePart]:
        """What there is, in the order in which it has to be read: an order needs its customer."""
        return {kind: part for kind in get_args(Kind) if (part := getattr(self, kind)) is not None}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.parts:
            raise PydanticCustomError(
                "source", "a source of nothing; expected customers, orders, lines, refunds or events"
            )
        if any((part.sql is None) != (self.url is None) for part in self.parts.values()):
            raise PydanticCustomError(
                "source",
                "files or a database; expected `url` with `sql` in every part, or `file` in every part",
            )
        return self


class ProjectFile(_Part):
    """What holdfast.yaml says."""

    brand: Brand = Brand.model_validate({})
    business: Business = Business()
    database: SecretRef | None = Field(None, description="Absent: SQLite in .holdfast/ beside the file.")
    secret: SecretRef | None = Field(
        None, description="Signs links and seeds draws. Absent: a random one in .holdfast/."
    )
    link_secrets: list[SecretRef] = Field(
        default_factory=list,
        description="Sign links instead: the first one signs, all are believed. Absent: `secret` does.",
    )
    channels: dict[Name, ChannelConfig] = Field(
        default_factory=lambda: {"email": ChannelConfig(adapter="sandbox")}
    )
    topics: dict[Name, Labels] = Field(
        default_factory=dict,
        description="What marketing is about, by names for campaigns; each as customers read it.",
    )
    defaults: Defaults = Defaults()
    global_holdout: Share = 0.0
    lifecycle: Lifecycle = Lifecycle()
    cases: Cases = Cases.model_validate({})
    dispatch: Dispatch = Dispatch()
    runner: Runner = Runner.model_validate({})
    web: Web = Web.model_validate({})
    referrals: Referrals | None = Field(
        None, description="Invitations that customers pass on. Absent: there are none."
    )
    privacy: Privacy = Privacy.model_validate({})
    schedules: Schedules = Schedules.model_validate({})
    sources: dict[Name, SyncSource] = Field(
        default_factory=dict, description="Where customers and what they did are synced from, in this order."
    )


class Project(ProjectFile):
    """A project: what its file says, and `root`, the folder the file lies in."""

    root: Path = Field(exclude=True)


Purpose = Literal["marketing", "transactional"]

LATER = {
    "loyalty": "tiers and points",
    "surveys": "questions to customers",
}
"""Keys of the design that this version does not act on, and what they will be for."""

REPLACED = {
    "web.ingest_token": "tokens: {shop: {token: …, scopes: [customers, orders, lines, refunds, events]}}",
    "web.metrics_token": "tokens: {prometheus: {token: …, scopes: metrics}}",
}
"""Keys that there were, and what is written instead."""


# --- from the file --------------------------------------------------------------------------------


def find_project(start: Path) -> Path:
    """The project file in `start` or the nearest folder above. Raises SettingsError where there is none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise SettingsError(
        f"there is no {FILE_NAME} in {start} or above it",
        hint="go into a project, or name its folder: --project DIR",
    )


def load_project(path: Path, environment: Mapping[str, str] = os.environ) -> Project:
    """The project of this file. Raises ProblemsFound with everything that is wrong."""
    document = read_project(path, environment)
    return document.require(project_of(document, path.parent))


def read_project(path: Path, environment: Mapping[str, str] = os.environ) -> Document:
    """The project file's document, with the environment over it: HOLDFAST_BUSINESS__TIMEZONE=Europe/Berlin.

    Two underscores go one level down. HOLDFAST_DATABASE_URL and HOLDFAST_SECRET are read where they are used.
    """
    document = documents.read(path, secrets=SECRET_KEYS)
    if isinstance(document.data, dict):
        for variable, value in sorted(environment.items()):
            place = tuple(variable.removeprefix("HOLDFAST_").lower().split("__"))
            if variable.startswith("HOLDFAST_") and (len(place) > 1 or place == ("global_holdout",)):
                document.override(place, value, variable)
    return document


def project_of(document: Document, root: Path) -> Project | None:
    """The project that the document describes, or None with its problems added to the document's."""
    later = {place: purpose for pattern, purpose in LATER.items() for place, _ in document.find(pattern)}
    replaced = {place: instead for key, instead in REPLACED.items() for place, _ in document.find(key)}
    document.problems += [
        document.problem(place, f"`{place[-1]}` is no key any more", expected=f"`{instead}`", at_key=True)
        for place, instead in replaced.items()
    ]
    file = document.into(ProjectFile, later, excuse=replaced)
    return None if file is None else Project(root=root.resolve(), **dict(file))


# --- secrets --------------------------------------------------------------------------------------


def resolve_secret(ref: SecretRef, read_block: ReadBlock, environment: Mapping[str, str] = os.environ) -> str:
    """The secret itself. Raises SettingsError that says where it should have been."""
    if ref.block is not None:
        return read_block(ref.block)
    value = environment.get(str(ref.env), "")
    if not value:
        raise SettingsError(f"{ref} is not set", hint=f"set it: export {ref.env}=…")
    return value


def is_reference(value: Any) -> bool:
    """Whether a channel's option says where a secret is, `{env: NAME}` or `{block: NAME}`."""
    return (
        isinstance(value, Mapping)
        and list(value) in (["env"], ["block"])
        and all(map(_is_text, value.values()))
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def fill_references(options: Mapping[str, Any], fill: Callable[[SecretRef], str]) -> dict[str, Any]:
    """A channel's options with `fill` of each reference in its place, however deep it is."""

    def filled(value: Any) -> Any:
        if is_reference(value):
            return fill(SecretRef(**value))
        if isinstance(value, Mapping):
            return {key: filled(inside) for key, inside in value.items()}
        return [filled(inside) for inside in value] if isinstance(value, list) else value

    return {key: filled(value) for key, value in options.items()}


def resolve_options(
    options: Mapping[str, Any], read_block: ReadBlock, environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """A channel's options with the secrets themselves. Raises SettingsError for one that is not there."""
    return fill_references(options, lambda ref: resolve_secret(ref, read_block, environment))


def database_location(
    project: Project, read_block: ReadBlock, environment: Mapping[str, str] = os.environ
) -> str | Path:
    """The database's URL: HOLDFAST_DATABASE_URL, else the project file's; else the path of an SQLite file."""
    if url := environment.get("HOLDFAST_DATABASE_URL"):
        return url
    if project.database is not None:
        return resolve_secret(project.database, read_block, environment)
    return project.root / ".holdfast" / "holdfast.db"


def project_secret(
    project: Project, read_block: ReadBlock, environment: Mapping[str, str] = os.environ
) -> bytes:
    """The secret that signs links and seeds draws; without any, a random one is made in .holdfast/.

    Whoever changes it draws all arms anew, and voids all links where there are no `link_secrets`.
    """
    if text := environment.get("HOLDFAST_SECRET"):
        secret, where = text.encode(), "environment variable HOLDFAST_SECRET"
    elif project.secret is not None:
        secret, where = resolve_secret(project.secret, read_block, environment).encode(), str(project.secret)
    else:
        path = project.root / ".holdfast" / "secret"
        secret, where = _own_secret(path), str(path)
    return _long_enough(secret, where)


def link_secrets(
    project: Project, read_block: ReadBlock, environment: Mapping[str, str] = os.environ
) -> list[bytes]:
    """The secrets that links and messages' keys are signed with: the first signs, all are believed."""
    if not project.link_secrets:
        return [project_secret(project, read_block, environment)]
    return [
        _long_enough(resolve_secret(ref, read_block, environment).encode(), str(ref))
        for ref in project.link_secrets
    ]


def access_tokens(
    project: Project, read_block: ReadBlock, environment: Mapping[str, str] = os.environ
) -> list[tuple[str, AccessToken]]:
    """Each token of `web.tokens`, with its entry. Raises SettingsError for one that is missing or unfit."""
    found = []
    for name, entry in project.web.tokens.items():
        for ref in entry.token:
            token = resolve_secret(ref, read_block, environment)
            if len(token) < SECRET_BYTES or not (token.isascii() and token.isprintable()):
                raise SettingsError(
                    f"the token of web.tokens.{name} is too short, or no header can carry it: {ref}",
                    hint=f"{SECRET_BYTES} plain characters at least, for instance from: openssl rand -hex 32",
                )
            found.append((token, entry))
    return found


def _long_enough(secret: bytes, where: str) -> bytes:
    if len(secret) < SECRET_BYTES:
        raise SettingsError(
            f"the project's secret is too short: {where}",
            hint=f"{SECRET_BYTES} bytes at least, for instance from: openssl rand -hex 32",
        )
    return secret


def _own_secret(path: Path) -> bytes:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"secret.{secrets.token_hex(8)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_hex(32).encode())
    # A link appears whole or not at all, and only once: of two processes both take the first one's secret.
    with suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
    return path.read_bytes()
