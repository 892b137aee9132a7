"""The project file, holdfast.yaml, as frozen models; secrets as references only."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from holdfast.units import Duration, Share, Window


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SecretRef(_Part):
    """Where a secret is: an environment variable, or a Prefect Secret block. Never the secret itself."""

    env: str | None = None
    block: str | None = None

    def __str__(self) -> str:
        return f"environment variable {self.env}" if self.env else f"Prefect Secret block {self.block}"


class Brand(_Part):
    """Who the messages come from."""

    name: str = "Acme"
    sender: str = Field("Acme <hello@acme.example>", alias="from")
    postal_address: str = ""
    public_url: str = Field("https://example.invalid", description="Where the pages for customers are served.")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Business(_Part):
    """The business's own zone, currency and language: the fallback for customers without."""

    timezone: str = "UTC"
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "EUR"
    locale: str = "en"


class Cap(_Part):
    """At most so many marketing messages a customer in a sliding window, over all campaigns."""

    messages: int = Field(gt=0, le=1000)
    per: Duration


class SendPolicy(_Part):
    """When, and how often, customers may be written to."""

    window: Window | None = Field(None, description="Hours of the customer's day, like 09:00-20:00.")
    cap: Cap | None = None


class Defaults(_Part):
    """What campaigns use where they say nothing."""

    holdout: Share = 0.0
    send: SendPolicy = SendPolicy(window=None, cap=None)


class Lifecycle(_Part):
    """Thresholds of the lifecycle stages; see docs/concepts.md for the table."""

    new: Duration = timedelta(days=30)
    active: Duration = timedelta(days=90)
    lapsed: Duration = timedelta(days=180)
    loyal: int = Field(5, ge=2, description="Orders that make an active customer loyal.")


class ChannelConfig(BaseModel):
    """One channel by its name in campaigns: the adapter and, beside it, the adapter's own settings."""

    model_config = ConfigDict(extra="allow", frozen=True)

    adapter: str
    enabled: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """The adapter's own settings, as written; secrets still as mappings {env: …} or {block: …}."""
        return dict(self.model_extra or {})


class Dispatch(_Part):
    """How much is done at once."""

    chunk: int = Field(2000, ge=1, le=20_000, description="Messages leased, loaded and rendered together.")
    lease: Duration = timedelta(minutes=5)
    threads: int = Field(4, ge=1, le=64, description="Chunks in work at once in one process.")


class Project(_Part):
    """The whole project file. `root` is the folder it lies in."""

    root: Path = Field(exclude=True)
    brand: Brand = Brand.model_validate({})
    business: Business = Business()
    database: SecretRef | None = Field(None, description="Absent: SQLite in .holdfast/ beside the file.")
    secret: SecretRef | None = Field(
        None, description="Signs links and seeds draws. Absent: a random one in .holdfast/."
    )
    channels: dict[str, ChannelConfig] = Field(default_factory=lambda: {"email": ChannelConfig(adapter="sandbox")})
    defaults: Defaults = Defaults()
    global_holdout: Share = 0.0
    lifecycle: Lifecycle = Lifecycle()
    dispatch: Dispatch = Dispatch()


Purpose = Literal["marketing", "transactional"]
