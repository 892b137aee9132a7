"""Campaigns and segments from their files, and what only the whole project can tell about them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.audience.rules import Rule
from holdfast.campaign.loading import (
    campaign_file,
    load_campaign,
    load_campaigns,
    load_segments,
    read_campaign,
)
from holdfast.campaign.models import Campaign
from holdfast.channel import Capabilities
from holdfast.documents import Document
from holdfast.errors import HoldfastError, ProblemsFound
from holdfast.settings import ChannelConfig, Project

RIGHT = """\
campaign: winback
schedule: {cron: "0 9 * * MON", timezone: Europe/Berlin}
audience: {segment: quiet}
goal: {event: order, within: 14d}
holdout: 10%
re_entry: {after: 90d}
exit_when: [converted]
steps:
  - id: hello
    channels: [email]
    template: winback/hello
    variants:
      plain: {weight: 50}
      coupon: {weight: 50, template: winback/coupon, coupon: BACK}
  - id: reminder
    after: 4d
    if: {not: {country: DE}}
    channels: [email]
    template: winback/reminder
"""
SEGMENTS = "quiet: {lifecycle: {in: [at_risk, lapsed]}}\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "campaigns").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def project(root: Path) -> Project:
    return Project(
        root=root,
        channels={
            "email": ChannelConfig(adapter="sandbox"),
            "telegram": ChannelConfig(adapter="sandbox"),
            "sms": ChannelConfig(adapter="sandbox", enabled=False),
        },
        topics={"offers": {"en": "Offers"}, "news": {"en": "News"}},
    )


def load(project: Project, text: str) -> Campaign:
    path = project.root / "campaigns" / "winback.yaml"
    path.write_text(text)
    return load_campaign(path, project, {"quiet": Rule.model_validate({"country": "DE"})})


def said(project: Project, old: str, new: str) -> str:
    assert old in RIGHT
    with pytest.raises(ProblemsFound) as found:
        load(project, RIGHT.replace(old, new, 1))
    return str(found.value)


def test_a_campaign_comes_with_everything_it_says(project: Project) -> None:
    campaign = load(project, RIGHT)
    assert campaign.campaign == "winback"
    assert campaign.holdout == 0.1
    assert campaign.goal is not None
    assert campaign.goal.within == timedelta(days=14)
    assert [step.id for step in campaign.steps] == ["hello", "reminder"]
    assert campaign.sends[1].if_ is not None
    assert campaign.sends[0].variants["coupon"].coupon == "BACK"


WRONG = [
    (
        "campaign: winback",
        "campaign: winbak",
        "campaigns/winback.yaml:1:11: the file and its campaign have different names; expected 'winback'\n"
        "    campaign: winbak\n              ^",
    ),
    (
        "id: reminder",
        "id: hello",
        "campaigns/winback.yaml:15:9: there is a step 'hello' above; expected an id of its own\n"
        "      - id: hello\n            ^",
    ),
    (
        "channels: [email]",
        "channels: [emial]",
        "campaigns/winback.yaml:10:16: there is no channel 'emial' in holdfast.yaml;"
        " expected one of email, telegram; did you mean 'email'?\n"
        "        channels: [emial]\n                   ^",
    ),
    (
        "channels: [email]",
        "channels: [email, sms]",
        "campaigns/winback.yaml:10:23: the channel 'sms' is not enabled in holdfast.yaml\n"
        "        channels: [email, sms]\n                          ^",
    ),
    (
        "channels: [email]",
        "channels: [email, email]",
        "campaigns/winback.yaml:10:23: the channel 'email' is here twice\n"
        "        channels: [email, email]\n                          ^",
    ),
    (
        "segment: quiet",
        "segment: quite",
        "campaigns/winback.yaml:3:21: there is no segment 'quite' in segments.yaml; did you mean 'quiet'?\n"
        "    audience: {segment: quite}\n                        ^",
    ),
    (
        "not: {country: DE}",
        "not: {segment: vip}",
        "campaigns/winback.yaml:17:25: there is no segment 'vip' in segments.yaml\n"
        "        if: {not: {segment: vip}}\n                            ^",
    ),
    (
        "0 9 * * MON",
        "every monday",
        "campaigns/winback.yaml:2:18: `cron` is not a schedule; expected minute, hour, day, month and weekday"
        ' that exist, like 0 9 * * MON\n    schedule: {cron: "every monday", timezone: Europe/Berlin}\n'
        "                     ^",
    ),
    (
        "Europe/Berlin",
        "Europe/Berln",
        "campaigns/winback.yaml:2:43: `timezone` is not a time zone; expected a name like Europe/Berlin;"
        " did you mean 'Europe/Berlin'?\n"
        '    schedule: {cron: "0 9 * * MON", timezone: Europe/Berln}\n' + " " * 46 + "^",
    ),
    (
        "goal: {event: order, within: 14d}\n",
        "",
        "campaigns/winback.yaml:6:13: nobody can convert: the campaign has no goal; expected a `goal`\n"
        "    exit_when: [converted]\n                ^",
    ),
    (
        "holdout: 10%",
        "purpose: transactional\nholdout: 10%",
        "campaigns/winback.yaml:6:1: `holdout` has no effect on transactional messages;"
        " expected the key left out\n    holdout: 10%\n    ^",
    ),
    (
        "holdout: 10%",
        "purpose: confirmation\nholdout: 10%",
        "campaigns/winback.yaml:6:1: `holdout` has no effect on confirmation messages;"
        " expected the key left out\n    holdout: 10%\n    ^",
    ),
    (
        "holdout: 10%",
        "topic: ofers\nholdout: 10%",
        "campaigns/winback.yaml:5:8: there is no topic 'ofers' in holdfast.yaml;"
        " expected one of offers, news; did you mean 'offers'?\n    topic: ofers\n           ^",
    ),
    (
        "holdout: 10%",
        "purpose: transactional\ntopic: offers",
        "campaigns/winback.yaml:6:1: `topic` has no effect on transactional messages;"
        " expected the key left out\n    topic: offers\n    ^",
    ),
    (
        "plain: {weight: 50}",
        "plain: {weight: 0}",
        "campaigns/winback.yaml:13:23: `weight` is 0; expected more than 0\n"
        "          plain: {weight: 0}\n                          ^",
    ),
    (
        "template: winback/hello",
        "template: ../../etc/passwd",
        "campaigns/winback.yaml:11:15: `template` is not well formed;"
        " expected a path under templates/, like winback/hello\n"
        "        template: ../../etc/passwd\n                  ^",
    ),
    (
        "audience: {segment: quiet}",
        "audience: {all: [{orders.coun: {gte: 2}}]}",
        "campaigns/winback.yaml:3:19: unknown key `orders.coun`; did you mean 'orders.count'?\n"
        "    audience: {all: [{orders.coun: {gte: 2}}]}\n                      ^",
    ),
    (
        "audience: {segment: quiet}",
        "audience: {country: DE, city: Berlin}",
        "campaigns/winback.yaml:3:11: `audience`: several conditions in one rule;"
        " expected one key; put several rules in a list under `all`\n"
        "    audience: {country: DE, city: Berlin}\n              ^",
    ),
    (
        "re_entry: {after: 90d}",
        "re_entry: sometimes",
        "campaigns/winback.yaml:6:11: `re_entry` cannot be 'sometimes';"
        " expected never or always or a mapping\n"
        "    re_entry: sometimes\n              ^",
    ),
    (
        "template: winback/hello\n",
        "template: winback/hello\n    post: [email]\n",
        "campaigns/winback.yaml:10:5: unknown key `channels`; expected after, coupon, id, post or template\n"
        "        channels: [email]\n        ^\n"
        "campaigns/winback.yaml:13:5: unknown key `variants`; expected after, coupon, id, post or template\n"
        "        variants:\n        ^",
    ),
    (
        "    channels: [email]\n    template: winback/reminder",
        "    post: [emial]\n    template: winback/reminder",
        "campaigns/winback.yaml:17:5: unknown key `if`; expected after, coupon, id, post or template\n"
        "        if: {not: {country: DE}}\n        ^\n"
        "campaigns/winback.yaml:18:12: there is no channel 'emial' in holdfast.yaml;"
        " expected one of email, telegram; did you mean 'email'?\n"
        "        post: [emial]\n               ^",
    ),
    (
        "  - id: reminder\n",
        "  - {id: hello, post: [email], templat: shout}\n  - id: reminder\n",
        "campaigns/winback.yaml:15:10: there is a step 'hello' above; expected an id of its own\n"
        "      - {id: hello, post: [email], templat: shout}\n             ^\n"
        "campaigns/winback.yaml:15:32: unknown key `templat`; did you mean 'template'?\n"
        "      - {id: hello, post: [email], templat: shout}\n" + " " * 35 + "^",
    ),
    (
        "  - id: hello\n    channels: [email]\n",
        "  - id: hello\n    chanels: [email]\n",
        "campaigns/winback.yaml:10:5: unknown key `chanels`; did you mean 'channels'?\n"
        "        chanels: [email]\n        ^",
    ),
    (
        "  - id: hello\n    channels: [email]\n",
        "  - id: hello\n",
        "campaigns/winback.yaml:9:5: `channels` is missing in item 1 of `steps`\n"
        "      - id: hello\n        ^",
    ),
    (
        "  - id: reminder\n",
        "  - shout\n  - id: reminder\n",
        "campaigns/winback.yaml:15:5: item 2 of `steps` is text; expected a mapping\n"
        "      - shout\n        ^",
    ),
    (
        "  - id: reminder\n",
        "  - {id: shout, post: [], template: shout}\n  - id: reminder\n",
        "campaigns/winback.yaml:15:23: `post` is an empty list; expected 1 or more items\n"
        "      - {id: shout, post: [], template: shout}\n" + " " * 26 + "^",
    ),
    (
        RIGHT[RIGHT.index("steps:") :],
        "steps:\n  - {id: shout, post: [email], template: shout}\n",
        "campaigns/winback.yaml:9:3: `steps`: nobody is written to by posts alone;"
        " expected a step with `channels` too\n      - {id: shout, post: [email], template: shout}\n      ^",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_what_is_wrong_in_a_campaign_is_said_with_its_place(
    project: Project, old: str, new: str, message: str
) -> None:
    assert said(project, old, new) == message


CAPABILITIES = {"email": Capabilities(kind="email"), "telegram": Capabilities(kind="x", posts=True)}

MIXED_UP = [
    (
        "post: [telegram, email]",
        "campaigns/winback.yaml:10:22: the channel 'email' sends messages, it publishes no posts;"
        " expected it under `channels`\n        post: [telegram, email]\n                         ^",
    ),
    (
        "channels: [email, telegram]",
        "campaigns/winback.yaml:10:23: the channel 'telegram' publishes posts, it sends nobody a message;"
        " expected it under `post`\n        channels: [email, telegram]\n                          ^",
    ),
]


def read_campaign_of(
    project: Project, step: str, capabilities: dict[str, Capabilities]
) -> tuple[Document, Campaign | None]:
    """The campaign whose first step says this beside its id and template."""
    path = project.root / "campaigns" / "winback.yaml"
    hello = RIGHT.index("    channels: [email]")
    other = "  - {id: other, channels: [email], template: note}\n"
    path.write_text(f"{RIGHT[:hello]}    {step}\n    template: note\n{other}")
    segments = {"quiet": Rule.model_validate({"country": "DE"})}
    return read_campaign(path, project, segments, capabilities)


@pytest.mark.parametrize(("step", "message"), MIXED_UP)
def test_a_channel_is_for_posts_or_for_messages(project: Project, step: str, message: str) -> None:
    document, _ = read_campaign_of(project, step, CAPABILITIES)
    assert [str(problem) for problem in document.problems] == [message]


def test_sends_and_posts_wait_through_the_steps_between_them(project: Project) -> None:
    posts = (
        "  - {id: day2, post: [email], template: note, after: 2d}\n"
        "  - {id: now, post: [email], template: note}\n"
    )
    campaign = load(project, RIGHT.replace("  - id: reminder\n", posts + "  - id: reminder\n"))
    assert [(step.id, step.after) for step in campaign.sends] == [
        ("hello", None),
        ("reminder", timedelta(days=6)),
    ]
    assert [(post.id, passed) for post, passed in campaign.posts] == [
        ("day2", timedelta(days=2)),
        ("now", timedelta(days=2)),
    ]


LATER = [
    (
        "holdout: 10%",
        "trigger: {event: order, within: 1d}",
        "campaigns/winback.yaml:5:1: `trigger` is not supported yet:"
        " starting from an event instead of a schedule\n    trigger: {event: order, within: 1d}\n    ^",
    ),
    (
        "not: {country: DE}",
        "not: {clicked: hello}",
        "campaigns/winback.yaml:17:16: `clicked` is not supported yet: responses to messages\n"
        "        if: {not: {clicked: hello}}\n                   ^",
    ),
    (
        "audience: {segment: quiet}",
        "audience: {all: [{country: DE}, {not: {churn_risk: true}}]}",
        "campaigns/winback.yaml:3:40: `churn_risk` is not supported yet: predictions\n"
        "    audience: {all: [{country: DE}, {not: {churn_risk: true}}]}\n" + " " * 43 + "^",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), LATER)
def test_keys_of_a_later_version_are_not_called_unknown(
    project: Project, old: str, new: str, message: str
) -> None:
    assert said(project, old, new) == message


def test_all_campaigns_load_by_name_and_all_their_problems_come_at_once(project: Project) -> None:
    folder = project.root / "campaigns"
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text(RIGHT.replace("winback", name, 1))
    segments = {"quiet": Rule.model_validate({"country": "DE"})}
    assert list(load_campaigns(project, segments)) == ["a", "b"]
    (folder / "a.yaml").write_text(RIGHT)
    (folder / "b.yaml").write_text("campaign: [\n")
    with pytest.raises(ProblemsFound) as found:
        load_campaigns(project, segments)
    assert [(problem.file, problem.line) for problem in found.value.problems] == [
        ("campaigns/a.yaml", 1),
        ("campaigns/b.yaml", 2),
    ]


def test_a_campaign_file_that_would_be_passed_over_is_a_problem(project: Project) -> None:
    (project.root / "campaigns" / "spring.yml").write_text(RIGHT)
    with pytest.raises(ProblemsFound) as found:
        load_campaigns(project, {})
    assert str(found.value) == "campaigns/spring.yml: ends in .yml; expected a name that ends in .yaml"


def test_an_unknown_campaign_gets_a_suggestion(project: Project) -> None:
    (project.root / "campaigns" / "winback.yaml").write_text(RIGHT)
    assert campaign_file(project.root, "winback").name == "winback.yaml"
    with pytest.raises(HoldfastError) as error:
        campaign_file(project.root, "winbak")
    assert str(error.value) == "there is no campaign 'winbak'; did you mean 'winback'?"


def test_segments_are_rules_by_name(root: Path) -> None:
    assert load_segments(root) == {}
    (root / "segments.yaml").write_text(SEGMENTS + "home: {any: [{country: DE}, {segment: quiet}]}\n")
    assert list(load_segments(root)) == ["quiet", "home"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: {not: {segment: b}}\nb: {any: [{country: DE}, {segment: a}]}\n",
            "segments.yaml:1:20: the segment 'a' leads back to itself; expected segments without a circle\n"
            "    a: {not: {segment: b}}\n                       ^\n"
            "segments.yaml:2:36: the segment 'b' leads back to itself; expected segments without a circle\n"
            "    b: {any: [{country: DE}, {segment: a}]}\n" + " " * 39 + "^",
        ),
        (
            "a: {segment: a}\n",
            "segments.yaml:1:14: the segment 'a' leads back to itself; expected segments without a circle\n"
            "    a: {segment: a}\n                 ^",
        ),
        (
            "home: {country: DE}\nabroad: {not: {segment: hme}}\n",
            "segments.yaml:2:25: there is no segment 'hme' in segments.yaml; did you mean 'home'?\n"
            "    abroad: {not: {segment: hme}}\n                            ^",
        ),
        (
            "vip: {tags: [vip]}\n",
            "segments.yaml:1:7: `tags` is not supported yet: tags of customers\n"
            "    vip: {tags: [vip]}\n          ^",
        ),
        (
            "VIP: {country: DE}\n",
            "segments.yaml:1:1: `VIP` is not well formed;"
            " expected small letters, digits, - and _, a letter first\n    VIP: {country: DE}\n    ^",
        ),
        ("- a\n", "segments.yaml:1:1: the file is a list; expected a mapping"),
    ],
)
def test_what_is_wrong_in_segments_is_said(root: Path, text: str, message: str) -> None:
    (root / "segments.yaml").write_text(text)
    with pytest.raises(ProblemsFound) as found:
        load_segments(root)
    assert str(found.value) == message


def test_segments_that_repeat_one_another_without_end_are_refused_where_they_are_used(
    project: Project,
) -> None:
    rules = {"s0": Rule.model_validate({"country": "DE"})}
    for n in range(1, 12):
        rules[f"s{n}"] = Rule.model_validate({"all": [{"segment": f"s{n - 1}"}] * 3})
    path = project.root / "campaigns" / "winback.yaml"
    path.write_text(RIGHT.replace("segment: quiet", "segment: s11"))
    with pytest.raises(ProblemsFound) as found:
        load_campaign(path, project, rules)
    assert str(found.value).splitlines()[0] == ("campaigns/winback.yaml:3:11: a rule of more than 300 rules")


def test_a_step_with_attachments_names_channels_that_take_them(project: Project) -> None:
    capabilities = {"email": Capabilities(kind="email", attachments=True), "telegram": Capabilities(kind="x")}
    document, _ = read_campaign_of(
        project, "channels: [email, telegram]\n    attach: [terms.pdf]", capabilities
    )
    assert [str(problem) for problem in document.problems] == [
        "campaigns/winback.yaml:10:23: the channel 'telegram' takes no attachments, and the step has `attach`"
        "; expected a channel for email, or a link in the template\n"
        "        channels: [email, telegram]\n                          ^"
    ]


@pytest.mark.parametrize("path", ["../secret.pdf", "/etc/passwd", ".env", "a/.env", "a//b.pdf", 'a".pdf', ""])
def test_what_is_attached_lies_under_templates(project: Project, path: str) -> None:
    document, campaign = read_campaign_of(project, f"channels: [email]\n    attach: ['{path}']", {})
    assert campaign is None
    [problem] = document.problems
    assert "`attach`" in problem.what or "attach" in str(problem)
