"""Test files of other packages: each opens with the right numbers, or is refused in a sentence."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path

import nibabel
import pydicom
import pytest

TOOL = Path(__file__).parents[1] / "tools" / "census_formats.py"
spec = importlib.util.spec_from_file_location("census_formats", TOOL)
assert spec is not None and spec.loader is not None
census = importlib.util.module_from_spec(spec)
sys.modules["census_formats"] = census
spec.loader.exec_module(census)


@pytest.mark.parametrize(
    ("package", "folder", "fewest"),
    [(pydicom, "data", 90), (nibabel, "tests/data", 9)],
    ids=["pydicom", "nibabel"],
)
def test_every_file_opens_with_its_numbers_or_is_refused_in_a_sentence(
    package: object, folder: str, fewest: int
) -> None:
    root = Path(str(package.__file__)).parent / folder  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = census.take_census(root)
    assert [(files, outcome.reason) for outcome, files in found.items() if outcome.what == "fault"] == []
    assert sum(len(files) for outcome, files in found.items() if outcome.what == "opened") >= fewest


def test_wrong_numbers_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm"
    assert census.try_to_open(path).what == "opened"
    picture = census.read_image(path)
    monkeypatch.setattr(census, "read_image", lambda _: picture._replace(array=picture.array + 1))
    assert census.try_to_open(path).what == "fault"
