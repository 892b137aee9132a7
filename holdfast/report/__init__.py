"""What campaigns did, told to people: runs while they go, campaigns by their effect, months by their KPIs."""

from holdfast.report.campaigns import CampaignReport, campaign_report, campaigns_with_runs
from holdfast.report.kpis import KpiSheet, kpi_sheet, month_before
from holdfast.report.page import file_name, html, index
from holdfast.report.plans import PlanReport, PlanRow, plan_report
from holdfast.report.runs import (
    Decision,
    MessageStatus,
    RunStatus,
    Why,
    decided_by_hand,
    mask,
    preview_for,
    results,
    samples,
    status,
    waterfall,
    why,
    why_anyone,
)

__all__ = [
    "CampaignReport",
    "Decision",
    "KpiSheet",
    "MessageStatus",
    "PlanReport",
    "PlanRow",
    "RunStatus",
    "Why",
    "campaign_report",
    "campaigns_with_runs",
    "decided_by_hand",
    "file_name",
    "html",
    "index",
    "kpi_sheet",
    "mask",
    "month_before",
    "plan_report",
    "preview_for",
    "results",
    "samples",
    "status",
    "waterfall",
    "why",
    "why_anyone",
]
