"""The project file, what the environment does to it, and secrets."""

from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from holdfast.errors import ProblemsFound, SettingsError
from holdfast.settings import (
    Project,
    SecretRef,
    database_location,
    find_project,
    link_secrets,
    load_project,
    project_secret,
    resolve_options,
    resolve_secret,
)

MINIMAL = "brand: {name: Shop, from: Shop <hi@shop.example>}\n"


def no_block(name: str) -> str:
    raise SettingsError(f"there is no Prefect Secret block named {name!r}")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes a project file in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        path = tmp_path / "holdfast.yaml"
        path.write_text(text)
        return path

    return write


def said(path: Path, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ProblemsFound) as found:
        load_project(path, environment or {})
    return str(found.value)


def test_a_project_says_who_it_is_and_has_defaults_for_the_rest(written: Callable[[str], Path]) -> None:
    path = written(MINIMAL)
    project = load_project(path, {})
    assert project.root == path.parent
    assert (project.brand.name, project.brand.sender) == ("Shop", "Shop <hi@shop.example>")
    assert project.channels["email"].adapter == "sandbox"
    assert project.business.timezone == "UTC"


def test_an_empty_file_is_a_project(written: Callable[[str], Path]) -> None:
    assert load_project(written(""), {}).business.currency == "EUR"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "bussiness: {currency: EUR}\n",
            "holdfast.yaml:1:1: unknown key `bussiness`; did you mean 'business'?\n"
            "    bussiness: {currency: EUR}\n    ^",
        ),
        (
            "business: {currency: euro}\n",
            "holdfast.yaml:1:22: `currency` is not well formed; expected three capital letters, like EUR\n"
            "    business: {currency: euro}\n                         ^",
        ),
        (
            "business: {timezone: Europe/Berlni}\n",
            "holdfast.yaml:1:22: `timezone` is not a time zone; expected a name like Europe/Berlin;"
            " did you mean 'Europe/Berlin'?\n    business: {timezone: Europe/Berlni}\n"
            "                         ^",
        ),
        (
            "business: {locale: english (UK)}\n",
            "holdfast.yaml:1:20: `locale` is not well formed; expected a language, like en or ar-EG\n"
            "    business: {locale: english (UK)}\n                       ^",
        ),
        (
            "topics: {offers: {}}\n",
            "holdfast.yaml:1:18: `offers`: no name that customers could read; expected one in a language"
            " at least, like {en: Offers}\n    topics: {offers: {}}\n                     ^",
        ),
        (
            "privacy: {erase_after: 60d}\n",
            "holdfast.yaml:1:10: `privacy`: customers are told that it takes a month;"
            " expected `erase_after` of 30d at most\n    privacy: {erase_after: 60d}\n             ^",
        ),
        (
            "brand: {from: Acme}\n",
            "holdfast.yaml:1:15: `from` is not a mailbox; expected one like Acme <hello@acme.example>\n"
            "    brand: {from: Acme}\n                  ^",
        ),
        (
            "lifecycle: {active: 90d, lapsed: 30d}\n",
            "holdfast.yaml:1:12: `lifecycle`: nobody could be at risk;"
            " expected `lapsed` longer than `active`\n"
            "    lifecycle: {active: 90d, lapsed: 30d}\n               ^",
        ),
        (
            "channels: {email: {enabled: true}}\n",
            "holdfast.yaml:1:19: `adapter` is missing in `email`\n    channels: {email: {enabled: true}}\n"
            "                      ^",
        ),
        (
            "loyalty: {tiers: []}\n",
            "holdfast.yaml:1:1: `loyalty` is not supported yet: tiers and points\n"
            "    loyalty: {tiers: []}\n    ^",
        ),
        (
            "sources: {shop: {}}\n",
            "holdfast.yaml:1:17: `shop`: a source of nothing;"
            " expected customers, orders, lines, refunds or events\n"
            "    sources: {shop: {}}\n                    ^",
        ),
        (
            "sources: {shop: {orders: {sql: select 1}}}\n",
            "holdfast.yaml:1:17: `shop`: files or a database; expected `url` with `sql` in every part,"
            " or `file` in every part\n    sources: {shop: {orders: {sql: select 1}}}\n                    ^",
        ),
        (
            "sources:\n  shop:\n    url: {env: SHOP_URL}\n    orders: {file: orders.csv}\n",
            "holdfast.yaml:3:5: `shop`: files or a database; expected `url` with `sql` in every part,"
            " or `file` in every part\n        url: …\n        ^",
        ),
        (
            "sources: {shop: {orders: {sql: select 1, file: orders.csv}}}\n",
            "holdfast.yaml:1:26: `orders`: comes from one place; expected either `sql` or `file`\n"
            "    sources: {shop: {orders: {sql: select 1, file: orders.csv}}}\n" + " " * 29 + "^",
        ),
        (
            "sources: {files: {orders: {file: orders.csv, cursor: updated_at}}}\n",
            "holdfast.yaml:1:27: `orders`: `cursor` is a column of `sql`; expected none beside `file`\n"
            "    sources: {files: {orders: {file: orders.csv, cursor: updated_at}}}\n" + " " * 30 + "^",
        ),
        (
            "sources: {shop: {orders: {sql: 'select 1 where at > :cursor'}}}\n",
            "holdfast.yaml:1:26: `orders`: the query is narrowed for you; expected no :cursor in it,"
            " but `cursor: COLUMN` beside\n"
            "    sources: {shop: {orders: {sql: 'select 1 where at > :cursor'}}}\n" + " " * 29 + "^",
        ),
        (
            "channels: {email: {adapter: sandbox, rate: 600}}\n",
            "holdfast.yaml:1:44: `rate` is not a rate; expected a number of messages a s, min or h,"
            " like 600/min\n"
            "    channels: {email: {adapter: sandbox, rate: 600}}\n" + " " * 47 + "^",
        ),
        (
            "channels: {email: {adapter: sandbox, slow_start: 10min}}\n",
            "holdfast.yaml:1:19: `email`: slow_start leads up to a rate; expected `rate` beside it\n"
            "    channels: {email: {adapter: sandbox, slow_start: 10min}}\n" + " " * 22 + "^",
        ),
        (
            "runner: {kind: threads, address: 'tcp://dask:8786'}\n",
            "holdfast.yaml:1:9: `runner`: only a Dask cluster has an address; expected `kind: dask`\n"
            "    runner: {kind: threads, address: 'tcp://dask:8786'}\n" + " " * 12 + "^",
        ),
        (
            "web: {metrics_token: {env: METRICS_TOKEN}}\n",
            "holdfast.yaml:1:7: `metrics_token` is no key any more;"
            " expected `tokens: {prometheus: {token: …, scopes: metrics}}`\n    web: { …\n          ^",
        ),
        (
            "web: {tokens: {shop: {token: {env: SHOP_TOKEN}, scopes: order}}}\n",
            "holdfast.yaml:1:57: `scopes` cannot be 'order'; expected customers, orders, lines, refunds,"
            " events, cases or metrics; did you mean 'orders'?\n    web: {tokens: …\n" + " " * 60 + "^",
        ),
        (
            "root: /tmp\n",
            "holdfast.yaml:1:1: unknown key `root`; expected brand, business, cases, channels, database,"
            " defaults, dispatch, global_holdout, lifecycle, link_secrets, privacy, referrals, runner,"
            " schedules, secret, sources, topics or web\n"
            "    root: /tmp\n    ^",
        ),
    ],
)
def test_what_is_wrong_in_a_project_file_is_said(
    written: Callable[[str], Path], text: str, message: str
) -> None:
    assert said(written(text)) == message


@pytest.mark.parametrize(
    "text",
    [
        "database: postgresql://shop:hunter2@db/shop\n",
        "secret: hunter2\n",
        "sources: {shop: {url: postgresql://shop:hunter2@db/shop, orders: {sql: select 1}}}\n",
        "sources:\n  shop:\n    url: postgresql://shop:hunter2@db/shop\n    orders: {sql: select 1}\n",
        "secret: {env: A, block: hunter2}\n",
        "web: {tokens: {shop: {token: hunter2, scopes: orders}}}\n",
        "web:\n  tokens:\n    shop:\n      token: hunter2\n      scopes: orders\n",
        "channels: {mail: {adapter: [smtp], password: hunter2}}\n",
        "channels:\n  mail:\n    adapter: [smtp]\n    password: hunter2: x\n",
    ],
)
def test_a_secret_written_into_the_file_by_mistake_is_not_repeated(
    written: Callable[[str], Path], text: str
) -> None:
    assert "hunter2" not in said(written(text))


def test_the_environment_wins_over_the_file(written: Callable[[str], Path]) -> None:
    project = load_project(
        written(MINIMAL + "dispatch: {chunk: 100}\n"),
        {
            "HOLDFAST_BUSINESS__TIMEZONE": "Asia/Tehran",
            "HOLDFAST_DISPATCH__CHUNK": "500",
            "HOLDFAST_GLOBAL_HOLDOUT": "2%",
            "HOLDFAST_CHANNELS__MAIL__ADAPTER": "smtp",
            "HOLDFAST_CHANNELS__MAIL__PORT": "2525",
            "HOLDFAST_DATABASE_URL": "sqlite:///elsewhere.db",
            "BUSINESS__LOCALE": "de",
        },
    )
    assert project.business.timezone == "Asia/Tehran"
    assert project.business.locale == "en"
    assert project.dispatch.chunk == 500
    assert project.global_holdout == 0.02
    assert project.channels["mail"].options == {"port": "2525"}


def test_a_wrong_environment_variable_is_named(written: Callable[[str], Path]) -> None:
    environment = {"HOLDFAST_DISPATCH__CHUNK": "many", "HOLDFAST_BUSINESS__TIMEZON": "UTC"}
    assert said(written(MINIMAL), environment).splitlines() == [
        "environment variable HOLDFAST_BUSINESS__TIMEZON: unknown key `timezon`; did you mean 'timezone'?",
        "environment variable HOLDFAST_DISPATCH__CHUNK: `chunk` is text; expected a whole number",
    ]


def test_the_project_is_found_from_a_folder_inside_it(written: Callable[[str], Path], tmp_path: Path) -> None:
    path = written(MINIMAL)
    inside = tmp_path / "campaigns" / "old"
    inside.mkdir(parents=True)
    assert find_project(inside) == path


def test_without_a_project_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no holdfast\.yaml in") as error:
        find_project(tmp_path)
    assert "--project DIR" in error.value.hint


def test_a_missing_variable_is_named_with_what_to_do() -> None:
    with pytest.raises(SettingsError) as error:
        resolve_secret(SecretRef(env="SMTP_PASSWORD"), no_block, {"SMTP_PASSWORD": ""})
    assert str(error.value) == "environment variable SMTP_PASSWORD is not set"
    assert error.value.hint == "set it: export SMTP_PASSWORD=…"


def test_options_get_their_secrets_however_deep_they_are() -> None:
    options = {
        "host": "mail",
        "password": {"env": "PASSWORD"},
        "headers": {"X-Key": {"block": "mail-key"}, "X-Plain": "1"},
        "keys": [{"env": "PASSWORD"}, {"env": "PASSWORD", "more": 1}],
    }
    assert resolve_options(options, lambda name: f"<{name}>", {"PASSWORD": "pw"}) == {
        "host": "mail",
        "password": "pw",
        "headers": {"X-Key": "<mail-key>", "X-Plain": "1"},
        "keys": ["pw", {"env": "PASSWORD", "more": 1}],
    }


def test_the_database_is_the_environments_else_the_files_else_sqlite(tmp_path: Path) -> None:
    plain = Project(root=tmp_path)
    named = Project(root=tmp_path, database=SecretRef(env="SHOP_DB"))
    assert database_location(plain, no_block, {}) == tmp_path / ".holdfast" / "holdfast.db"
    assert database_location(named, no_block, {"SHOP_DB": "postgresql://a/b"}) == "postgresql://a/b"
    assert database_location(named, no_block, {"HOLDFAST_DATABASE_URL": "sqlite:///x"}) == "sqlite:///x"


def test_links_are_signed_with_the_projects_secret_or_with_others_the_first_one_first(tmp_path: Path) -> None:
    refs = [SecretRef(env="NEW"), SecretRef(env="OLD")]
    environment = {"HOLDFAST_SECRET": "s" * 20, "NEW": "n" * 16, "OLD": "o" * 16}
    assert link_secrets(Project(root=tmp_path), no_block, environment) == [b"s" * 20]
    changing = Project(root=tmp_path, link_secrets=refs)
    assert link_secrets(changing, no_block, environment) == [b"n" * 16, b"o" * 16]
    assert project_secret(changing, no_block, environment) == b"s" * 20
    with pytest.raises(SettingsError, match="too short: environment variable OLD"):
        link_secrets(changing, no_block, environment | {"OLD": "short"})


def test_a_new_project_gets_a_secret_of_its_own_that_stays_and_only_its_owner_reads(tmp_path: Path) -> None:
    project = Project(root=tmp_path)
    secret = project_secret(project, no_block, {})
    assert len(secret) >= 32
    assert project_secret(project, no_block, {}) == secret
    assert stat.S_IMODE((tmp_path / ".holdfast" / "secret").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / ".holdfast").iterdir()] == ["secret"]


def test_processes_that_start_together_agree_on_one_secret(tmp_path: Path) -> None:
    project = Project(root=tmp_path)
    with ThreadPoolExecutor(16) as pool:
        secrets = set(pool.map(lambda _: project_secret(project, no_block, {}), range(64)))
    assert len(secrets) == 1


def test_a_configured_secret_is_taken_and_must_be_long_enough(tmp_path: Path) -> None:
    project = Project(root=tmp_path, secret=SecretRef(block="links"))
    assert project_secret(project, lambda name: "s" * 16, {}) == b"s" * 16
    assert project_secret(project, no_block, {"HOLDFAST_SECRET": "e" * 20}) == b"e" * 20
    with pytest.raises(SettingsError) as error:
        project_secret(project, lambda name: "short", {})
    assert str(error.value) == "the project's secret is too short: Prefect Secret block links"
    assert not (tmp_path / ".holdfast").exists()
