from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from tests.reports.grid_evidence import grid_evidence
from tests.reports.grids.test_ranking import at
from tests.reports.schema_check import problems
from tests.reports.test_numbers import SCHEMA
from tests.reports.test_report import Page

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.grids.negative_transfer import negative_transfer
from medgraft.reports.numbers import report_numbers
from medgraft.reports.report import make_page


@pytest.fixture
def evidence() -> Evidence:
    """Two methods: one that the source harms in one structure of two, one that it helps."""
    plain = grid_evidence()
    subjects = at(plain, "Porto")[1].subjects[:2]
    line = {
        "cohort": "Porto", "reference": "from scratch", "metric": "dice", "n": 24, "seeds": 3, "by_unit": "dice",
    }  # fmt: skip
    lines = [
        line | {"subject": subject, "part": part, "difference": shift, "low": shift - 0.02, "high": shift + 0.02,
                "worse": worse, "worst": 0.2}
        for subject, gain, worse in ((subjects[0], 0.05, 17), (subjects[1], -0.3, 2))
        for part, shift in (("", gain), ("left", gain * 2), ("right", 0.0))
    ]  # fmt: skip
    return replace(plain, tables=plain.tables | {"negative_transfer": pd.DataFrame(lines)})


def test_what_the_source_harmed_is_marked(evidence: Evidence) -> None:
    found = negative_transfer(evidence, at(evidence, "Porto")[1])
    assert found is not None
    first, second = found.rows
    assert (first.difference, first.harmed) == ("+0.050", True)
    assert (second.difference[1:], second.harmed) == ("0.300", False)
    assert [(part, harmed) for part, _, harmed in first.parts] == [("left", True), ("right", False)]
    assert (first.worse, first.worst) == ("17 of 24", "+0.200")
    assert negative_transfer(evidence, at(evidence, "Lyon")[1]) is None
    assert negative_transfer(grid_evidence(), at(evidence, "Porto")[1]) is None


def test_the_page_and_its_numbers_tell_it(evidence: Evidence) -> None:
    text = Page(make_page(evidence, images=True, title="A grid")).text
    for words in (
        "Negative transfer",
        "from scratch minus transferred",
        "17 of 24",
        "better from scratch",
    ):
        assert words in text, words
    assert "Negative transfer" not in Page(make_page(grid_evidence(), images=True, title="A grid")).text
    numbers = report_numbers(evidence)
    assert problems(numbers, SCHEMA, SCHEMA) == []
    (porto,) = [one for one in numbers["cohorts"] if one["cohort"] == "Porto" and one["target"]]
    assert [line["worse"] for line in porto["target"]["negative_transfer"]] == [17] * 3 + [2] * 3


def test_a_table_that_lacks_columns_is_refused(evidence: Evidence) -> None:
    table = evidence.tables["negative_transfer"].drop(columns="worst")
    broken = replace(evidence, tables=evidence.tables | {"negative_transfer": table})
    with pytest.raises(DataError, match="it lacks worst"):
        negative_transfer(broken, at(evidence, "Porto")[1])
