from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import channels
from channels import adapter, describe, known_adapters, open_channel
from channels.sandbox import SandboxChannel
from channels.smtp import SmtpChannel
from holdfast.channel import Capabilities
from holdfast.errors import SettingsError
from holdfast.settings import ChannelConfig


def test_the_shipped_adapters_are_found_by_name() -> None:
    assert adapter("sandbox") is SandboxChannel
    assert adapter("smtp") is SmtpChannel
    assert {"sandbox", "smtp"} <= set(known_adapters())


def test_an_unknown_adapter_is_answered_with_the_nearest_and_with_all() -> None:
    with pytest.raises(SettingsError) as error:
        adapter("smpt")
    assert str(error.value) == "there is no channel adapter 'smpt'; did you mean 'smtp'?"
    assert error.value.hint == f"known are: {', '.join(known_adapters())}"


def test_a_misspelt_setting_is_answered_with_the_nearest_and_with_all() -> None:
    with pytest.raises(SettingsError) as error:
        open_channel("news", ChannelConfig(adapter="sandbox"), {"foldr": "/tmp", "batch_size": "many"})  # noqa: S108
    assert str(error.value) == (
        "channel 'news': batch_size: input should be a valid integer, unable to parse string as an integer\n"
        "channel 'news': there is no setting 'foldr'; did you mean 'folder'?"
    )
    assert (
        error.value.hint
        == "the settings of the adapter 'sandbox' are: kind, folder, batch_size, post, webhook_key"
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "the setting 'host' is missing"),
        ({"host": "a b"}, "host: string should match pattern '^[^\\s/@]+$'"),
        ({"host": "mx", "port": 0}, "port: input should be greater than or equal to 1"),
        ({"host": "mx", "security": "ssl"}, "security: input should be 'starttls', 'tls' or 'none'"),
        (
            {"host": "mx", "timeout": "60"},
            "timeout: not a duration; expected a number and s, min, h, d or w, like 14d",
        ),
        ({"host": "mx", "timeout": "0s"}, "timeout: no time at all; expected a duration like 60s"),
        ({"host": "mx", "username": "acme"}, "`username` and `password` go together"),
        (
            {"host": "mx", "username": "acme", "password": "Pässwort"},
            "password: not usable with a mail server, which takes ASCII characters only",
        ),
        (
            {"host": "mx", "security": "none", "username": "acme", "password": "x"},
            "a password is sent over TLS only; set `security` to starttls or tls",
        ),
        (
            {"host": "mx", "bounce_address": "bounces-to-us@r.acme.example"},
            "bounce_address: string should match pattern "
            r"'^[A-Za-z0-9_-]{1,10}@[A-Za-z0-9_-]+(\.[A-Za-z0-9-]+)*$'",
        ),
        (
            {"host": "mx", "mailbox": {"host": "mx", "username": "acme", "password": "x"}},
            "a mailbox needs `bounce_address`, by which its letters are known",
        ),
        (
            {"host": "mx", "bounce_address": "b@r.acme.example", "mailbox": {"host": "mx", "user": "a"}},
            "the setting 'mailbox.username' is missing\n"
            "channel 'email': the setting 'mailbox.password' is missing\n"
            "channel 'email': there is no setting 'mailbox.user'; did you mean 'mailbox'?",
        ),
        (
            {"host": "mx", "dkim": {"domain": "acme", "selector": "s", "key": "x"}},
            "dkim.domain: string should match pattern '^[A-Za-z0-9_-]+(\\.[A-Za-z0-9-]+)+$'",
        ),
    ],
)
def test_smtp_settings_that_cannot_work_are_told_before_anything_is_sent(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError) as error:
        describe("email", ChannelConfig(adapter="smtp"), options)
    assert str(error.value) == f"channel 'email': {problem}"


def test_a_ca_file_that_is_none_is_told_when_the_channel_is_opened(tmp_path: Path) -> None:
    for file in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        (tmp_path / "empty.pem").touch()
        with pytest.raises(SettingsError, match="channel 'email': `ca_file` cannot be read"):
            open_channel("email", ChannelConfig(adapter="smtp"), {"host": "mx", "ca_file": file})


def test_describing_needs_no_connection() -> None:
    described = describe("email", ChannelConfig(adapter="smtp"), {"host": "mx.invalid", "concurrency": 9})
    assert described == Capabilities(kind="email", html=True, batch_size=20, concurrency=9, attachments=True)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module_at_all:Channel", "needs the module 'no_such_module_at_all', which is not installed"),
        ("channels.sandbox:NoSuchChannel", "cannot be imported from 'channels.sandbox:NoSuchChannel'"),
    ],
)
def test_an_adapter_that_does_not_import_is_told_by_name(
    target: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[holdfast.channels]\nbroken = {target}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    channels._registered.cache_clear()
    with pytest.raises(SettingsError, match=f"the channel adapter 'broken' {message}"):
        adapter("broken")
    channels._registered.cache_clear()


def test_describing_a_channel_does_not_import_what_only_sending_needs() -> None:
    script = (
        "import sys\n"
        "from channels import describe\n"
        "from holdfast.settings import ChannelConfig\n"
        "describe('email', ChannelConfig(adapter='smtp'), {'host': 'mx'})\n"
        "describe('email', ChannelConfig(adapter='sandbox'), {})\n"
        "describe('email', ChannelConfig(adapter='sendgrid'), {'api_key': 'SG.x'})\n"
        "heavy = {'smtplib', 'aiosmtpd', 'sendgrid', 'tweepy', 'httpx', 'prefect', 'sqlalchemy'}\n"
        "heavy |= {'imapclient', 'cryptography'}\n"
        "print(*heavy & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
