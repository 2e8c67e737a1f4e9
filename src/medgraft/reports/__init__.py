"""Evidence in, one self-contained HTML file out."""

from __future__ import annotations

from medgraft.reports.report import report

__all__ = ["report"]
