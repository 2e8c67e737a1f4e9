"""CC359 as it is unpacked, made small; and what may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.layouts.volume_files import image_of, mask_of, save, turned

from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

NAMES = (
    "CC0001_philips_15_55_M", "CC0061_philips_3_55_F", "CC0121_siemens_15_61_M", "CC0181_siemens_3_36_F",
    "CC0241_ge_15_60_F", "CC0301_ge_3_53_F",
)  # fmt: skip
MASKS = "Silver-standard-machine-learning/Silver-standard"


def cc359(folder: Path, images: str = "Original/Original", masks: str = MASKS) -> Path:
    """One head of each scanner, with the files that the archives also hold."""
    for case, name in enumerate(NAMES):
        save(folder / images / f"{name}.nii.gz", image_of(case))
        save(folder / masks / f"{name}_ss.nii.gz", mask_of(case, (0, 1)))
        (folder / images / f"._{name}.nii.gz").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    save(folder / "Manual" / f"{NAMES[0]}_manual.nii.gz", mask_of(0, (0, 1)))
    return folder


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("Original/Original", MASKS),
        ("Original", "Silver-standard"),
        ("Original", "Silver-standard-machine-learning"),
    ],
)
def test_heads_come_with_masks_scanners_and_people(tmp_path: Path, images: str, masks: str) -> None:
    cohort = read_manifest(cc359(tmp_path / "CC359", images, masks))
    assert (cohort.kind, cohort.classes, cohort.name) == ("segment", ("background", "brain"), "CC359")
    assert cohort.sites.tolist() == ["philips_15", "philips_3", "siemens_15", "siemens_3", "ge_15", "ge_3"]
    assert cohort.patients[4] == "CC0241" and cohort.unit_name == "patients" and not cohort.has_splits
    row = cohort.table.iloc[4]
    assert (row["vendor"], row["tesla"], row["age"], row["sex"]) == ("GE", "1.5", "60", "female")
    assert "silver standard" in cohort.notes["silver_labels"]
    for case in (0, 5):
        np.testing.assert_array_equal(cohort.picture(case).array[..., 0], turned(image_of(case)))
        np.testing.assert_array_equal(cohort.mask(case).array[..., 0], turned(mask_of(case, (0, 1))))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = cc359(tmp_path / "CC359")
    (folder / MASKS / f"{NAMES[2]}_ss.nii.gz").unlink()
    with pytest.raises(
        DataError, match=rf"1 of 6 are not there.*{NAMES[2]}_ss.*Unpack Silver-standard-machine"
    ):
        read_manifest(folder)
    (folder / "Original").rename(folder / "originals")
    with pytest.raises(
        DataError, match=r"images of CC359 in Original, but it has masks alone\. Unpack Original"
    ):
        read_manifest(folder)


def test_masks_by_staple_alone_do_not_do(tmp_path: Path) -> None:
    folder = cc359(tmp_path / "CC359", masks="Silver-standard-STAPLE")
    with pytest.raises(
        DataError, match=r"6 of 6 are not there.*Unpack Silver-standard-machine-learning\.zip"
    ):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["CC0400_toshiba_3_40_F", "CC0400_ge_7_40_F"])
def test_a_scanner_that_is_none_of_the_six_is_named(tmp_path: Path, name: str) -> None:
    folder = cc359(tmp_path / "CC359")
    save(folder / "Original" / "Original" / f"{name}.nii.gz", image_of(9))
    with pytest.raises(DataError, match=rf"ge, philips or siemens at 15 or 3 .* it has {name}\.nii\.gz"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "name", ["CC0061-philips-3-55-F.nii.gz", "CC0061_Philips_3_55_F.nii.gz", "CC0061_philips_3_55_F.nii"]
)
def test_images_called_otherwise_are_named_and_not_left_out(tmp_path: Path, name: str) -> None:
    images = cc359(tmp_path / "CC359") / "Original" / "Original"
    (images / f"{NAMES[1]}.nii.gz").rename(images / name)
    with pytest.raises(DataError, match=rf"like CC0001_philips_15_55_M\.nii\.gz alone, but it has {name}\."):
        read_manifest(tmp_path / "CC359")


def test_a_mask_without_its_image_is_named(tmp_path: Path) -> None:
    folder = cc359(tmp_path / "CC359")
    (folder / "Original" / "Original" / f"{NAMES[3]}.nii.gz").unlink()
    with pytest.raises(
        DataError, match=rf"1 of 6 are not there.*that of {NAMES[3]}_ss\.nii\.gz\. Unpack Original\.zip"
    ):
        read_manifest(folder)


def test_two_images_of_one_head_are_named(tmp_path: Path) -> None:
    folder = cc359(tmp_path / "CC359")
    save(folder / "Original" / "Original" / "CC0001_ge_3_55_M.nii.gz", image_of(0))
    save(folder / MASKS / "CC0001_ge_3_55_M_ss.nii.gz", mask_of(0, (0, 1)))
    with pytest.raises(
        DataError, match=rf"CC0001_ge_3_55_M\.nii\.gz and {NAMES[0]}\.nii\.gz\. Move the wrong"
    ):
        read_manifest(folder)


@pytest.mark.parametrize("inner", ["Original/Original", "Original", MASKS, MASKS.split("/")[0]])
def test_a_folder_within_it_names_the_whole(tmp_path: Path, inner: str) -> None:
    folder = cc359(tmp_path / "CC359")
    with pytest.raises(DataError, match=r"is one of its folders\. Pass the folder .*/CC359\.$"):
        read_manifest(folder / inner)
