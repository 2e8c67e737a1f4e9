from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tests.reports.grid_evidence import ERROR, grid_evidence
from tests.reports.schema_check import problems

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports import report_numbers, write_numbers
from medgraft.reports.numbers import SCHEMA_FILE

SCHEMA = json.loads(SCHEMA_FILE.read_text("utf-8"))
SOURCES = (("unet", "Basel"), ("vit", "Genoa"))


@pytest.fixture(scope="module")
def numbers() -> dict[str, Any]:
    return report_numbers(grid_evidence())


@pytest.mark.parametrize(
    "options",
    [
        {}, {"sources": SOURCES, "gpu": True, "intervals": False},
        {"seeds": 1, "targets": ("Porto",), "forgetting": False, "failures": False},
    ],
    ids=["grid", "sites", "lonely"],
)  # fmt: skip
def test_numbers_of_grids_fit_the_schema(options: dict[str, Any]) -> None:
    assert problems(report_numbers(grid_evidence(**options)), SCHEMA, SCHEMA) == []


def test_numbers_without_a_grid_fit_the_schema(evidence: Evidence) -> None:
    made = report_numbers(evidence, title="A demo")
    assert problems(made, SCHEMA, SCHEMA) == []
    assert made["grid"] is None and made["title"] == "A demo"
    assert made["cohorts"][0]["target"] is None
    first = made["cohorts"][0]["comparisons"][0]
    assert (first["difference"], first["low"], first["high"]) == (0.01, -0.04, 0.06)
    groups = {one["subject"]: one["subgroups"] for one in made["cohorts"][0]["subjects"]}
    probe = evidence.tables["subgroups"].query("subject == 'linear probe' and group == 'old'")
    told = groups["linear probe"][0]
    assert (told["attribute"], told["group"], told["n"]) == ("scanner", "old", 11)
    assert told["value"] == pytest.approx(probe["value"].mean()) and len(told["seeds"]) == 3


def test_the_schema_describes_every_number_it_demands() -> None:
    def visit(schema: Any) -> None:
        if isinstance(schema, dict):
            if schema.get("type") == "object":
                assert schema["additionalProperties"] is False
                assert set(schema["required"]) <= set(schema["properties"])
            for inner in schema.values():
                visit(inner)
        elif isinstance(schema, list):
            for inner in schema:
                visit(inner)

    visit(SCHEMA)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda made: made.update(schema="medgraft.report/2"), "$.schema is 'medgraft.report/2'"),
        (lambda made: made["cohorts"][0].pop("metric"), "$.cohorts[0] lacks metric"),
        (lambda made: made["grid"].update(extra=1), "$.grid fits none of 2 forms"),
        (lambda made: made["cohorts"][0]["subjects"][0].update(scores="many"), "is of class str, not array"),
        (lambda made: made["cohorts"][0].update(level=True), "is of class bool, not number"),
    ],
)
def test_the_validator_sees_what_is_wrong(numbers: dict[str, Any], spoil: Any, told: str) -> None:
    spoilt = copy.deepcopy(numbers)
    spoil(spoilt)
    assert any(told in problem for problem in problems(spoilt, SCHEMA, SCHEMA))


def test_the_same_evidence_gives_the_same_file(tmp_path: Path) -> None:
    grid_evidence().save(tmp_path / "evidence")
    first = write_numbers(grid_evidence.__wrapped__(), tmp_path / "a.json").read_bytes()
    assert write_numbers(tmp_path / "evidence", tmp_path / "b.json").read_bytes() == first
    assert problems(json.loads(first), SCHEMA, SCHEMA) == []


def test_numbers_are_those_of_the_evidence(numbers: dict[str, Any]) -> None:
    evidence = grid_evidence()
    porto = next(cohort for cohort in numbers["cohorts"] if cohort["cohort"] == "Porto")
    fair = evidence.facts.query("cohort == 'Porto' and selection != 'oracle'")
    for subject in porto["subjects"]:
        values = fair.loc[fair["subject"] == subject["subject"], "value"].dropna()
        assert subject["scores"][0]["seeds"] == values.tolist()
        assert subject["scores"][0]["value"] == pytest.approx(values.mean())
    ranks = evidence.tables["ranks"].query("cohort == 'Porto'").set_index("subject")["mean_rank"]
    assert {row["subject"]: row["mean_rank"] for row in porto["target"]["ranking"]} == pytest.approx(
        ranks.to_dict()
    )
    assert porto["target"]["critical_difference"]["blocks"] == 24
    failed = [cell for cell in numbers["grid"]["cells"] if cell["state"] == "failed"]
    assert [cell["error"] for cell in failed] == [ERROR] and failed[0]["seconds"] is None
    assert numbers["grid"]["failed"] == 1
    chosen = {json.dumps(cell["settings"]) for cell in numbers["grid"]["cells"]}
    lrs = ("0.01", "0.001")
    assert chosen == {"{}", *(f'{{"scope": "all", "schedule": {{"lr": {lr}}}}}' for lr in lrs)}


def test_a_folder_as_path_and_empty_evidence_get_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        write_numbers(grid_evidence(), tmp_path)
    with pytest.raises(DataError, match="needs evidence with facts"):
        write_numbers(Evidence.empty(), tmp_path / "x.json")
