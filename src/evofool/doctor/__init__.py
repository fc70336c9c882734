"""What a classifier is like before it is attacked: a few questions, and what to mind about the answers.

examine       asks, through the ledger, and gives a Diagnosis
Diagnosis     plain values, JSON both ways
Flag          what a report should say of every number that comes from this classifier
"""

from __future__ import annotations

from .diagnosis import (
    ABOUT,
    Agreement,
    Diagnosis,
    Finding,
    Flag,
    Forecast,
    Hint,
    Reaction,
    Renamed,
    Scores,
    Share,
    Speed,
    from_json,
    to_json,
)
from .examination import LIMIT_LOCAL, LIMIT_METERED, examine
from .verdict import findings, forecast

__all__ = [
    "ABOUT",
    "LIMIT_LOCAL",
    "LIMIT_METERED",
    "Agreement",
    "Diagnosis",
    "Finding",
    "Flag",
    "Forecast",
    "Hint",
    "Reaction",
    "Renamed",
    "Scores",
    "Share",
    "Speed",
    "examine",
    "findings",
    "forecast",
    "from_json",
    "to_json",
]
