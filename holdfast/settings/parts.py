"""The parts of a project file, as frozen models."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from holdfast.units import Cron, Duration, Mailbox, Name, OneOrMore, Rate, Share, TimeZone, WebAddress, Window

Scope = Literal["customers", "orders", "lines", "refunds", "events", "cases", "metrics"]
"""What a bearer token lets its holder do: send records of a kind, work on cases, read the metrics."""

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


class Part(BaseModel):
    """Base of all of them: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SecretRef(Part):
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


class Brand(Part):
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


class Business(Part):
    """The business's own zone, currency and language: the fallback for customers without."""

    timezone: TimeZone = "UTC"
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "EUR"
    locale: Language = "en"


class Cap(Part):
    """At most so many marketing messages a customer in a sliding window, over all campaigns."""

    messages: int = Field(gt=0, le=1000)
    per: Duration


class SendPolicy(Part):
    """When, and how often, customers may be written to."""

    window: Window | None = Field(None, description="Hours of the customer's day, like 09:00-20:00.")
    cap: Cap | None = None
    rate: Rate | None = Field(
        None, description="The most messages a time, like 600/min; the channel's own rate holds beside it."
    )
    prefer: Literal["step", "customer"] | None = Field(
        None, description="Whose order a step's channels are tried in: the step's own, or each customer's."
    )


class StopIf(Part):
    """What stops a run by itself: too many of its messages come back, or calls fail one after the other."""

    bounce_rate: Share | None = Field(None, description="Refused or bounced, of those sent.")
    complaint_rate: Share | None = Field(None, description="Reported as spam, of those accepted.")
    after: int = Field(500, ge=1, description="Messages sent before the rates are judged.")
    errors: int = Field(10, ge=1, le=1000, description="Calls that failed in a row on one channel.")


class Guard(Part):
    """Limits of a run: what needs a person's approval, and what stops it."""

    approve_above: int | None = Field(
        None, ge=0, description="With more customers to write to than this, a run waits for approval."
    )
    stop_if: StopIf = StopIf.model_validate({})


class Defaults(Part):
    """What campaigns use where they say nothing."""

    holdout: Share = 0.0
    double_opt_in: list[Name] = Field(
        default_factory=list,
        description="Kinds, like `email`, whose yes to marketing counts once the customer has confirmed it.",
    )
    send: SendPolicy = SendPolicy.model_validate({})
    guard: Guard = Guard.model_validate({})


class Lifecycle(Part):
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


class Cases(Part):
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


class Dispatch(Part):
    """How much is done at once."""

    # Large enough that a batch provider gets full requests of each way through a template.
    chunk: int = Field(5000, ge=1, le=20_000, description="Messages leased, loaded and rendered together.")
    lease: Duration = timedelta(minutes=5)
    threads: int = Field(2, ge=1, le=64, description="Chunks in work at once in one process.")


class Runner(Part):
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


class AccessToken(Part):
    """A bearer token of one of your systems, and all that it opens."""

    token: OneOrMore[SecretRef] = Field(
        min_length=1, description="Where it is; a list while it is changed over: any of them is believed."
    )
    scopes: OneOrMore[Scope] = Field(min_length=1, description="What it may be used for.")


class Web(Part):
    """The web app: webhooks, the links in messages, pages for customers, ingestion."""

    host: str = Field("127.0.0.1", description="Where it listens. A proxy with TLS stands before it.")
    port: int = Field(8480, ge=1, le=65_535)
    tokens: dict[Name, AccessToken] = Field(
        default_factory=dict,
        description="Who may ask the API and /metrics, by names of yours. What none may ask is closed.",
    )
    track_clicks: bool = Field(True, description="Lead the links of email through our redirect.")
    track_opens: bool = Field(True, description="Put an open pixel at the end of email.")


class Referrals(Part):
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


class Privacy(Part):
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


class Schedules(Part):
    """When the flows run that belong to no campaign, in the business's zone."""

    collect: Cron = Field("*/5 * * * *", description="collect_responses: what customers answered.")
    refresh: Cron = Field("15 5 * * *", description="refresh_metrics: results, the KPI sheet, reports.")
    sync: Cron = Field("45 * * * *", description="sync_customers: from the sources, where there are any.")
