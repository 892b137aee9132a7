"""How what is due becomes tasks."""

from __future__ import annotations

import pytest

from flows.run_campaign import dispatch
from holdfast.orchestration.chunks import tasks


@pytest.mark.parametrize(
    ("due", "at_once", "chunks"),
    [
        (17_000, 1, 4),  # chunks of at most 5,000
        (17_000, 3, 4),
        (6_000, 4, 4),  # a share for everyone who can take one
        (1_200, 4, 3),  # but none too small to be worth a task
        (1, 4, 1),
    ],
)
def test_a_run_falls_into_chunks_and_a_small_one_into_a_share_for_each_place(
    due: int, at_once: int, chunks: int
) -> None:
    cut = [parameters for _, parameters in tasks("winback", {"email": due}, 5000, at_once, dispatch)]
    assert len(cut) == chunks
    [most] = {parameters["most"] for parameters in cut}
    assert most <= 5000
    assert most * chunks >= due > most * (chunks - 1)


def test_tasks_are_named_for_what_they_do() -> None:
    cut = tasks("winback", {"email": 7_000, "sms": 100}, 5000, 1, dispatch)
    assert [task.task_run_name for task, _ in cut] == [
        "dispatch email 1/2",
        "dispatch email 2/2",
        "dispatch sms 1/1",
    ]
