"""The shipped letter that asks to confirm a consent, and what lint says of letters that cannot."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from holdfast.campaign.models import Campaign
from holdfast.content.library import Library
from holdfast.content.lint import lint_templates
from holdfast.content.message import Composer, content_of
from holdfast.content.samples import REGULAR
from holdfast.settings import Brand, Business, Project
from holdfast.tokens import Signer

REPOSITORY = Path(__file__).parents[2]
SIGNER = Signer(b"a secret of the tests, 32 bytes.")
TODAY = date(2026, 6, 3)


def campaign(template: str, purpose: str = "confirmation") -> Campaign:
    return Campaign.model_validate(
        {
            "campaign": "confirm",
            "purpose": purpose,
            "audience": {"consent": {"kind": "email", "pending": True}},
            "steps": [{"id": "ask", "channels": ["email"], "template": template}],
        }
    )


def problems(root: Path, template: str, purpose: str = "confirmation") -> list[str]:
    asked = campaign(template, purpose)
    return [str(problem) for problem in lint_templates(asked, Project(root=root), {"email": "email"})]


def test_the_shipped_letter_can_be_sent_in_every_language_and_confirms() -> None:
    assert problems(REPOSITORY, "optin/confirm") == []
    brand = Brand.model_validate({"name": "Acme", "public_url": "https://r.acme.example"})
    library = Library(REPOSITORY / "templates", brand, Business())
    asked = campaign("optin/confirm")
    content = content_of(asked, asked.sends[0], None)
    for locale, subject in {
        "en": "Please confirm your address",
        "de": "Bitte bestätigen Sie Ihre Adresse",
        "ar": "يرجى تأكيد عنوانك",
        "fa": "لطفاً نشانی خود را تأیید کنید",
    }.items():
        person = replace(REGULAR, customer=replace(REGULAR.customer, locale=locale))
        composer = Composer(library, SIGNER, brand, TODAY)
        letter = composer.compose(7, "email", "Ann@shop.example", content, person)
        token = SIGNER.sign_confirmation(7, "ann@shop.example", date(2026, 6, 10))
        link = f"https://r.acme.example/y/{token}"
        assert letter.subject == subject
        assert link in letter.html
        assert link in letter.text
        assert "/u/" in letter.html
        assert letter.headers == {}  # it is no marketing to unsubscribe from


@pytest.mark.parametrize(
    ("body", "purpose", "problem"),
    [
        ("Hello", "confirmation", "it asks for a confirmation and has no links.confirm"),
        ("{{ links.confirm }}", "transactional", "links.confirm where nothing is confirmed"),
        (
            "{{ links.confirm }} {{ links.unsubscribe }}",
            "marketing",
            "links.confirm where nothing is confirmed",
        ),
    ],
)
def test_lint_finds_letters_that_confirm_nothing(
    tmp_path: Path, body: str, purpose: str, problem: str
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "ask.email.html").write_text(
        f"{{% block subject %}}Hello{{% endblock %}}{{% block body %}}<p>{body}</p>{{% endblock %}}"
    )
    assert [problem in found for found in problems(tmp_path, "ask", purpose)] == [True]
