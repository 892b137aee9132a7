"""The surveys that customers answer: their names, and what an answer may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Survey = Literal["nps", "csat"]

SCALES: Mapping[Survey, range] = {"nps": range(11), "csat": range(1, 6)}
"""The answers that each survey takes."""

LONGEST_COMMENT = 2000
"""Signs; what is beyond is cut off."""
