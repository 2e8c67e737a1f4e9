from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medgraft.errors import DataError
from medgraft.evidence import Evidence, fact, storage


@pytest.fixture
def evidence() -> Evidence:
    random = np.random.default_rng(0)
    rows = [
        fact(
            subject="köpf/1 <b>",
            cohort="Porto",
            metric="dice",
            part="mask",
            value=1 / 3,
            low=0.1,
            high=np.nan,
        ),
        fact(subject="b", cohort="", metric="auroc", value=np.nan, seed=2, n=7, unit="patients"),
    ]
    predictions = pd.DataFrame(
        {
            "row": np.array([3, 5]),
            "p_0": np.array([0.1, 1 / 3], dtype=np.float32),
            "truth": ["a", None],
            "worst": [True, False],
            "score": [np.nan, 1e-300],
        }
    )
    return Evidence(
        pd.DataFrame(rows),
        ({"what": "evaluate", "settings": {"lr": 1e-3, "names": ["ä", ""]}}, {"what": "demo", "none": None}),
        {
            "predictions/a/b/0": predictions,
            "predictions/a-b/0": predictions.head(1),
            "empty": predictions.head(0),
        },
        {f"examples/{k}": random.integers(0, 256, (9, 7, 3), dtype=np.uint8) for k in range(2)},
        ("Silver labels.", "Ümlaut"),
    )


def assert_equal(one: Evidence, two: Evidence) -> None:
    pd.testing.assert_frame_equal(one.facts, two.facts, check_exact=True)
    assert one.provenance == two.provenance and one.warnings == two.warnings
    assert list(one.tables) == list(two.tables) and list(one.images) == list(two.images)
    for name, table in one.tables.items():
        pd.testing.assert_frame_equal(table, two.tables[name], check_exact=True)
    for name, image in one.images.items():
        np.testing.assert_array_equal(image, two.images[name])


def test_evidence_comes_back_exactly(tmp_path: Path, evidence: Evidence) -> None:
    assert_equal(Evidence.load(evidence.save(tmp_path / "new" / "evidence")), evidence)
    assert_equal(Evidence.load(Evidence.empty().save(tmp_path / "empty")), Evidence.empty())


def test_what_was_loaded_still_adds_to_nothing_new(tmp_path: Path, evidence: Evidence) -> None:
    assert_equal(evidence + Evidence.load(evidence.save(tmp_path / "e")), evidence)


def test_saving_again_replaces_and_leaves_no_neighbours(tmp_path: Path, evidence: Evidence) -> None:
    evidence.save(tmp_path / "e")
    Evidence.empty().save(tmp_path / "e")
    assert_equal(Evidence.load(tmp_path / "e"), Evidence.empty())
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_file_names_are_safe_and_stay_in_the_folder(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1]})
    names = ["../../outside", "CON", "a:b*?", "A", "a", "x" * 300, ""]
    folder = Evidence(tables=dict.fromkeys(names, table)).save(tmp_path / "e")
    files = [path.name for path in (folder / "tables").iterdir()]
    assert len({name.lower() for name in files}) == len(names)
    assert all(len(name) < 90 for name in files)
    assert list(Evidence.load(folder).tables) == names


def test_a_failed_save_leaves_the_earlier_evidence(tmp_path: Path, evidence: Evidence) -> None:
    evidence.save(tmp_path / "e")
    mixed = Evidence(tables={"t": pd.DataFrame({"a": [1, "x", object()]})})
    with pytest.raises(DataError, match="The table 't' needs one type of value per column"):
        mixed.save(tmp_path / "e")
    assert_equal(Evidence.load(tmp_path / "e"), evidence)
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_evidence_survives_a_kill_between_the_two_renames(
    tmp_path: Path, evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence.save(tmp_path / "e")
    (tmp_path / "e").rename(storage._previous(tmp_path / "e"))
    assert_equal(Evidence.load(tmp_path / "e"), evidence)


def test_other_files_are_never_deleted(tmp_path: Path, evidence: Evidence) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "thesis.docx").write_text("years of work")
    with pytest.raises(DataError, match=r"also holds thesis\.docx\. Name another folder\."):
        evidence.save(tmp_path / "e")
    assert (tmp_path / "e" / "thesis.docx").read_text() == "years of work"
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="it is a file"):
        evidence.save(tmp_path / "file")


def test_a_changed_or_missing_file_is_named(tmp_path: Path, evidence: Evidence) -> None:
    folder = evidence.save(tmp_path / "e")
    facts = folder / "facts.parquet"
    facts.write_bytes(facts.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"facts\.parquet was changed"):
        Evidence.load(folder)
    facts.unlink()
    with pytest.raises(DataError, match=r"facts\.parquet is missing"):
        Evidence.load(folder)


def test_what_is_no_evidence_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the folder does not exist"):
        Evidence.load(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"evidence\.json is missing or unreadable"):
        Evidence.load(tmp_path)
    (tmp_path / "evidence.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(DataError, match="needs format 1"):
        Evidence.load(tmp_path)
