"""The version of a campaign's files, which an approval is of."""

from __future__ import annotations

import hashlib

from holdfast.campaign.models import Campaign
from holdfast.delivery.workspace import Workspace
from holdfast.errors import RunError
from holdfast.store import runs
from holdfast.store.approvals import Files
from holdfast.store.runs import Run


def files_of(ws: Workspace, name: str) -> Files:
    """The campaign's files as they are now: what a plan is approved with, and an edit of which voids it."""
    text, campaign = ws.source(name).text, ws.campaign(name)
    templates = _template_digests(ws, campaign)
    holdout = ws.entry_plan(campaign).holdout if campaign.is_marketing else None
    return Files(runs.version_of(text, templates), text, templates, holdout)


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
    return {name: hashlib.sha256((ws.library.root / name).read_bytes()).hexdigest() for name in sorted(names)}


def refuse_edited(ws: Workspace, run: Run) -> None:
    """Raises RunError for an approved run whose files are not those that it was approved with."""
    if run.approved_hash is not None and run.version != files_of(ws, run.campaign).version:
        raise RunError(
            f"campaign {run.campaign!r} was edited after the plan of {run.occurrence!r} was approved",
            hint=f"its new plan wants approval: holdfast run {run.campaign} --resume",
        )
