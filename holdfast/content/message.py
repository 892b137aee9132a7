"""From a customer and a template to the message that a channel takes, with its signed links and headers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from holdfast.audience.addresses import address_key
from holdfast.audience.people import Person
from holdfast.campaign.models import Campaign, Post, Step
from holdfast.channel import Message
from holdfast.content.library import Library
from holdfast.content.scope import CampaignScope, Links, Occasion, StepScope
from holdfast.settings import Brand
from holdfast.surveys import Survey
from holdfast.tokens import Signer

# Who opens an old letter still finds the shop, but a link is no key for ever to what it says of a customer.
_TRACKED_FOR = timedelta(days=400)
_PREFERENCES_FOR = timedelta(days=180)
# It makes whoever holds it this customer, to a bot: long enough for a letter to be read.
_INVITED_FOR = timedelta(days=30)
# Who does not confirm within this time has not.
_CONFIRMED_WITHIN = timedelta(days=7)
# An answer that is later than this is about something else.
_SURVEYED_FOR = timedelta(days=90)

# What `preview` and `validate` put in the place of signed links.
SAMPLE_LINKS = Links(*(f"https://example.invalid/{page}/sample" for page in "uptysr"))


@dataclass(frozen=True, slots=True)
class Content:
    """What a step sends in one variant: the template's name, what it is told of the occasion, the files that
    go along, and the names that providers may count it under."""

    template: str
    occasion: Occasion
    attach: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def content_of(campaign: Campaign, step: Step, variant: str | None) -> Content:
    """The template and occasion of a step's variant; variants take the step's where they say nothing."""
    chosen = step.variants[variant] if variant is not None else None
    return Content(
        (chosen and chosen.template) or step.template,
        Occasion(
            CampaignScope(campaign.campaign, campaign.purpose),
            StepScope(step.id),
            variant,
            (chosen and chosen.coupon) or step.coupon,
            step.survey,
        ),
        tuple(step.attach),
        (campaign.campaign, f"{campaign.campaign}/{step.id}"),
    )


def occasion_of(campaign: Campaign, post: Post) -> Occasion:
    """What a post's template is told."""
    scope = CampaignScope(campaign.campaign, campaign.purpose)
    return Occasion(scope, StepScope(post.id), coupon=post.coupon)


def post_text(library: Library, campaign: Campaign, post: Post, kind: str) -> str:
    """What a post says on channels of the kind. Raises RenderError."""
    return library.render_post(post.template, kind, occasion_of(campaign, post))


@dataclass(frozen=True, slots=True)
class Composer:
    """Composes the messages of a project that go out `today`. Safe to share between threads.

    `invitation` is how the address begins that invites to Telegram; empty: there is none. `refers`: there
    are invitations for friends.
    """

    library: Library
    signer: Signer
    brand: Brand
    today: date
    invitation: str = ""
    refers: bool = False

    def compose(self, message_id: int, kind: str, to: str, content: Content, person: Person) -> Message:
        """The message for one customer at one address. Raises RenderError."""
        asks = content.occasion.campaign.purpose == "confirmation"
        links = self._links(message_id, address_key(kind, to) if asks else None, content.occasion.survey)
        is_email = kind == "email"
        token = self.signer.sign("track", message_id, self.today + _TRACKED_FOR) if is_email else ""
        rendered = self.library.render(content.template, kind, person, content.occasion, links, token)
        is_marketing = content.occasion.campaign.purpose == "marketing"
        return Message(
            key=self.signer.sign("message", message_id),
            to=to,
            to_name=person.customer.name or "",
            sender=self.brand.sender if is_email else "",
            subject=rendered.subject,
            skeleton=rendered.skeleton,
            escaped=rendered.escaped,
            plain=rendered.plain,
            headers=_unsubscribe_headers(links) if is_email and is_marketing else {},
            reply_to=(self.brand.reply_to or "") if is_email else "",
            labels=content.labels,
            attachments=self.library.attachments(content.attach) if content.attach else (),
        )

    def _links(self, message_id: int, confirms: str | None, survey: Survey | None) -> Links:
        """The links of a message; of one that asks to confirm an address, `confirms`, or a survey, that one
        too."""
        base = self.brand.public_url.rstrip("/")
        invited = self.invitation and self.signer.sign_invitation(message_id, self.today + _INVITED_FOR)
        return Links(
            # Unsubscribing has no end: mail programs may offer it for as long as they show the letter.
            f"{base}/u/{self.signer.sign('unsubscribe', message_id)}",
            f"{base}/p/{self.signer.sign('preferences', message_id, self.today + _PREFERENCES_FOR)}",
            f"{self.invitation}{invited}" if invited else None,
            "" if confirms is None else f"{base}/y/{self._confirmation(message_id, confirms)}",
            "" if survey is None else f"{base}/s/{survey}/{self._surveyed(survey, message_id)}",
            # A friend may come whenever they like.
            f"{base}/r/{self.signer.sign('referral', message_id)}" if self.refers else None,
        )

    def _confirmation(self, message_id: int, address: str) -> str:
        return self.signer.sign_confirmation(message_id, address, self.today + _CONFIRMED_WITHIN)

    def _surveyed(self, survey: Survey, message_id: int) -> str:
        return self.signer.sign(survey, message_id, self.today + _SURVEYED_FOR)


def _unsubscribe_headers(links: Links) -> dict[str, str]:
    """One-click unsubscribing of RFC 8058."""
    return {
        "List-Unsubscribe": f"<{links.unsubscribe}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


@dataclass(frozen=True, slots=True)
class Preview:
    """What one customer would get: `html` is empty for kinds without one; `attached` are the files' paths."""

    template: str
    subject: str
    html: str
    text: str
    attached: tuple[str, ...] = ()


def preview(
    library: Library, kind: str, content: Content, person: Person, links: Links = SAMPLE_LINKS
) -> Preview:
    """The content for one customer, whole, with links that lead nowhere. Raises RenderError."""
    rendered = library.render(content.template, kind, person, content.occasion, links)
    message = Message("", "", "", "", rendered.subject, rendered.skeleton, rendered.escaped, rendered.plain)
    file = library.choose(content.template, kind, person.customer.locale)
    return Preview(file.name, message.subject, message.html, message.text, content.attach)
