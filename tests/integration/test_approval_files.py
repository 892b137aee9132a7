"""What an approval covers: the files and settings of a run that is approved, whichever process sends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from holdfast.channel import Message, Outcome
from holdfast.delivery import Run, approve, dispatch_chunk, open_run, plan_of, prepare
from holdfast.errors import BatchRefused, RunError
from holdfast.settings import Project
from tests.fakes.scripted_channel import accept_all
from tests.integration.conftest import Bench

GUARD = {"approve_above": 1}
GOODBYE = "{% block body %}Goodbye{% endblock %}"
EDITED = "was edited after the plan of 'k1' was approved"


def approved(bench: Bench) -> Run:
    """The run `k1` of `hello`, opened where it is not, and approved as it is now."""
    run = open_run(bench.ws, "hello", "k1", bench.clock.now, bench.clock.now)
    assert waits(bench, run)
    known = plan_of(bench.ws, bench.run_of(run.id), bench.clock.now).hash
    return approve(bench.ws, "hello", known, who="ada", why="looked at it", now=bench.clock.now)


def waits(bench: Bench, run: Run) -> bool:
    """Whether the run waits for approval when this process has readied it."""
    prepare(bench.ws, "hello", bench.clock.now)
    return bench.run_of(run.id).state == "awaiting_approval"


def send_chunk(bench: Bench) -> set[str]:
    """One chunk on sms; the texts that went out."""
    before = len(bench.sms.calls)
    dispatch_chunk(bench.ws, "hello", "sms", "test", bench.clock)
    return {message.text for call in bench.sms.calls[before:] for message in call}


# --- templates ------------------------------------------------------------------------------------


def test_a_process_that_rendered_the_old_template_does_not_send_it_by_the_approval_of_the_new_one(
    bench: Bench,
) -> None:
    bench.shop.customers(100)
    bench.campaign(guard=GUARD)
    approved(bench)
    assert send_chunk(bench) == {"Hello you"}
    other = bench.another_process()
    other.edit("note.sms.txt", GOODBYE)
    approved(other)
    with pytest.raises(RunError, match=EDITED):
        send_chunk(bench)
    assert len(bench.sms.addresses) == 50
    assert send_chunk(other) == {"Goodbye"}
    assert bench.states() == {("accepted", None): 100}


def test_halves_of_a_batch_that_was_refused_do_not_go_by_a_new_approval(bench: Bench) -> None:
    bench.shop.customers(4)
    bench.campaign(guard=GUARD)
    approved(bench)
    other = bench.another_process()

    def edited_and_refused(batch: Sequence[Message]) -> list[Outcome]:
        bench.sms.script = accept_all
        other.edit("note.sms.txt", GOODBYE)
        approved(other)
        raise BatchRefused("one of them is bad")

    bench.sms.script = edited_and_refused
    assert send_chunk(bench) == {"Hello you"}  # which was refused
    assert len(bench.sms.calls) == 1
    assert bench.states() == {("planned", None): 4}
    assert send_chunk(other) == {"Goodbye"}
    assert bench.states() == {("accepted", None): 4}


def test_a_template_for_a_locale_that_is_added_later_is_not_sent_and_wants_approval(bench: Bench) -> None:
    bench.shop.customers(50)
    bench.shop.customers(10, locale="ar")
    bench.campaign(guard=GUARD)
    run = approved(bench)
    assert send_chunk(bench) == {"Hello you"}
    (bench.ws.library.files.root / "note.sms.ar.txt").write_text("{% block body %}Not approved{% endblock %}")
    other = bench.another_process()
    with pytest.raises(RunError, match=EDITED):
        send_chunk(other)
    assert send_chunk(bench) == {"Hello you"}
    assert waits(other, run)


def test_a_template_that_was_removed_is_an_edit_like_any_other(bench: Bench) -> None:
    bench.shop.customers(100)
    bench.campaign(guard=GUARD)
    approved(bench)
    send_chunk(bench)
    (bench.ws.library.files.root / "note.sms.txt").unlink()
    for process in (bench, bench.another_process()):
        with pytest.raises(RunError, match=EDITED):
            send_chunk(process)
    assert bench.states() == {("accepted", None): 50, ("planned", None): 50}


# --- settings -------------------------------------------------------------------------------------


def with_channel(name: str, **settings: Any) -> Callable[[Project], Project]:
    def change(project: Project) -> Project:
        channel = project.channels[name].model_copy(update=settings)
        return project.model_copy(update={"channels": {**project.channels, name: channel}})

    return change


def with_web(**settings: Any) -> Callable[[Project], Project]:
    return lambda project: project.model_copy(update={"web": project.web.model_copy(update=settings)})


@pytest.fixture
def changed(bench: Bench) -> Callable[[Callable[[Project], Project]], tuple[Run, Bench]]:
    """A run by sms, or by `parallel` where that is on, approved while it is off; and a process of the changed
    project."""

    def make(change: Callable[[Project], Project]) -> tuple[Run, Bench]:
        bench.ws.project = with_channel("parallel", enabled=False)(bench.ws.project)
        bench.shop.customers(100)
        step = {"id": "first", "channels": ["parallel", "sms"], "template": "note"}
        bench.campaign(guard=GUARD, steps=[step])
        run = approved(bench)
        other = bench.another_process()
        other.ws.project = change(bench.ws.project)
        return run, other

    return make


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(with_channel("parallel", enabled=True), id="another channel is on"),
        pytest.param(with_channel("sms", adapter="other"), id="another adapter"),
        pytest.param(with_web(track_clicks=False), id="clicks"),
        pytest.param(with_web(track_opens=False), id="opens"),
    ],
)
def test_settings_that_make_it_another_sending_void_the_approval(
    bench: Bench,
    changed: Callable[[Callable[[Project], Project]], tuple[Run, Bench]],
    change: Callable[[Project], Project],
) -> None:
    run, other = changed(change)
    send_chunk(bench)
    with pytest.raises(RunError, match=EDITED):
        send_chunk(other)
    assert len(bench.sms.addresses) == 50
    assert waits(other, run)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(with_channel("telegram", adapter="other", enabled=False), id="of a channel not used"),
        pytest.param(with_channel("sms", rate=100.0, per_day=1000), id="how fast it goes"),
        pytest.param(with_web(port=9000), id="where the web app listens"),
    ],
)
def test_settings_that_change_nothing_of_what_is_sent_leave_the_approval(
    changed: Callable[[Callable[[Project], Project]], tuple[Run, Bench]],
    change: Callable[[Project], Project],
) -> None:
    run, other = changed(change)
    assert send_chunk(other) == {"Hello you"}
    assert not waits(other, run)


# --- attachments ----------------------------------------------------------------------------------


def test_a_file_that_goes_along_is_part_of_what_is_approved(bench: Bench) -> None:
    root = bench.ws.library.files.root
    (root / "terms.pdf").write_bytes(b"%PDF one")
    bench.sms.capabilities = replace(bench.sms.capabilities, attachments=True)
    bench.shop.customers(100)
    step = {"id": "first", "channels": ["sms"], "template": "note", "attach": ["terms.pdf"]}
    bench.campaign(guard=GUARD, steps=[step])
    bench.read_anew()
    run = approved(bench)
    send_chunk(bench)
    (root / "terms.pdf").write_bytes(b"%PDF two")
    with pytest.raises(RunError, match=EDITED):
        send_chunk(bench)
    other = bench.another_process()
    assert waits(other, run)
    files = {file.content for call in bench.sms.calls for message in call for file in message.attachments}
    assert files == {b"%PDF one"}


def test_a_run_that_was_approved_as_a_rehearsal_is_none_without_it(bench: Bench) -> None:
    bench.sms.capabilities = replace(bench.sms.capabilities, rehearsal=True)
    bench.shop.customers(100)
    bench.campaign(guard=GUARD)
    run = approved(bench)
    assert bench.ws.rehearsed(bench.ws.campaign("hello")) == "a rehearsal by sms: nothing is delivered there"
    bench.sms.capabilities = replace(bench.sms.capabilities, rehearsal=False)
    assert bench.ws.rehearsed(bench.ws.campaign("hello")) == ""
    with pytest.raises(RunError, match=EDITED):
        send_chunk(bench)
    assert waits(bench, run)
    assert bench.sms.calls == []
