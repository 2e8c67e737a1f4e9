from __future__ import annotations

import pandas as pd
import pytest

from medgraft.evidence import Evidence, fact
from medgraft.reports.caveats import caveats


def evidence(
    warnings: tuple[str, ...] = (), provenance: tuple[dict, ...] = (), **changes: object
) -> Evidence:
    row = fact(
        subject="probe", cohort="Porto", metric="auroc", value=0.8, n=12, unit="patients", selection="last"
    )
    return Evidence(pd.DataFrame([row | changes]), provenance, warnings=warnings)  # type: ignore[operator]


def test_a_clean_result_over_patients_needs_no_warning() -> None:
    assert caveats(evidence()) == []


def test_blocks_instead_of_patients_are_told_once() -> None:
    told = "Porto: intervals are over 12 blocks of one slide, not patients."
    assert caveats(evidence(unit="blocks of one slide")) == [told]
    assert caveats(evidence((told,), unit="blocks of one slide")) == [told]


def test_oracle_selection_is_told() -> None:
    (told,) = caveats(evidence(selection="oracle"))
    assert told.startswith("probe: the epoch was chosen by the rule 'oracle'")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"data": {"notes": {"silver_labels": True}}}, "the truth is silver"),
        ({"data": {"notes": {"simulated": True}}}, "the images are simulated"),
        ({"settings": {"allow_leak": True}}, "leaks between splits were allowed"),
    ],
)
def test_what_provenance_admits_is_told(entry: dict, words: str) -> None:
    (told,) = caveats(
        evidence(provenance=({"cohort": "Porto", **entry}, {"cohort": "Porto", "seed": 1, **entry}))
    )
    assert told.startswith("Porto: ") and words in told


def test_notes_that_say_no_are_not_told() -> None:
    assert caveats(evidence(provenance=({"data": {"notes": {"simulated": False}}}, {"data": "x"}, {}))) == []
