"""What customers and machines did with messages, and the public with posts."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.metrics.rates import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """Messages by how far they came; each is counted once in each field, however often it was opened.

    `planned` are all there ever were, skipped ones too. `delivered` is what the receiving side took: by its
    receipt, or because an answer came. Where a channel gives no receipts it is 0, and rates over it are
    undefined: take those over `accepted`. `opened` and `clicked` were done by people, `machine_opened` and
    `machine_clicked` by scanners, proxies and previews, and a message can be in both.
    """

    planned: int
    accepted: int
    delivered: int
    bounced: int
    opened: int
    machine_opened: int
    clicked: int
    machine_clicked: int
    replied: int
    unsubscribed: int
    complained: int
    answered: int

    @property
    def delivered_per_accepted(self) -> Rate:
        """Deliverability."""
        return self._per(self.delivered, self.accepted)

    @property
    def bounces_per_accepted(self) -> Rate:
        """Refused for good by the receiving side."""
        return self._per(self.bounced, self.accepted)

    @property
    def clicks_per_delivered(self) -> Rate:
        """CTR: of people. The headline."""
        return self._per(self.clicked, self.delivered)

    @property
    def clicks_per_accepted(self) -> Rate:
        """CTR for channels without receipts."""
        return self._per(self.clicked, self.accepted)

    @property
    def opens_per_delivered(self) -> Rate:
        """Of people, as far as they can be told: never a headline."""
        return self._per(self.opened, self.delivered)

    @property
    def clicks_per_open(self) -> Rate:
        """CTOR: clicks over opens, both of people."""
        return self._per(self.clicked, self.opened)

    @property
    def machine_opens_per_delivered(self) -> Rate:
        """Opened by a machine, whether or not by a person too."""
        return self._per(self.machine_opened, self.delivered)

    @property
    def machine_clicks_per_delivered(self) -> Rate:
        """Clicked by a machine, whether or not by a person too."""
        return self._per(self.machine_clicked, self.delivered)

    @property
    def replies_per_delivered(self) -> Rate:
        """Answered by a message of their own."""
        return self._per(self.replied, self.delivered)

    @property
    def unsubscribes_per_delivered(self) -> Rate:
        """Of messages, the ones that lost a reader."""
        return self._per(self.unsubscribed, self.delivered)

    @property
    def complaints_per_delivered(self) -> Rate:
        """Reported as spam."""
        return self._per(self.complained, self.delivered)

    @property
    def answers_per_delivered(self) -> Rate:
        """Response rate of a survey."""
        return self._per(self.answered, self.delivered)

    @staticmethod
    def _per(part: int, whole: int) -> Rate:
        return Rate(part, whole) if part <= whole else Rate(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostEngagement:
    """What networks counted of posts, summed; None: none said. No `Rate`: a viewer can do several things."""

    posts: int
    impressions: int | None = None
    likes: int | None = None
    replies: int | None = None
    reposts: int | None = None
    clicks: int | None = None

    @property
    def engagements_per_impression(self) -> float | None:
        """(likes + replies + reposts + clicks) / impressions."""
        engagements = sum(n or 0 for n in (self.likes, self.replies, self.reposts, self.clicks))
        return engagements / self.impressions if self.impressions else None
