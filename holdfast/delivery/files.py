"""The version of a campaign's files, which an approval is of."""

from __future__ import annotations

import hashlib
from typing import Any

from holdfast.audience.rules import walk
from holdfast.campaign.models import Campaign
from holdfast.delivery.workspace import Workspace
from holdfast.errors import RunError
from holdfast.store import runs
from holdfast.store.approvals import Files
from holdfast.store.runs import Run

_OF_THE_PROJECT: Any = {
    "brand": True, "business": True, "lifecycle": True, "global_holdout": True, "defaults": {"send"}
}  # fmt: skip


def files_of(ws: Workspace, name: str) -> Files:
    """The campaign's files as they are now: what a plan is approved with, and an edit of which voids it."""
    text, campaign = ws.source(name).text, ws.campaign(name)
    digests = _template_digests(ws, campaign) | _shared_digests(ws, campaign)
    holdout = ws.entry_plan(campaign).holdout if campaign.is_marketing else None
    return Files(runs.version_of(text, digests), text, digests, holdout)


def _template_digests(ws: Workspace, campaign: Campaign) -> dict[str, str]:
    names = {
        file
        for step in campaign.sends
        for route in ws.routes(step)
        for template in [step.template, *(variant.template for variant in step.variants.values())]
        if template
        for file in ws.library.sources(template, route.kind)
    } | {
        file
        for post, _ in campaign.posts
        for channel in post.post
        for file in ws.library.sources(post.template, ws.channels.describe(channel).kind)
    }
    return {f"templates/{name}": _digest((ws.library.root / name).read_bytes()) for name in sorted(names)}


def _shared_digests(ws: Workspace, campaign: Campaign) -> dict[str, str]:
    """Of what all campaigns share: the segments that this one names, and what the project's file says of whom
    they reach, when, and what they read."""
    rules = [campaign.audience, *(step.if_ for step in campaign.sends if step.if_ is not None)]
    named = {part.segment for rule in rules for _, part in walk(rule, ws.segments) if part.segment}
    segments = [f"{name}: {ws.segments[name].model_dump_json(by_alias=True)}" for name in sorted(named)]
    project = ws.project.model_dump_json(include=_OF_THE_PROJECT)
    digests = {"holdfast.yaml": _digest(project.encode())}
    return digests | ({"segments.yaml": _digest("\n".join(segments).encode())} if segments else {})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def refuse_edited(ws: Workspace, run: Run) -> None:
    """Raises RunError for an approved run whose files are not those that it was approved with."""
    if run.approved_hash is not None and run.version != files_of(ws, run.campaign).version:
        raise RunError(
            f"campaign {run.campaign!r} was edited after the plan of {run.occurrence!r} was approved",
            hint=f"its new plan wants approval: holdfast run {run.campaign} --resume",
        )
