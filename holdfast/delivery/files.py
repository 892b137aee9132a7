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

# What it says of whom a campaign reaches, when, and what they read; the campaign's channels beside it.
_OF_THE_PROJECT: Any = {
    "brand": True,
    "business": True,
    "lifecycle": True,
    "global_holdout": True,
    "defaults": {"send"},
    "web": {"track_opens", "track_clicks"},
}


def files_of(ws: Workspace, name: str) -> Files:
    """The campaign's files as this process has read them: what a plan is approved with, and an edit of which
    voids it."""
    text, campaign = ws.source(name).text, ws.campaign(name)
    digests = {f"templates/{file}": _digest(ws.library.files.read(file)) for file in _templates(ws, campaign)}
    digests |= _shared_digests(ws, campaign)
    holdout = ws.entry_plan(campaign).holdout if campaign.is_marketing else None
    return Files(runs.version_of(text, digests), text, digests, holdout)


def refuse_edited(ws: Workspace, run: Run) -> None:
    """Raises RunError for an approved run whose files are not those that it was approved with: as this
    process has them, and as they are on the disk."""
    if run.approved_hash is None:
        return
    ours = _templates(ws, ws.campaign(run.campaign))
    if run.version != files_of(ws, run.campaign).version or ws.library.files.are_edited(ours):
        raise RunError(
            f"campaign {run.campaign!r} was edited after the plan of {run.occurrence!r} was approved",
            hint=f"its new plan wants approval: holdfast run {run.campaign} --resume",
        )


def _templates(ws: Workspace, campaign: Campaign) -> list[str]:
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
    names |= {file for step in campaign.sends for file in step.attach if file in ws.library.files.names}
    return sorted(names)


def _shared_digests(ws: Workspace, campaign: Campaign) -> dict[str, str]:
    """Of what campaigns share: the segments that this one names, and what it uses of holdfast.yaml."""
    rules = [campaign.audience, *(step.if_ for step in campaign.sends if step.if_ is not None)]
    named = {part.segment for rule in rules for _, part in walk(rule, ws.segments) if part.segment}
    segments = [f"{name}: {ws.segments[name].model_dump_json(by_alias=True)}" for name in sorted(named)]
    # Another adapter, or a channel more, is another plan.
    ways = [(step.id, route.channel) for step in campaign.sends for route in ws.routes(step)]
    ways += [(post.id, channel) for post, _ in campaign.posts for channel in post.post]
    project = [ws.project.model_dump_json(include=_OF_THE_PROJECT)]
    project += [f"{step} {_way(ws, channel)}" for step, channel in ways]
    project += [ws.invitation] if ws.invitation else []
    digests = {"holdfast.yaml": _digest("\n".join(project).encode())}
    return digests | ({"segments.yaml": _digest("\n".join(segments).encode())} if segments else {})


def _way(ws: Workspace, channel: str) -> str:
    can = ws.channels.describe(channel)
    way = f"{channel} {ws.project.channels[channel].adapter} {can.opt_in}"
    return f"{way} rehearsal" if can.rehearsal else way


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
