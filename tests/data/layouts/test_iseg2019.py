"""iSeg-2019 as it is unpacked, made small; and what may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.layouts.volume_files import image_of, mask_of, save, turned

from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

NUMBERS = (0, 10, 150, 250)
TRAINING = (1, 2, 10)


def subject(folder: Path, number: int, has_mask: bool) -> None:
    """Pairs of header and voxels; some headers announce a fourth axis of one."""
    for place, kind in enumerate(("T1", "T2")):
        save(folder / f"subject-{number}-{kind}.hdr", image_of(10 * number + place, *[1] * place))
    if has_mask:
        save(folder / f"subject-{number}-label.hdr", mask_of(number, NUMBERS))


def iseg2019(folder: Path) -> Path:
    for number in TRAINING:
        subject(folder / "iSeg-2019-Training", number, has_mask=True)
    for part, number in (("Validation", 11), ("Testing", 24)):
        subject(folder / f"iSeg-2019-{part}", number, has_mask=False)
    return folder


def test_two_sequences_are_channels_and_tissues_classes(tmp_path: Path) -> None:
    cohort = read_manifest(iseg2019(tmp_path / "iSeg-2019"))
    assert cohort.classes == ("background", "cerebrospinal fluid", "grey matter", "white matter")
    assert cohort.patients.tolist() == ["subject-1", "subject-2", "subject-10"]
    assert set(cohort.sites) == {"UNC (MAP)"} and not cohort.has_splits and "sides" in cohort.notes
    for position, number in enumerate(TRAINING):
        array = cohort.picture(position).array
        assert array.shape == (4, 5, 6, 2)
        for place in (0, 1):
            expected = turned(image_of(10 * number + place), x_runs_left=True)
            np.testing.assert_array_equal(array[..., place], expected)
        stored = turned(mask_of(number, NUMBERS), x_runs_left=True)
        np.testing.assert_array_equal(cohort.mask(position).array[..., 0], np.searchsorted(NUMBERS, stored))


def test_subjects_without_masks_are_rows_where_no_truth_is_asked_for(tmp_path: Path) -> None:
    cohort = read_manifest(iseg2019(tmp_path / "iSeg-2019"), kind="encode")
    assert cohort.patients[3:].tolist() == ["subject-11", "subject-24"]
    assert cohort.sites[3:].tolist() == ["UNC (MAP)", "BCP, Stanford or Emory"]
    assert cohort.table["split"].tolist() == ["train"] * 3 + ["test"] * 2
    expected = turned(image_of(240), x_runs_left=True)
    np.testing.assert_array_equal(cohort.picture(4).array[..., 0], expected)


def test_the_training_folder_opens_by_itself(tmp_path: Path) -> None:
    folder = iseg2019(tmp_path) / "iSeg-2019-Training"
    cohort = read_manifest(folder)
    assert len(cohort) == 3 and cohort.table["image"].iloc[0] == "subject-1-{T1,T2}.hdr#radiological"


def test_voxels_that_change_are_noticed_though_the_header_stays(tmp_path: Path) -> None:
    cohort = read_manifest(iseg2019(tmp_path))
    before = cohort.fingerprint()
    voxels = tmp_path / "iSeg-2019-Training" / "subject-2-T2.img"
    voxels.write_bytes(voxels.read_bytes()[::-1])
    assert read_manifest(tmp_path).fingerprint() != before
    with pytest.raises(DataError, match=r"row 2, image .*subject-2-\{T1,T2\}.*has changed"):
        cohort.picture(1)


@pytest.mark.parametrize(
    "lost", ["subject-2-T1.hdr", "subject-2-label.img", "subject-2-label.hdr", "subject-10-T2.hdr"]
)
def test_what_is_missing_is_named(tmp_path: Path, lost: str) -> None:
    folder = iseg2019(tmp_path)
    (folder / "iSeg-2019-Training" / lost).unlink()
    with pytest.raises(DataError, match=rf"1 of 18 are not there, the first is iSeg-2019-Training/{lost}"):
        read_manifest(folder)


def test_files_that_were_converted_are_refused_with_what_to_write(tmp_path: Path) -> None:
    for kind in ("T1", "T2", "label"):
        save(tmp_path / "mine" / f"subject-1-{kind}.nii.gz", mask_of(1, NUMBERS))
    with pytest.raises(
        DataError, match=r"it has subject-1-T1\.nii\.gz\. .*subject-1-label\.nii\.gz#labels:0,10,"
    ):
        read_manifest(tmp_path / "mine")


def test_subjects_without_masks_alone_are_refused(tmp_path: Path) -> None:
    folder = iseg2019(tmp_path) / "iSeg-2019-Testing"
    with pytest.raises(DataError, match=r"subjects with masks .* it has none\. Pass iSeg-2019-Training"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("old", "new", "several"),
    [
        ("subject-2", "subject2", r" and 5 more"),
        ("subject-2-T1", "subject-2-t1", r" and 1 more"),
        ("-T1.hdr", "-t1.hdr", r" and 2 more"),
        (".hdr", ".HDR", r" and 8 more"),
    ],
)
def test_files_called_otherwise_are_named_and_not_left_out(
    tmp_path: Path, old: str, new: str, several: str
) -> None:
    folder = iseg2019(tmp_path) / "iSeg-2019-Training"
    for file in [*folder.iterdir()]:
        file.rename(folder / file.name.replace(old, new))
    with pytest.raises(
        DataError, match=rf"like subject-1-T1\.hdr and subject-1-T1\.img alone, but it has .*{several}"
    ) as caught:
        read_manifest(tmp_path)
    assert new in str(caught.value)


def test_a_subject_without_its_first_sequence_is_named(tmp_path: Path) -> None:
    folder = iseg2019(tmp_path)
    for half in (".hdr", ".img"):
        (folder / "iSeg-2019-Training" / f"subject-10-T1{half}").unlink()
    with pytest.raises(DataError, match=r"2 of 18 are not there, the first is .*Training/subject-10-T1\.hdr"):
        read_manifest(folder)


def test_a_subject_in_two_folders_is_named(tmp_path: Path) -> None:
    folder = iseg2019(tmp_path)
    subject(folder / "iSeg-2019-Testing", 2, has_mask=False)
    with pytest.raises(DataError, match=r"iSeg-2019-Testing holds subject-2, and so does another folder"):
        read_manifest(folder, kind="encode")
