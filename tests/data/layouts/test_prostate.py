"""The six-site prostate set as it is unpacked, made small; and several of its sites against one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.layouts.volume_files import image_of, mask_of, save, turned

from medgraft.data.leakage import find_leaks
from medgraft.data.manifest import read_manifest
from medgraft.data.task import Task
from medgraft.errors import DataError

SITES = ("RUNMC", "BMC", "I2CVB", "UCL", "BIDMC", "HK")


def prostate(folder: Path, cases: int = 2, sites: tuple[str, ...] = SITES) -> Path:
    """Cases are numbered anew at each site; BMC writes its masks with a capital; only two sites mark zones."""
    for place, site in enumerate(sites):
        for case in range(cases):
            word = "Segmentation" if site == "BMC" else "segmentation"
            numbers = (0, 1, 2) if site in ("RUNMC", "BMC") else (0, 1)
            seed = 100 * place + case
            save(folder / site / f"Case{case:02d}.nii.gz", image_of(seed))
            save(folder / site / f"Case{case:02d}_{word}.nii.gz", mask_of(seed, numbers))
    return folder


def test_hospitals_are_sites_and_zones_are_one_class(tmp_path: Path) -> None:
    cohort = read_manifest(prostate(tmp_path / "prostate"))
    assert (cohort.kind, cohort.classes) == ("segment", ("background", "prostate"))
    assert cohort.sites.tolist() == [site for site in SITES for _ in range(2)] and not cohort.has_splits
    assert cohort.patients[2:4].tolist() == ["BMC Case00", "BMC Case01"] and len(set(cohort.patients)) == 12
    row = cohort.table.iloc[8]
    assert (row["vendor"], row["tesla"], row["coil"], row["collection"]) == (
        "GE",
        "3",
        "endorectal",
        "PROMISE12",
    )
    for position, seed, numbers in ((3, 101, (0, 1, 2)), (8, 400, (0, 1))):
        np.testing.assert_array_equal(cohort.picture(position).array[..., 0], turned(image_of(seed)))
        whole = turned(mask_of(seed, numbers)) > 0
        np.testing.assert_array_equal(cohort.mask(position).array[..., 0], whole)


def test_several_hospitals_are_pooled_against_one(tmp_path: Path) -> None:
    cohort = read_manifest(prostate(tmp_path / "prostate"))
    task = Task(source=cohort.at(*SITES[:5]), target=cohort.at("HK"))
    assert task.source is not None and task.target is not None
    assert set(task.source.sites) == set(SITES[:5]) and set(task.target.sites) == {"HK"}
    assert len(task.source) == 10 and task.source.name == "prostate at RUNMC, BMC, I2CVB, UCL, BIDMC"
    assert find_leaks(task.source, task.target) == []  # Case00 is another person at every hospital


def test_some_of_the_hospitals_do(tmp_path: Path) -> None:
    cohort = read_manifest(prostate(tmp_path / "prostate", sites=("HK", "UCL")))
    assert cohort.sites.tolist() == ["UCL", "UCL", "HK", "HK"]


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        ("Case01_Segmentation.nii.gz", r"Case01 has no mask \(1 cases lack one\)"),
        ("Case00.nii.gz", r"Case00 has no image"),
    ],
)
def test_half_a_case_is_named(tmp_path: Path, lost: str, expected: str) -> None:
    folder = prostate(tmp_path / "prostate")
    (folder / "BMC" / lost).unlink()
    with pytest.raises(DataError, match=rf"prostate/BMC needs .*{expected}.*Unpack the archive again"):
        read_manifest(folder)


def test_folders_of_another_name_are_refused(tmp_path: Path) -> None:
    folder = prostate(tmp_path / "prostate", sites=("RUNMC", "ISBI_1.5"))
    with pytest.raises(DataError, match=r"called RUNMC, BMC, .*, but it has cases in ISBI_1\.5"):
        read_manifest(folder)


def test_a_number_that_is_no_zone_is_told_with_the_file(tmp_path: Path) -> None:
    folder = prostate(tmp_path / "prostate")
    save(folder / "HK" / "Case00_segmentation.nii.gz", mask_of(0, (0, 255)))
    cohort = read_manifest(folder).at("HK")
    with pytest.raises(
        DataError, match=r"0, 1, 2, as its cell .*HK/Case00_segmentation\.nii\.gz also holds 255"
    ):
        cohort.mask(0)


@pytest.mark.parametrize(
    ("old", "new", "several"),
    [
        ("Case01", "case01", "case01.* and 1 more"),
        ("Case01_segmentation", "Case01_seg", r"Case01_seg\.nii\.gz"),
        (".nii.gz", ".nii", r"Case00\.nii and 3 more"),
    ],
)
def test_files_called_otherwise_are_named_and_not_left_out(
    tmp_path: Path, old: str, new: str, several: str
) -> None:
    folder = prostate(tmp_path / "prostate")
    for file in [*(folder / "HK").iterdir()]:
        file.rename(folder / "HK" / file.name.replace(old, new))
    with pytest.raises(DataError, match=rf"prostate/HK needs an image and a mask .* it has {several}\."):
        read_manifest(folder)


def test_a_hospital_without_masks_or_without_cases_is_not_left_out(tmp_path: Path) -> None:
    folder = prostate(tmp_path / "prostate")
    for case in (0, 1):
        (folder / "HK" / f"Case{case:02d}_segmentation.nii.gz").unlink()
    with pytest.raises(DataError, match=r"prostate/HK .* Case00 has no mask \(2 cases lack one\)"):
        read_manifest(folder)
    for case in (0, 1):
        (folder / "HK" / f"Case{case:02d}.nii.gz").unlink()
    with pytest.raises(DataError, match=r"prostate/HK needs .*, but it holds no case\."):
        read_manifest(folder)


def test_two_masks_of_a_case_are_named(tmp_path: Path) -> None:
    folder = prostate(tmp_path / "prostate", sites=("HK",))
    save(folder / "HK" / "Case01_Segmentation.nii.gz", mask_of(1, (0, 1)))
    with pytest.raises(DataError, match=r"Case01_Segmentation\.nii\.gz is one of two for its case"):
        read_manifest(folder)


def test_a_hospital_passed_alone_names_the_folder(tmp_path: Path) -> None:
    folder = prostate(tmp_path / "prostate")
    with pytest.raises(DataError, match=r"HK is one of its folders\. Pass the folder .*/prostate\.$"):
        read_manifest(folder / "HK")
