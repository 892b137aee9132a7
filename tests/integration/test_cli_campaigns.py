"""The command line as people call it: a campaign before, while and after it runs, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast.cli import main
from holdfast.delivery import advance, dispatch_chunk, enroll, open_run
from holdfast.wiring import open_workspace

HOSTILE = "<script>alert(1)</script>{{ 7*7 }}[red]\x1b[31m\nBcc: all@shop.example"
FILES = {
    "holdfast.yaml": "business: {timezone: Europe/Berlin}\nchannels: {email: {adapter: sandbox}}\n",
    "campaigns/hello.yaml": """\
campaign: hello
audience: {country: DE}
steps:
  - id: first
    channels: [email]
    template: hello
    variants: {plain: {weight: 1}, warm: {weight: 1, template: warm}}
  - {id: second, after: 4d, channels: [email], template: hello}
""",
    "templates/page.html": "{% block body %}{% endblock %}",
    "templates/hello.email.html": (
        "{% extends 'page.html' %}"
        "{% block subject %}Hello {{ customer.first_name | or_('you') }}{% endblock %}"
        "{% block body %}<p>Welcome, {{ customer.first_name | or_('you') }}.</p>{% endblock %}"
    ),
    "templates/warm.email.html": (
        "{% extends 'page.html' %}"
        "{% block subject %}Dear {{ customer.first_name | or_('you') }}{% endblock %}"
        "{% block body %}<p>So glad, {{ customer.first_name | or_('you') }}.</p>{% endblock %}"
    ),
    "customers.csv": (
        "customer_id,email,first_name,country,consent.email\n"
        "ann,ann@shop.example,Ann,DE,yes\n"
        "bob,bob@shop.example,Bob,DE,no\n"
        "cleo,,Cleo,DE,yes\n"
        "dora,dora@shop.example,Dora,AT,yes\n"
        f'eve,eve@shop.example,"{HOSTILE}",DE,yes\n'
    ),
}


@dataclass(frozen=True)
class Done:
    """What a command did: its exit code, and what it wrote where."""

    code: int
    out: str
    err: str


Holdfast = Callable[..., Done]


def write_project(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def clear_settings(patch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        patch.delenv(variable)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's `.holdfast`, its database with customers."""
    folder = tmp_path_factory.mktemp("imported")
    write_project(folder)
    command = ["--project", str(folder), "import", "customers", str(folder / "customers.csv")]
    with pytest.MonkeyPatch.context() as patch:
        clear_settings(patch)
        with pytest.raises(SystemExit, match="0"):
            main(command)
    return folder / ".holdfast"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project, which is the working directory, with nothing in its environment."""
    write_project(tmp_path)
    clear_settings(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def holdfast(project: Path, capsys: pytest.CaptureFixture[str]) -> Holdfast:
    """Calls the program in the project, as its console script does."""

    def call(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        return Done(int(end.value.code or 0), written.out, written.err)

    return call


@pytest.fixture
def shop(holdfast: Holdfast, project: Path, imported: Path) -> Holdfast:
    """The same with customers."""
    shutil.copytree(imported, project / ".holdfast")
    return holdfast


def send(project: Path, campaign: str, key: str) -> datetime:
    """Runs the campaign without Prefect; the moment it was sent."""
    ws, now = open_workspace(project, str), datetime.now(UTC)
    enroll(ws, open_run(ws, campaign, key, now, now), now)
    advance(ws, campaign, now)
    dispatch_chunk(ws, campaign, "email", "test", lambda: now)
    ws.close()
    return now


# --- plan -----------------------------------------------------------------------------------------


def test_a_plan_counts_whom_and_why_not_and_writes_nothing(shop: Holdfast) -> None:
    done = shop("plan", "hello")
    assert (done.code, done.err) == (0, "")
    title, *rows = done.out.splitlines()
    assert re.fullmatch(r"hello, as of \d{4}-\d\d-\d\d \d\d:\d\d UTC", title)
    assert [row.rstrip() for row in rows[:7]] == [
        "matched               4",
        "  cannot be reached  -1",
        "  no consent         -1",
        "enrolled              2",
        "to send               2",
        "    by email          2",
        "",
    ]
    assert "ann@" not in done.out
    assert re.fullmatch(r"Plan [0-9a-f]{12}: nobody has to approve it\.", rows[-1])
    assert shop("status").err == "no run yet\n"


def test_a_plan_is_facts_in_json_too(shop: Holdfast) -> None:
    facts = json.loads(shop("plan", "hello", "--as-of", "2026-11-21T09:00", "--json").out)
    samples = facts.pop("samples")
    assert [sample["channel"] for sample in samples] == ["email", "email"]
    assert len(facts.pop("plan")) == 12
    assert facts == {
        "campaign": "hello",
        "occurrence": None,
        "as_of": "2026-11-21T08:00:00+00:00",
        "approve_above": None,
        "needs_approval": False,
        "void": False,
        "waterfall": [
            {"step": "matched", "customers": 4, "before": None},
            {"step": "cannot be reached", "customers": -1, "before": None},
            {"step": "no consent", "customers": -1, "before": None},
            {"step": "enrolled", "customers": 2, "before": None},
            {"step": "to send", "customers": 2, "before": None},
            {"step": "by email", "customers": 2, "before": None},
        ],
        "to_send": {"email": 2},
        "channels": [{"channel": "email", "treated": 2, "to send": 2, "of these, later in their window": 0}],
        "seconds_needed": None,
        "rehearsal": "",
        "last_run": None,
        "edited": {},
        "awaiting_approval": [],
    }


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("2026-07-01", "2026-06-30 22:00"),
        ("2026-11-21T09:00", "2026-11-21 08:00"),
        ("2026-11-21T09:00Z", "2026-11-21 09:00"),
        ("2026-11-21 09:00+05:30", "2026-11-21 03:30"),
    ],
)
def test_a_time_without_a_zone_is_the_businesss_and_shown_in_utc(
    shop: Holdfast, written: str, shown: str
) -> None:
    assert shop("plan", "hello", "--as-of", written).out.startswith(f"hello, as of {shown} UTC\n")


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("yesterday", "'yesterday' is not a time; write it like 2026-11-21 or 2026-11-21T09:00"),
        ("2026-02-30", "'2026-02-30' is not a time; write it like 2026-11-21 or 2026-11-21T09:00"),
        ("", "'' is not a time; write it like 2026-11-21 or 2026-11-21T09:00"),
        ("0001-01-01", "'0001-01-01' is in no year of a business"),
        ("9999-12-31", "'9999-12-31' is in no year of a business"),
    ],
)
@pytest.mark.parametrize("command", [("plan", "hello"), ("why", "hello", "ann"), ("run", "hello")])
def test_what_is_no_time_is_wrong_use(
    shop: Holdfast, command: tuple[str, ...], written: str, complaint: str
) -> None:
    done = shop(*command, "--as-of", written)
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith(f"Error: Invalid value for '--as-of': {complaint}\n")


def test_a_run_of_the_future_is_wrong_use(shop: Holdfast) -> None:
    done = shop("run", "hello", "--as-of", "2199-12-31")
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("Error: Invalid value for '--as-of': a run cannot be of the future\n")
    assert shop("status").err == "no run yet\n"


def test_a_plan_says_where_nothing_will_be_delivered(shop: Holdfast, project: Path) -> None:
    (project / "holdfast.yaml").write_text(
        "business: {timezone: Europe/Berlin}\n"
        "channels: {email: {adapter: sendgrid, api_key: {env: SENDGRID_API_KEY}, sandbox_mode: true,"
        " reply_address: reply@in.acme.example, inbound_password: {env: INBOUND_PASSWORD}}}\n"
    )
    done = shop("plan", "hello")
    assert (done.code, done.err) == (0, "")
    assert "\nThis is a rehearsal by email: nothing is delivered there.\n" in done.out
    facts = json.loads(shop("plan", "hello", "--json").out)
    assert facts["rehearsal"] == "a rehearsal by email: nothing is delivered there"


# --- preview --------------------------------------------------------------------------------------


def test_a_preview_prints_the_text_and_writes_the_page(shop: Holdfast, project: Path) -> None:
    done = shop("preview", "hello", "--customer", "ann", "--output", "pages")
    assert (done.code, done.out) == (0, "Subject: Hello Ann\n\nWelcome, Ann.\n")
    assert done.err == "written: pages/hello.email.html, pages/hello.email.txt\n"
    assert "<p>Welcome, Ann.</p>" in (project / "pages" / "hello.email.html").read_text()
    assert (project / "pages" / "hello.email.txt").read_text() == "Welcome, Ann.\n"


def test_a_preview_says_what_is_attached(shop: Holdfast, project: Path) -> None:
    (project / "templates" / "terms.pdf").write_bytes(b"%PDF")
    campaign = project / "campaigns" / "hello.yaml"
    campaign.write_text(campaign.read_text().replace("after: 4d,", "after: 4d, attach: [terms.pdf],"))
    assert "attach" not in shop("validate").out
    done = shop("preview", "hello", "--customer", "ann", "--step", "second")
    assert done.out.endswith("\n\nAttached: terms.pdf\n")
    (project / "templates" / "terms.pdf").unlink()
    done = shop("validate")
    assert done.code == 1
    assert "there is no file templates/terms.pdf to attach" in done.out


def test_a_preview_goes_to_a_folder_that_git_does_not_see(shop: Holdfast, project: Path) -> None:
    assert shop("preview", "hello", "--customer", "ann").code == 0
    assert (project / ".holdfast" / "preview" / "hello.email.html").is_file()


def test_a_preview_is_of_the_step_and_variant_that_were_asked_for(shop: Holdfast) -> None:
    ann = ("preview", "hello", "--customer", "ann")
    assert shop(*ann, "--variant", "warm").out.startswith("Subject: Dear Ann\n")
    assert shop(*ann, "--step", "second", "--channel", "email").out.startswith("Subject: Hello Ann\n")


def test_a_hostile_name_is_text_wherever_it_is_shown(shop: Holdfast, project: Path) -> None:
    done = shop("preview", "hello", "--customer", "eve", "--output", "pages")
    assert done.code == 0
    assert "\x1b" not in done.out
    [subject] = [line for line in done.out.splitlines() if line.startswith("Subject: ")]
    assert "<script>alert(1)</script>{{ 7*7 }}[red]" in subject
    assert "Bcc:" in subject, "on the subject's own line, so that it is no header"
    page = (project / "pages" / "hello.email.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7*7 }}" in page


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (
            ("--customer", "nobody"),
            "there is no customer with this id",
            "ids are those of the imported files",
        ),
        (
            ("--customer", "ann", "--step", "third"),
            "there is no step 'third' here",
            "there are: first, second",
        ),
        (
            ("--customer", "ann", "--variant", "hot"),
            "there is no variant 'hot' here",
            "there are: plain, warm",
        ),
        (("--customer", "ann", "--channel", "sms"), "there is no channel 'sms' here", "there are: email"),
        (
            ("--customer", "ann", "--step", "second", "--variant", "warm"),
            "there is no variant 'warm' here",
            "there are: none",
        ),
    ],
)
def test_what_cannot_be_previewed_is_told_with_a_hint(
    shop: Holdfast, arguments: tuple[str, ...], error: str, hint: str
) -> None:
    assert shop("preview", "hello", *arguments) == Done(1, "", f"error: {error}\nhint: {hint}\n")


def test_a_preview_that_cannot_be_written_says_where(shop: Holdfast) -> None:
    ann = ("preview", "hello", "--customer", "ann", "-o")
    assert shop(*ann, "holdfast.yaml").err.endswith("dir 'holdfast.yaml' is a file.\n")
    assert shop(*ann, "holdfast.yaml/x") == Done(
        1, "", "error: cannot use holdfast.yaml/x: Not a directory\n"
    )


# --- status and why -------------------------------------------------------------------------------


def test_status_shows_what_the_ledger_knows(shop: Holdfast, project: Path) -> None:
    due = send(project, "hello", "june") + timedelta(days=4)
    done = shop("status", "hello")
    assert (done.code, done.err) == (0, "")
    assert [line.rstrip() for line in done.out.splitlines()] == [
        "campaign  occurrence  state    messages    in doubt  next due (UTC)",
        f"hello     june        running  2 accepted            {due:%Y-%m-%d %H:%M}",
    ]
    assert json.loads(shop("status", "--json").out) == {
        "runs": [
            {
                "campaign": "hello",
                "occurrence": "june",
                "state": "running",
                "reason": None,
                "messages": {"accepted": 2},
                "posts": {},
                "in_doubt": 0,
                "next_due": due.isoformat(),
            }
        ]
    }


def test_an_occurrences_name_is_text_in_a_table(shop: Holdfast, project: Path) -> None:
    send(project, "hello", "[/red] :smile: [bold]x")
    assert "[/red] :smile: [bold]x" in shop("status").out


def test_a_long_row_is_one_line_for_who_reads_it_by_a_program(shop: Holdfast, project: Path) -> None:
    send(project, "hello", "k" * 100)
    assert f"hello     {'k' * 100}  running" in shop("status").out


def test_why_tells_every_decision_and_the_rule(shop: Holdfast, project: Path) -> None:
    sent = send(project, "hello", "june")
    assert shop("why", "hello", "ann").out == (
        "june: enrolled, treated\n"
        f"  first by email: accepted, {sent:%Y-%m-%d %H:%M} UTC\n"
        "\nthe campaign's rule, for this customer:\n"
        "  yes country is DE\n"
    )
    assert shop("why", "hello", "bob").out.startswith("june: turned away: no consent\n")
    assert shop("why", "hello", "cleo").out.startswith("june: turned away: unreachable\n")
    assert shop("why", "hello", "dora").out == (
        "no run has selected this customer\n\nthe campaign's rule, for this customer:\n  no  country is DE\n"
    )


def test_why_is_facts_in_json_too(shop: Holdfast, project: Path) -> None:
    sent = send(project, "hello", "june")
    assert json.loads(shop("why", "hello", "ann", "--json").out) == {
        "decisions": [
            {
                "occurrence": "june",
                "arm": "treated",
                "reason": None,
                "messages": [
                    {
                        "step": "first",
                        "channel": "email",
                        "preference": None,
                        "state": "accepted",
                        "reason": None,
                        "at": sent.isoformat(),
                    }
                ],
            }
        ],
        "rule": [{"depth": 0, "words": "country is DE", "matched": True}],
    }


def test_why_without_a_customer_counts_whom_each_part_of_the_rule_matches(shop: Holdfast) -> None:
    assert shop("why", "hello") == Done(0, "           4  country is DE\n", "")
    assert json.loads(shop("why", "hello", "--json").out) == [
        {"depth": 0, "words": "country is DE", "customers": 4}
    ]


def test_an_unknown_customer_is_not_repeated_on_the_screen(shop: Holdfast) -> None:
    assert shop("why", "hello", "ann@shop.example") == Done(
        1, "", "error: there is no customer with this id\nhint: ids are those of the imported files\n"
    )


@pytest.mark.parametrize("command", ["why", "preview"])
def test_an_id_that_is_no_text_is_wrong_use(shop: Holdfast, command: str) -> None:
    given = ("ann\udcff",) if command == "why" else ("--customer", "ann\udcff")
    done = shop(command, "hello", *given)
    assert done.code == 2
    assert done.err.endswith("this is not text in UTF-8\n")


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [("plan",), ("run",), ("status",), ("why", "ann"), ("preview", "--customer", "ann")],
    ids=lambda command: command[0],
)
def test_an_unknown_campaign_is_an_error_with_a_hint(shop: Holdfast, command: tuple[str, ...]) -> None:
    name, *others = command
    done = shop(name, "helo", *others)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[0].startswith("error: there is no campaign 'helo'")
    assert done.err.splitlines()[1].startswith("hint: ")
    assert "hello" in done.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("plan",), "Missing argument 'CAMPAIGN'."),
        (("plan", "hello", "--jsn"), "No such option: --jsn"),
        (("preview", "hello"), "Missing option '--customer'."),
        (("deploy", "hello"), "Got unexpected extra argument"),
        (("import", "people", "customers.csv"), "No such command 'people'."),
        (("import", "customers", "none.csv"), "Invalid value for 'FILE': file 'none.csv' does not exist."),
        (("import", "customers", "campaigns"), "Invalid value for 'FILE': file 'campaigns' is a directory."),
        (("run", "hello", "--key", ""), "Invalid value for '--key': expected 1 to 100 printable characters"),
        (
            ("run", "hello", "--key", "a\x1b"),
            "Invalid value for '--key': expected 1 to 100 printable characters",
        ),
        (("schema", "customers"), "'customers' is not one of 'campaign', 'project', 'segments'."),
        (("frobnicate",), "No such command 'frobnicate'."),
    ],
)
def test_wrong_use_is_exit_code_two(holdfast: Holdfast, arguments: tuple[str, ...], complaint: str) -> None:
    done = holdfast(*arguments)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err


@pytest.mark.parametrize(
    "command",
    [("plan", "hello"), ("run", "hello"), ("status",), ("why", "hello", "ann"), ("deploy",)],
    ids=lambda command: command[0],
)
def test_every_problem_of_every_file_stops_every_command(
    holdfast: Holdfast, project: Path, command: tuple[str, ...]
) -> None:
    (project / "campaigns" / "bye.yaml").write_text("campaign: bye\naudience: {country: DE}\n")
    (project / "campaigns" / "hello.yaml").write_text("campaign: hello\nholdout: 10\nsteps: []\n")
    done = holdfast(*command)
    assert (done.code, done.out) == (1, "")
    assert [line for line in done.err.splitlines() if re.search(r"\.yaml:\d", line)] == [
        "error: campaigns/bye.yaml:1:1: `steps` is missing",
        "campaigns/hello.yaml:1:1: `audience` is missing",
        "campaigns/hello.yaml:2:10: `holdout` is not a share;"
        " expected a percentage from 0% to 100%, like 10%",
        "campaigns/hello.yaml:3:8: `steps` is an empty list; expected 1 or more items",
    ]


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def as_binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def as_huge(path: Path) -> None:
    path.write_text("a: 1\n" * 100_000)


def as_bomb(path: Path) -> None:
    path.write_text(
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
            for before, name in zip("abcdefgh", "bcdefghi", strict=True)
        )
    )


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (as_folder, "campaigns/hello.yaml: cannot be read: Is a directory"),
        (as_dangling_link, "campaigns/hello.yaml: cannot be read: No such file or directory"),
        (as_binary, "campaigns/hello.yaml: is not text in UTF-8"),
        (as_huge, "campaigns/hello.yaml: is too large; expected at most 256 KB"),
        (as_bomb, "the file unfolds to too much; expected at most 40 levels and 10,000 values"),
    ],
)
def test_a_file_that_is_no_campaign_is_told_by_its_name(
    holdfast: Holdfast, project: Path, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(project / "campaigns" / "hello.yaml")
    planned, validated = holdfast("plan", "hello"), holdfast("validate")
    assert (planned.code, planned.out) == (1, "")
    assert told in planned.err
    assert (validated.code, validated.err) == (1, "1 problem in 1 file\n")
    assert told in validated.out


@pytest.mark.parametrize("command", [("plan", "hello"), ("status",), ("why", "hello", "ann"), ("deploy",)])
def test_a_database_that_does_not_answer_is_told_without_its_password(
    holdfast: Holdfast, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", "postgresql://shop:hunter2@127.0.0.1:1/shop")
    assert holdfast(*command) == Done(
        1,
        "",
        "error: the database at postgresql+psycopg://shop:***@127.0.0.1:1/shop does not answer\n"
        "hint: start it, or correct HOLDFAST_DATABASE_URL\n",
    )


def test_a_file_in_the_place_of_the_database_is_told(holdfast: Holdfast, project: Path) -> None:
    (project / ".holdfast").mkdir()
    (project / ".holdfast" / "holdfast.db").write_bytes(b"no database at all" * 500)
    done = holdfast("status")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(
        f"error: the database at sqlite:///{project}/.holdfast/holdfast.db does not answer"
    )


def test_a_folder_in_the_place_of_the_secret_is_told(holdfast: Holdfast, project: Path) -> None:
    secret = project / ".holdfast" / "secret"
    secret.mkdir(parents=True)
    assert holdfast("status") == Done(1, "", f"error: cannot use {secret}: Is a directory\n")


def test_a_duration_beyond_the_calendar_is_a_problem_and_no_crash(holdfast: Holdfast, project: Path) -> None:
    with (project / "campaigns" / "hello.yaml").open("a") as file:
        file.write("re_entry: {after: 999999w}\n")
    done = holdfast("plan", "hello")
    assert done.code == 1
    assert "`after`: longer than a century; expected at most 36500d" in done.err


# --- run ------------------------------------------------------------------------------------------


def test_run_sends_through_prefect_and_a_second_time_sends_nothing(
    shop: Holdfast, project: Path, prefect_server: str
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "holdfast.cli", "run", "hello", "--key", "june", *arguments],
            env=os.environ | {"PREFECT_API_URL": prefect_server},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    first = run()
    assert first.returncode == 0, first.stderr
    assert [line.rstrip() for line in first.stdout.splitlines()] == [
        "hello, occurrence june",
        "matched                 4",
        "  cannot be reached    -1",
        "  no consent           -1",
        "enrolled                2",
        "to send                 2",
        "    accepted by email   2",
    ]
    assert "Traceback" not in first.stderr
    sent = sorted((project / ".holdfast" / "sandbox" / "email").iterdir())
    assert len(sent) == 2

    second = run("--json")
    assert second.returncode == 0, second.stderr
    facts = json.loads(second.stdout)
    assert facts["state"] == "Completed"
    assert facts["runs"][0]["messages"] == {"accepted": 2}
    assert sorted((project / ".holdfast" / "sandbox" / "email").iterdir()) == sent
