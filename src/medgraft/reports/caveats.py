"""What a reader must know before believing a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from medgraft.evidence import Evidence

NOTES = {
    "simulated": "the images are simulated.",
    "silver_labels": "the truth is silver, made by a program or a model, not by an expert.",
}
KEYWORDS = {"simulated": "simulated", "silver_labels": "silver"}


def caveats(evidence: Evidence) -> list[str]:
    """The evidence's own warnings, then those that follow from facts and provenance, none twice.

    What is said of several things in the same words stands there once.

    Errors of a grid's cells stand in their own list, which a report shows.
    """
    grid = evidence.tables.get("grid")
    noted = grid["error"] if grid is not None and "error" in grid else ()
    errors = [error for error in noted if isinstance(error, str) and error]
    told = [
        warning
        for warning in evidence.warnings
        if not (" failed: " in warning and any(error in warning for error in errors))
    ]
    for keyword, about, sentence in [*_from_facts(evidence), *_from_provenance(evidence)]:
        if not any(keyword in known.lower() and about in known for known in told):
            told.append(f"{about}: {sentence}" if about else sentence)
    return _together(dict.fromkeys(told))


def _together(told: Iterable[str]) -> list[str]:
    """Sentences that begin with what they are about, those of the same words as one.

    >>> _together(["Porto: it is simulated.", "Read this.", "Basel: it is simulated."])
    ['Porto, Basel: it is simulated.', 'Read this.']
    """
    found: dict[str, list[str]] = {}
    for warning in told:
        about, colon, sentence = warning.partition(": ")
        found.setdefault(sentence if colon else warning, []).append(about if colon else "")
    return [
        f"{', '.join(filter(None, abouts))}: {sentence}" if any(abouts) else sentence
        for sentence, abouts in found.items()
    ]


def _from_facts(evidence: Evidence) -> Iterator[tuple[str, str, str]]:
    facts = evidence.facts
    oracle = facts["selection"] == "oracle"
    # beside a score that was chosen fairly the oracle's is told in grey, and nobody is misled
    alone = facts[oracle & ~facts["subject"].isin(set(facts.loc[~oracle, "subject"]))]
    for subject in dict.fromkeys(alone["subject"]):
        yield (
            "oracle",
            subject,
            "the epoch was chosen by the rule 'oracle', which sees what a method may not see.",
        )
    units = facts[(facts["unit"] != "") & (facts["n"] > 0)].drop_duplicates(["cohort", "unit"])
    for row in units.itertuples():
        if row.unit != "patients":
            sentence = f"intervals are over {row.n} {row.unit}, not patients."
            yield "not patients", str(row.cohort), sentence


def _from_provenance(evidence: Evidence) -> Iterator[tuple[str, str, str]]:
    for entry in evidence.provenance:
        data = entry.get("data")
        notes = data.get("notes") if isinstance(data, Mapping) else None
        for name, sentence in NOTES.items():
            if isinstance(notes, Mapping) and notes.get(name):
                yield KEYWORDS[name], _name(entry, data), sentence
        if entry.get("allow_leak") or _settings(entry).get("allow_leak"):
            yield (
                "leak",
                str(entry.get("cohort", "")),
                "leaks between splits were allowed, so scores may be too good.",
            )


def _name(entry: Mapping[str, Any], data: Any) -> str:
    return str(entry.get("cohort") or data.get("name") or "")


def _settings(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = entry.get("settings")
    return settings if isinstance(settings, Mapping) else {}
