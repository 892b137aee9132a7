from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest

from channels.sandbox import SandboxChannel, SandboxSettings
from holdfast.channel import Accepted, Rejected, RejectReason
from holdfast.errors import ChannelUnavailable, SettingsError
from tests.contract.letters import message, messages


def opened(folder: Path, kind: str = "email") -> SandboxChannel:
    return SandboxChannel("shop", SandboxSettings(kind=kind, folder=folder))


def test_email_becomes_a_file_that_mail_programs_open_named_for_the_messages_key(tmp_path: Path) -> None:
    assert opened(tmp_path).send(messages(1)) == [Accepted("1.c2lnbmF0dXJl-_1.eml")]
    content = (tmp_path / "1.c2lnbmF0dXJl-_1.eml").read_bytes()
    mail = cast(EmailMessage, message_from_bytes(content, policy=policy.default))
    assert mail["To"] == "Ann <customer1@example.com>"
    assert mail["Subject"] == "We kept your favourites"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]


def test_other_kinds_become_plain_text(tmp_path: Path) -> None:
    opened(tmp_path, "telegram").send([message(1, to="4711", subject="")])
    assert (tmp_path / "1.c2lnbmF0dXJl-_1.txt").read_text() == (
        "To: 4711\n\nHello Ann,\nwe kept tea & cake for you.\n"
    )


def test_a_message_that_is_there_already_is_accepted_and_not_written_again(tmp_path: Path) -> None:
    opened(tmp_path).send(messages(1))
    [path] = tmp_path.iterdir()
    path.write_text("as it was")
    assert opened(tmp_path).send(messages(1)) == [Accepted(path.name)]
    assert path.read_text() == "as it was"


def test_a_key_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    opened(folder).send([message(1, key="../../outside"), message(2, key="/etc/passwd")])
    assert len(list(folder.iterdir())) == 2
    assert list(tmp_path.iterdir()) == [folder]


def test_a_bad_address_is_rejected_alone(tmp_path: Path) -> None:
    outcomes = opened(tmp_path).send([message(1, to="nowhere"), message(2)])
    assert outcomes[0] == Rejected(RejectReason.BAD_ADDRESS, "not an email address")
    assert isinstance(outcomes[1], Accepted)


def test_a_folder_that_cannot_be_made_is_told_when_the_channel_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"channel 'shop': the folder .* cannot be made \(ENOTDIR\)"):
        opened(tmp_path / "file" / "sandbox")


def test_a_folder_that_went_away_needs_an_operator(tmp_path: Path) -> None:
    channel = opened(tmp_path / "sandbox")
    (tmp_path / "sandbox").rmdir()
    with pytest.raises(ChannelUnavailable, match=r"cannot be written to \(ENOENT\)"):
        channel.send(messages(2))


def test_without_a_folder_the_channels_name_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    SandboxChannel("shop", SandboxSettings()).send(messages(1))
    assert len(list((tmp_path / ".holdfast" / "sandbox" / "shop").iterdir())) == 1


def test_a_post_is_a_file_that_is_written_again_when_it_is_published_again(tmp_path: Path) -> None:
    channel = SandboxChannel("wall", SandboxSettings(kind="x", folder=tmp_path, post=True))
    first, again = channel.publish("Hello, all"), channel.publish("Hello, all")
    assert first == again
    [path] = tmp_path.iterdir()
    assert first == Accepted(path.name)
    assert path.read_text() == "Hello, all"


def test_a_folder_for_posts_that_went_away_needs_an_operator(tmp_path: Path) -> None:
    channel = SandboxChannel("wall", SandboxSettings(kind="x", folder=tmp_path / "posts", post=True))
    (tmp_path / "posts").rmdir()
    with pytest.raises(ChannelUnavailable, match=r"cannot be written to \(ENOENT\)"):
        channel.publish("Hello")
