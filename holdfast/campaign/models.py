"""What a campaign file says, as frozen models. Only what acts is here; see `later.py` for the rest."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag
from pydantic_core import PydanticCustomError

from holdfast.audience.rules import Rule
from holdfast.settings import Cap, Guard, SendPolicy
from holdfast.surveys import Survey
from holdfast.units import Cron, Duration, Name, ProjectPath, Share, TimeZone

TemplatePath = Annotated[str, StringConstraints(pattern=r"^\w[\w-]*(/\w[\w-]*)*$")]
Purpose = Literal["marketing", "transactional", "confirmation"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(_Part):
    """When the campaign runs by itself."""

    cron: Cron = Field(description="Five cron fields: minute, hour, day, month, weekday.")
    timezone: TimeZone | None = Field(None, description="Zone of the cron fields; default: the business's.")
    on_missed: Literal["skip", "run"] = Field(
        "skip", description="An occurrence found late (no worker was up): skip it, or run it all the same."
    )
    send_within: Duration | None = Field(
        None, description="How late an occurrence may start and still run. Default: an hour."
    )


class Goal(_Part):
    """What the campaign is for: the event that converts a customer, inside the window from enrollment."""

    event: str = Field(description="`order`, or the name of an event.")
    within: Duration


class ReEntry(_Part):
    """When a customer who was enrolled before may be enrolled again."""

    after: Duration = Field(description="At least this long between the two occurrences.")


class Variant(_Part):
    """One of a step's alternative contents."""

    weight: int = Field(gt=0, le=1_000_000, description="Its share, relative to the other variants' weights.")
    template: TemplatePath | None = Field(None, description="Default: the step's.")
    coupon: str | None = Field(None, description="Code the template shows as `coupon`.")


class Step(_Part):
    """One timed send."""

    id: Name
    channels: list[Name] = Field(min_length=1, description="The first one the customer can be reached on.")
    template: TemplatePath = Field(description="Path under templates/, without kind and extension.")
    after: Duration | None = Field(None, description="How long after the step before it; default: at once.")
    if_: Rule | None = Field(None, alias="if", description="Sent to those the rule matches at that time.")
    coupon: str | None = Field(None, description="Code the template shows as `coupon`.")
    variants: dict[Name, Variant] = Field(default_factory=dict)
    survey: Survey | None = Field(None, description="What it asks; the template shows `links.survey`.")
    attach: list[ProjectPath] = Field(
        default_factory=list, max_length=10, description="Files under templates/ that go along."
    )

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Post(_Part):
    """One public post on each of its channels, once a run."""

    id: Name
    post: list[Name] = Field(min_length=1, description="It is published on each of these.")
    template: TemplatePath = Field(description="Path under templates/, without kind and extension.")
    after: Duration | None = Field(None, description="How long after the step before it; default: at once.")
    coupon: str | None = Field(None, description="Code the template shows as `coupon`.")


def _which(step: Any) -> str:
    is_post = "post" in step if isinstance(step, dict) else isinstance(step, Post)
    return "Post" if is_post else "Step"


AnyStep = Annotated[Annotated[Step, Tag("Step")] | Annotated[Post, Tag("Post")], Discriminator(_which)]


def _with_a_send(steps: list[Step | Post]) -> list[Step | Post]:
    if all(isinstance(step, Post) for step in steps):
        raise PydanticCustomError(
            "steps", "nobody is written to by posts alone; expected a step with `channels` too"
        )
    return steps


class Campaign(_Part):
    """One campaign file."""

    campaign: Name = Field(description="The campaign's name; the file's name without .yaml.")
    description: str = ""
    owner: str = Field("", description="Who answers for it.")
    purpose: Purpose = "marketing"
    topic: Name | None = Field(
        None, description="Which of the project's topics it is of; who refused that one gets nothing of it."
    )
    schedule: Schedule | None = None
    audience: Rule = Field(description="The rule that selects its customers.")
    goal: Goal | None = None
    holdout: Share | None = Field(None, description="Share sent nothing on purpose; default: the project's.")
    re_entry: Literal["never", "always"] | ReEntry = "never"
    exit_when: list[Literal["converted", "unsubscribed"]] = Field(default_factory=list)
    steps: Annotated[list[AnyStep], Field(min_length=1), AfterValidator(_with_a_send)]
    send: SendPolicy | None = Field(None, description="Window, cap and rate; default: the project's.")
    guard: Guard | None = Field(
        None, description="What needs approval, and what stops a run; default: the project's."
    )
    in_doubt: Literal["hold", "resend"] = Field(
        "hold", description="A message nobody can tell was taken: keep it so, or send it again."
    )
    in_doubt_after: Duration = Field(
        timedelta(hours=24), description="How long to wait for proof before `in_doubt` acts."
    )

    @property
    def is_marketing(self) -> bool:
        """Whether it has holdouts, counts under caps, and needs a yes; other purposes do not."""
        return self.purpose == "marketing"

    @cached_property
    def sends(self) -> tuple[Step, ...]:
        """The steps that customers get, in order. Their `after` counts from the send before: it holds that of
        the posts in between."""
        sends: list[Step] = []
        pause: timedelta | None = None
        for step in self.steps:
            pause = _sum(pause, step.after)
            if isinstance(step, Step):
                sends.append(step.model_copy(update={"after": pause}))
                pause = None
        return tuple(sends)

    @cached_property
    def posts(self) -> tuple[tuple[Post, timedelta], ...]:
        """The posts in order, each with its time from the run's start: every `after` down to its own."""
        posts: list[tuple[Post, timedelta]] = []
        passed = timedelta()
        for step in self.steps:
            passed += step.after or timedelta()
            if isinstance(step, Post):
                posts.append((step, passed))
        return tuple(posts)


def _sum(first: timedelta | None, second: timedelta | None) -> timedelta | None:
    return first + second if first is not None and second is not None else first or second


__all__ = ["Campaign", "Cap", "Goal", "Guard", "Post", "ReEntry", "Schedule", "SendPolicy", "Step", "Variant"]
