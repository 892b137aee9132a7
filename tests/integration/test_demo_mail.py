from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from channels.smtp import SmtpChannel, SmtpSettings
from holdfast.channel import Accepted
from tests.contract.letters import messages


def test_the_demos_mail_server_writes_letters_into_a_folder_until_it_is_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "holdfast.demo.mail", str(tmp_path / "mail"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        started = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", server.stdout.readline())
        assert started is not None
        settings = SmtpSettings(host="127.0.0.1", port=int(started[1]), security="none")
        channel = SmtpChannel("email", settings)
        assert [type(outcome) for outcome in channel.send(messages(2))] == [Accepted] * 2
        assert [type(outcome) for outcome in channel.send(messages(1))] == [Accepted]
        server.send_signal(signal.SIGTERM)  # with a connection still open
        assert server.wait(30) == 0
        assert server.stderr.read() == ""
        channel.close()
    assert sorted(path.name for path in (tmp_path / "mail").iterdir()) == [
        "1.c2lnbmF0dXJl-_1@acme.example.2.eml",
        "1.c2lnbmF0dXJl-_1@acme.example.eml",
        "2.c2lnbmF0dXJl-_2@acme.example.eml",
    ]


@pytest.mark.parametrize("arguments", [[], ["folder"], ["folder", "port"]], ids=str)
def test_wrong_use_of_the_demos_mail_server_is_told(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "holdfast.demo.mail", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: python -m holdfast.demo.mail FOLDER PORT\n")
