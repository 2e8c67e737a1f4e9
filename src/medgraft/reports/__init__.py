"""Evidence in, one self-contained HTML file out; the same numbers as JSON; a card for a saved model."""

from __future__ import annotations

from medgraft.reports.cards.writing import model_card
from medgraft.reports.numbers import report_numbers, write_numbers
from medgraft.reports.report import report

__all__ = ["model_card", "report", "report_numbers", "write_numbers"]
