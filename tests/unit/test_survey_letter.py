"""Steps that ask a survey: the link in their letters, and what lint says of letters that ask nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from holdfast.campaign.loading import load_campaign, load_segments
from holdfast.campaign.models import Campaign
from holdfast.content.library import Library
from holdfast.content.lint import lint_templates
from holdfast.content.message import Composer, content_of
from holdfast.content.samples import REGULAR
from holdfast.settings import Brand, Business, Project, load_project
from holdfast.tokens import Signer

REPOSITORY = Path(__file__).parents[2]
SIGNER = Signer(b"a secret of the tests, 32 bytes.")
TODAY = date(2026, 6, 3)
SCALE = '<a href="{{ links.survey }}?answer=1">1</a> <a href="{{ links.survey }}?answer=5">5</a>'


def campaign(template: str = "ask", **of_step: Any) -> Campaign:
    step = {"id": "ask", "channels": ["email"], "template": template, **of_step}
    return Campaign.model_validate(
        {"campaign": "ask", "purpose": "transactional", "audience": {"country": "DE"}, "steps": [step]}
    )


def write(root: Path, body: str) -> None:
    (root / "templates").mkdir(exist_ok=True)
    (root / "templates" / "ask.email.html").write_text(
        f"{{% block subject %}}Hello{{% endblock %}}{{% block body %}}<p>{body}</p>{{% endblock %}}"
    )


def problems(root: Path, asked: Campaign) -> list[str]:
    return [str(problem) for problem in lint_templates(asked, Project(root=root), {"email": "email"})]


def test_a_letter_leads_to_its_survey_for_ninety_days_and_to_no_other(tmp_path: Path) -> None:
    write(tmp_path, SCALE)
    brand = Brand.model_validate({"name": "Acme", "public_url": "https://r.acme.example/mail/"})
    composer = Composer(Library(tmp_path / "templates", brand, Business()), SIGNER, brand, TODAY)
    asked = campaign(survey="csat")
    letter = composer.compose(
        7, "email", "ann@shop.example", content_of(asked, asked.sends[0], None), REGULAR
    )
    token = SIGNER.sign("csat", 7, date(2026, 9, 1))
    assert f'href="https://r.acme.example/mail/s/csat/{token}?answer=5"' in letter.html
    assert SIGNER.verify("csat", token, date(2026, 9, 1)) == 7


def test_the_shipped_letter_has_every_answer_to_tap_in_every_language() -> None:
    brand = Brand.model_validate({"name": "Acme", "public_url": "https://r.acme.example"})
    composer = Composer(Library(REPOSITORY / "templates", brand, Business()), SIGNER, brand, TODAY)
    project, segments = load_project(REPOSITORY / "holdfast.yaml"), load_segments(REPOSITORY)
    asked = load_campaign(REPOSITORY / "campaigns" / "feedback.yaml", project, segments)
    content = content_of(asked, asked.sends[0], None)
    link = f"https://r.acme.example/s/nps/{SIGNER.sign('nps', 7, date(2026, 9, 1))}"
    for locale, subject, ten in (
        ("en", "Anna, would you recommend Acme?", "10"),
        ("de", "Anna, würden Sie Acme weiterempfehlen?", "10"),
        ("ar-EG", "Anna، هل توصي أصدقاءك بـ Acme؟", "١٠"),
        ("fa", "Anna، Acme را به دوستانتان پیشنهاد می‌کنید؟", "۱۰"),
    ):
        person = replace(REGULAR, customer=replace(REGULAR.customer, locale=locale))
        letter = composer.compose(7, "email", "ann@shop.example", content, person)
        assert letter.subject == subject
        taps = dict(
            re.findall(rf'href="{re.escape(link)}\?answer=(\d+)"[^>]*>&nbsp;(\w+)&nbsp;</a>', letter.html)
        )
        assert (list(taps), taps["10"]) == ([str(answer) for answer in range(11)], ten)
        assert letter.text.count(link) == 1
        assert "/u/" in letter.text


@pytest.mark.parametrize(
    ("body", "survey", "problem"),
    [
        (SCALE, "csat", None),
        (SCALE.replace("5", "10"), "nps", None),
        ("{{ links.survey }}", "nps", None),
        ("Hello", None, None),
        ("Hello", "nps", "it asks a survey and has no links.survey; expected it in the body"),
        (
            SCALE,
            None,
            "links.survey where nothing is asked; expected `survey: nps` or `survey: csat` in the step",
        ),
        (
            SCALE.replace("5", "9"),
            "csat",
            "links.survey with ?answer=9, which csat does not take; expected an answer from 1 to 5",
        ),
        (
            SCALE.replace("5", "high"),
            "nps",
            "links.survey with ?answer=high, which nps does not take; expected an answer from 0 to 10",
        ),
    ],
)
def test_lint_finds_letters_that_cannot_be_answered(
    tmp_path: Path, body: str, survey: str | None, problem: str | None
) -> None:
    write(tmp_path, body)
    found = problems(tmp_path, campaign(survey=survey))
    assert found == ([] if problem is None else [f"templates/ask.email.html: {problem}"])
