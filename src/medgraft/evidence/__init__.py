"""What was measured: facts, tables, pictures and provenance, as a value that adds and a folder that lasts."""

from __future__ import annotations

from medgraft.evidence.evidence import Evidence
from medgraft.evidence.facts import FACT_COLUMNS, Fact, fact

__all__ = ["FACT_COLUMNS", "Evidence", "Fact", "fact"]
