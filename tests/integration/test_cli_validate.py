"""The command line as people call it: `validate`, `schema`, `db upgrade`, `import`, and how it fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from channels import known_adapters
from holdfast.errors import ProblemsFound
from holdfast.wiring import open_workspace

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project that the repository ships."""
    for name in ("holdfast.yaml", "segments.yaml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for name in ("campaigns", "templates"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    return tmp_path


def holdfast(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return subprocess.run(
        [sys.executable, "-m", "holdfast.cli", *arguments],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def processor_time(command: Callable[[], object]) -> float:
    """Seconds of processor time of the quickest of three calls: what else runs here is not its doing."""
    taken = []
    for _ in range(3):
        start = os.times()
        command()
        end = os.times()
        taken.append(end.children_user + end.children_system - start.children_user - start.children_system)
    return min(taken)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_shipped_project_is_valid(project: Path) -> None:
    done = holdfast(project, "validate")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "5 campaigns checked, no problems\n")


def test_every_problem_of_every_file_is_printed_at_once(project: Path) -> None:
    replace(project / "holdfast.yaml", "adapter: sandbox", "adapter: sandbax")
    replace(project / "segments.yaml", "orders.count:", "orders.coun:")
    replace(project / "campaigns" / "thanks.yaml", "channels: [receipts]", "channels: [reciepts]")
    replace(
        project / "campaigns" / "winback.yaml", "template: winback/reminder", "template: winback/remainder"
    )
    replace(project / "campaigns" / "winback.yaml", "within: 14d", "within: 14")
    done = holdfast(project, "validate")
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if not line.startswith(" ")] == [
        "campaigns/thanks.yaml:11:16: there is no channel 'reciepts' in holdfast.yaml;"
        " expected one of email, receipts, telegram, sms, x; did you mean 'receipts'?",
        "campaigns/winback.yaml:13:30: `within` is not a duration;"
        " expected a number and s, min, h, d or w, like 14d",
        "holdfast.yaml:15:20: there is no channel adapter 'sandbax'; expected one of"
        f" {', '.join(known_adapters())}; did you mean 'sandbox'?",
        "segments.yaml:6:7: unknown key `orders.coun`; did you mean 'orders.count'?",
    ]
    assert done.stderr == "4 problems in 4 files\n"


def test_a_missing_template_is_shown_where_the_campaign_names_it(project: Path) -> None:
    replace(
        project / "campaigns" / "winback.yaml", "template: winback/reminder", "template: winback/remainder"
    )
    done = holdfast(project, "validate", "winback")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == (
        "campaigns/winback.yaml:32:15: there is no template winback/remainder for email;"
        " expected templates/winback/remainder.email.mjml or templates/winback/remainder.email.html;"
        " did you mean 'winback/reminder'?"
    )


def test_a_template_that_does_not_parse_is_shown_at_its_line(project: Path) -> None:
    template = project / "templates" / "thanks" / "order.email.mjml"
    number = len(template.read_text().splitlines()) + 1
    template.write_text(template.read_text().rstrip("\n") + "\n{% if %}\n")
    done = holdfast(project, "validate", "thanks")
    assert done.returncode == 1
    assert f"templates/thanks/order.email.mjml:{number}:" in done.stdout


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("port: 25250000", "holdfast.yaml:16:52: `port` is 25250000; expected at most 65535"),
        ("prot: 2525", "holdfast.yaml:16:46: unknown key `prot`; did you mean 'port'?"),
        (
            "port: 2525, username: shop",
            "holdfast.yaml:16:13: `receipts`: `username` and `password` go together",
        ),
        (
            "port: 2525, username: shop, password: hunter2",
            "holdfast.yaml:16:84: `password` is a secret and does not belong in a file;"
            " expected {env: NAME} or {block: NAME}",
        ),
        (
            "port: 2525, bounce_address: b@c.example, mailbox: {host: h, username: u, password: hunter2}",
            "holdfast.yaml:16:129: `password` is a secret and does not belong in a file;",
        ),
        (
            "port: 2525, dkim: {domain: c.example, selector: s_s, key: hunter2}",
            "holdfast.yaml:16:104: `key` is a secret and does not belong in a file;",
        ),
    ],
)
def test_settings_of_a_channel_are_checked_by_its_adapter(project: Path, settings: str, message: str) -> None:
    replace(project / "holdfast.yaml", "port: 2525", settings)
    done = holdfast(project, "validate")
    assert done.returncode == 1
    assert message in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_a_secret_named_by_reference_need_not_be_there_to_validate(project: Path) -> None:
    replace(
        project / "holdfast.yaml",
        "port: 2525, security: none",
        "port: {env: SMTP_PORT}, username: shop, password: {block: smtp-password}",
    )
    assert holdfast(project, "validate").returncode == 0


def test_a_key_may_be_a_list_of_references_but_none_in_plain_sight(project: Path) -> None:
    keys = "adapter: sandbox, webhook_key: [{env: NEW_KEY}, {env: OLD_KEY}]"
    replace(project / "holdfast.yaml", "adapter: sandbox", keys)
    assert holdfast(project, "validate").returncode == 0
    replace(project / "holdfast.yaml", "{env: OLD_KEY}", "hunter2")
    done = holdfast(project, "validate")
    assert done.returncode == 1
    assert "`webhook_key` is a secret and does not belong in a file" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_problems_are_facts_in_json_too(project: Path) -> None:
    replace(project / "campaigns" / "winback.yaml", "holdout: 10%", "holdout: 10")
    done = holdfast(project, "validate", "--json", "winback")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {
        "campaigns": ["winback"],
        "problems": [
            {
                "file": "campaigns/winback.yaml",
                "line": 14,
                "column": 10,
                "what": "`holdout` is not a share",
                "expected": "a percentage from 0% to 100%, like 10%",
                "suggestion": "",
                "source_line": "holdout: 10",
            }
        ],
    }


def test_an_unknown_campaign_is_an_error_with_a_hint(project: Path) -> None:
    done = holdfast(project, "validate", "winbak")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: there is no campaign 'winbak'; did you mean 'winback'?\n"
        "hint: campaigns are: feedback, news, sorry, thanks, winback\n"
    )


def test_without_a_project_the_error_says_what_to_do(tmp_path: Path) -> None:
    done = holdfast(tmp_path, "validate")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: there is no holdfast.yaml in {tmp_path} or above it\n"
        "hint: go into a project, or name its folder: --project DIR\n"
    )


def test_the_project_can_be_named_from_elsewhere(project: Path) -> None:
    assert holdfast(Path("/"), "--project", str(project), "validate", "thanks").returncode == 0


def test_wrong_use_is_exit_code_two(project: Path) -> None:
    done = holdfast(project, "validate", "--jsn")
    assert done.returncode == 2
    assert "No such option: --jsn" in done.stderr


def test_the_schema_is_printed_for_each_file(tmp_path: Path) -> None:
    for file in ("campaign", "project", "segments"):
        done = holdfast(tmp_path, "schema", file)
        assert done.returncode == 0
        assert json.loads(done.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_customers_come_in_and_refused_rows_are_told(project: Path) -> None:
    file = project / "customers.csv"
    file.write_text("customer_id,email,first_name\n1,ann@shop.example,Ann\n2,nonsense,Bob\n")
    done = holdfast(project, "import", "customers", "--json", "customers.csv")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["read"], report["kept"], report["rejected"]) == (2, 1, 1)
    assert done.stderr == (
        "customers: 2 rows read, 1 kept, 1 refused\nrefused rows with their reasons: customers.rejects.csv\n"
    )
    assert "3,email: not an address of this kind,2,nonsense,Bob" in (
        (project / "customers.rejects.csv").read_text()
    )


def test_a_database_that_does_not_answer_is_told_without_its_password(project: Path) -> None:
    done = holdfast(
        project, "db", "upgrade", HOLDFAST_DATABASE_URL="postgresql://shop:hunter2@127.0.0.1:1/shop"
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: the database at postgresql+psycopg://shop:***@127.0.0.1:1/shop does not answer\n"
        "hint: start it, or correct HOLDFAST_DATABASE_URL\n"
    )


def test_a_missing_secret_is_named(project: Path) -> None:
    with (project / "holdfast.yaml").open("a") as file:
        file.write("database: {env: SHOP_DATABASE}\n")
    done = holdfast(project, "db", "upgrade")
    assert (done.returncode, done.stderr) == (
        1,
        "error: environment variable SHOP_DATABASE is not set\nhint: set it: export SHOP_DATABASE=…\n",
    )


def test_an_unforeseen_error_is_one_line_without_its_text(project: Path) -> None:
    assert holdfast(project, "db", "upgrade").returncode == 0
    # A table that somebody dropped is nothing anybody foresaw.
    with closing(sqlite3.connect(project / ".holdfast" / "holdfast.db")) as database:
        database.execute("DROP TABLE runs")
    done = holdfast(project, "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("unexpected OperationalError at holdfast/store/")
    assert done.stderr.endswith("; HOLDFAST_DEBUG=1 shows more\n")
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" in holdfast(project, "status", HOLDFAST_DEBUG="1").stderr


def test_help_is_there_at_once_and_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from holdfast.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = ('prefect', 'sqlalchemy', 'rich', 'jinja2', 'babel', 'pydantic')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert processor_time(lambda: holdfast(tmp_path, "--help")) < 0.5


def test_validating_does_not_import_prefect(project: Path) -> None:
    code = (
        "import sys\n"
        "from holdfast.cli import main\n"
        "try: main(['validate'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('prefect', 'alembic') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project
    )
    assert done.stdout == "[]\n"


def test_ten_campaigns_are_validated_in_under_two_seconds(project: Path) -> None:
    shipped = (project / "campaigns" / "winback.yaml").read_text()
    for number in range(7):
        text = shipped.replace("campaign: winback", f"campaign: winback{number}", 1)
        (project / "campaigns" / f"winback{number}.yaml").write_text(text)
    assert holdfast(project, "validate").stderr == "12 campaigns checked, no problems\n"
    assert processor_time(lambda: holdfast(project, "validate")) < 2


@pytest.mark.parametrize(
    ("recovery", "problem"),
    [
        ("sory", "there is no campaign 'sory'; did you mean 'sorry'?"),
        (
            "winback",
            "whoever has complained gets nothing of 'winback': its purpose is marketing;"
            " expected a campaign with `purpose: transactional`",
        ),
    ],
)
def test_a_recovery_is_a_campaign_that_reaches_who_has_complained(
    project: Path, recovery: str, problem: str
) -> None:
    replace(project / "holdfast.yaml", "# cases: {recovery: sorry}", f"cases: {{recovery: {recovery}}}")
    with pytest.raises(ProblemsFound) as raised:
        open_workspace(project, str)
    assert problem in str(raised.value)
    if recovery == "winback":
        assert problem in holdfast(project, "validate").stdout


def test_a_double_opt_in_that_nobody_is_asked_for_is_a_problem_and_the_documented_campaign_ends_it(
    project: Path,
) -> None:
    replace(project / "holdfast.yaml", "defaults:", "defaults:\n  double_opt_in: [email]")
    found = holdfast(project, "validate")
    assert found.returncode == 1
    assert "no campaign asks customers to confirm a yes by email" in found.stdout
    docs = (REPOSITORY / "docs" / "campaigns.md").read_text(encoding="utf-8")
    [written] = re.findall(r"    # campaigns/confirm\.yaml\n((?:    .*\n)+)", docs)
    (project / "campaigns" / "confirm.yaml").write_text(textwrap.dedent(written))
    assert holdfast(project, "validate").stdout == ""
