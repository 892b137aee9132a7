"""What customers do on the pages for them, in a real browser without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Request, Route

from holdfast.responses import contact_of
from tests.e2e.customer_pages import LANGUAGES, RIGHT_TO_LEFT, Site

PHONE = {"width": 390, "height": 844}
BUTTONS = {"en": "Unsubscribe", "de": "Abmelden", "ar": "إلغاء الاشتراك", "fa": "لغو اشتراک"}


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page without JavaScript, as every customer may have switched it off; no complaint in its console."""
    context = browser.new_context(java_script_enabled=False, viewport=PHONE)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    yield page
    context.close()
    assert [text for text in complaints if "favicon" not in text] == []


def test_a_customer_unsubscribes_and_chooses_again_by_keyboard_alone(site: Site, page: Page) -> None:
    page.goto(site.link("u"))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    assert page.get_by_role("heading", level=1).inner_text() == "You are unsubscribed"
    assert site.granted() == {"email", "telegram"}
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("group", name="send you offers and news").wait_for()
    assert not page.get_by_role("checkbox", name="text messages").is_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.get_by_role("checkbox", name="Telegram messages").uncheck()
    page.get_by_role("button", name="Save").click()
    assert page.get_by_role("status").inner_text() == "Your preferences are saved."
    assert page.get_by_role("checkbox", name="Telegram messages").is_checked() is False
    assert "telegram" not in site.granted()


YES = {"en": "Yes, please", "de": "Ja, gerne", "ar": "نعم", "fa": "بله"}


@pytest.mark.parametrize("locale", LANGUAGES)
def test_a_yes_is_confirmed_by_keyboard_in_every_language(site: Site, page: Page, locale: str) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(site.letter(locale))
    contact = contact_of(site.bench.ws, site.letters[locale][0])
    assert (contact.granted, contact.pending) == (set(), {"telegram"})
    assert page.get_by_role("button", name=YES[locale], exact=True).is_visible()
    assert page.locator("html").get_attribute("dir") == ("rtl" if locale in RIGHT_TO_LEFT else "ltr")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    assert contact_of(site.bench.ws, site.letters[locale][0]).granted == {"telegram"}
    page.reload()  # which posts once more
    assert page.get_by_role("status").is_visible()


def test_a_customer_chooses_what_they_like_best(site: Site, page: Page) -> None:
    page.goto(site.link("p", "de"))
    page.get_by_label("Was ist Ihnen am liebsten?").select_option("Telegram-Nachrichten")
    page.get_by_role("button", name="Speichern").click()
    assert page.get_by_label("Was ist Ihnen am liebsten?").input_value() == "telegram"
    assert contact_of(site.bench.ws, site.messages["de"]).preferred == "telegram"


def test_a_customer_refuses_a_topic_rests_and_reads_another_language(site: Site, page: Page) -> None:
    page.goto(site.link("p", "fa"))
    page.get_by_role("group", name="دوست دارید دربارهٔ چه بشنوید؟").get_by_label("تازه‌ها").uncheck()
    page.get_by_label("زبان شما").select_option("العربية")
    page.get_by_role("button", name="تا ۳۰ روز هیچ پیامی").click()
    assert page.get_by_role("status").inner_text() == "تم حفظ تفضيلاتك."
    contact = contact_of(site.bench.ws, site.messages["fa"])
    assert (contact.refused, contact.locale, contact.paused_until is None) == ({"news"}, "ar", False)
    page.get_by_role("button", name="إنهاء الاستراحة").click()
    page.get_by_label("لغتك").select_option("فارسی")
    page.get_by_role("button", name="حفظ").click()
    contact = contact_of(site.bench.ws, site.messages["fa"])
    assert (contact.refused, contact.locale, contact.paused_until) == ({"news"}, "fa", None)


@pytest.mark.parametrize("locale", LANGUAGES)
def test_a_page_runs_the_languages_way(site: Site, page: Page, locale: str) -> None:
    page.goto(site.link("u", locale))
    assert page.get_by_role("button", name=BUTTONS[locale], exact=True).is_visible()
    page.goto(site.link("p", locale))
    box = page.get_by_role("checkbox").first.bounding_box()
    assert box is not None
    assert (box["x"] > PHONE["width"] / 2) is (locale in RIGHT_TO_LEFT)


def test_a_survey_is_answered_and_the_answer_changed_by_keyboard_alone(site: Site, page: Page) -> None:
    page.goto(site.survey("nps", answer="9"))
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("radio", name="8", exact=True).is_checked()
    assert page.get_by_role("radio", name="10 Extremely likely", exact=True).count() == 1
    page.keyboard.press("Tab")
    page.keyboard.type("Good tea.")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("status").wait_for()
    assert page.get_by_text("Your answer: 8 of 10").is_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="Send").click()
    assert page.get_by_text("Your answer: 9 of 10").is_visible()
    page.get_by_text("Change your answer").click()
    assert (
        page.get_by_role("textbox", name="What is the main reason for your answer?").input_value()
        == "Good tea."
    )
    assert [each["score"] for each in site.answers()] == [8, 9]


def test_a_friend_follows_an_invitation_to_the_shop_which_learns_the_code_alone(
    site: Site, page: Page
) -> None:
    asked: list[Request] = []

    def shop(route: Route) -> None:
        asked.append(route.request)
        route.fulfill(body="the shop")

    page.route("https://shop.example/**", shop)
    page.goto(site.link("r"))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("the shop").wait_for()
    [request] = asked
    assert request.url == f"https://shop.example/welcome?ref={site.link('r').rpartition('/')[2]}"
    assert "referer" not in request.all_headers()
