"""M&Ms as it is unpacked, made small; and what may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.layouts.volume_files import image_of, mask_of, save, turned

from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

TABLE = "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
HEADER = ",External code,VendorName,Vendor,Centre,ED,ES,Age,Pathology,Sex,Height,Weight"
CASES = {
    "Training/Labeled/A0S9V9": "Siemens,A,1,0,3,51,HCM,M,172,80",
    "Training/Labeled/B2C2Z7": "Philips,B,2,2,1,22,NOR,F,165,60",
    "Training/Unlabeled/C3D4E5": "GE,C,4,0,2,40,DCM,M,180,90",
    "Validation/C4E9I1": "GE,C,4,1,3,,HHD,F,,",
    "Testing/D1H2O9": "Canon,D,5,3,0,35,AHS,M,170,75",
}
FRAMES = 4


def mnms(folder: Path, **changed: str) -> Path:
    """Cines of four frames; masks are empty but in two; `changed` replaces what the table says of a case."""
    lines = [HEADER, "0,Z9Z9Z9,Siemens,A,1,0,1,50,NOR,M,170,70"]  # published on request alone
    for number, (place, told) in enumerate(CASES.items(), start=1):
        code = place.rsplit("/", 1)[1]
        told = changed.get(code, told)
        save(folder / place / f"{code}_sa.nii.gz", image_of(number, FRAMES))
        mask = np.zeros_like(mask_of(number, (0, 1, 2, 3), FRAMES))
        if "Unlabeled" not in place:
            for frame in map(int, CASES[place].split(",")[3:5]):
                mask[..., frame] = mask_of(10 * number + frame, (0, 1, 2, 3))
        save(folder / place / f"{code}_sa_gt.nii.gz", mask)
        lines += [f"{number},{code},{told}"] if told else []
    (folder / TABLE).write_text("\n".join(lines) + "\n")
    return folder


def test_two_moments_of_each_case_come_with_masks_vendors_and_splits(tmp_path: Path) -> None:
    cohort = read_manifest(mnms(tmp_path / "OpenDataset"))
    assert cohort.classes == ("background", "left ventricle", "myocardium", "right ventricle")
    assert cohort.sites.tolist()[::2] == ["Siemens", "Philips", "GE", "Canon"]
    assert cohort.table["split"].tolist() == ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    assert cohort.table["phase"].tolist() == ["ED", "ES"] * 4
    assert cohort.patients[:3].tolist() == ["A0S9V9", "A0S9V9", "B2C2Z7"]
    row = cohort.table.iloc[2]
    assert (row["centre"], row["pathology"], row["age"], row["sex"]) == ("2", "NOR", "22", "female")
    for position, (number, frame) in {0: (1, 0), 1: (1, 3), 2: (2, 2), 3: (2, 1), 7: (5, 0)}.items():
        picture, mask = cohort.picture(position), cohort.mask(position)
        assert picture.array.shape == (4, 5, 6, 1) and picture.spacing == (2.0, 1.0, 1.0)
        np.testing.assert_array_equal(picture.array[..., 0], turned(image_of(number, FRAMES)[..., frame]))
        expected = turned(mask_of(10 * number + frame, (0, 1, 2, 3)))
        np.testing.assert_array_equal(mask.array[..., 0], expected)


def test_cases_without_masks_are_rows_where_no_truth_is_asked_for(tmp_path: Path) -> None:
    folder = mnms(tmp_path / "OpenDataset")
    assert "C3D4E5" not in read_manifest(folder).patients
    unlabelled = read_manifest(folder, kind="encode")
    assert len(unlabelled) == 10 and "truth" not in unlabelled.fields
    assert unlabelled.table["split"].tolist() == ["train"] * 4 + ["validation"] * 2 + ["test"] * 4
    assert unlabelled.patients[-1] == "C3D4E5" and unlabelled.sites[-1] == "GE"


def test_the_folder_around_it_and_parts_of_it_open_too(tmp_path: Path) -> None:
    mnms(tmp_path / "MnM" / "OpenDataset")
    assert len(read_manifest(tmp_path / "MnM")) == 8
    (tmp_path / "MnM" / "OpenDataset" / "Testing").rename(tmp_path / "elsewhere")
    assert len(read_manifest(tmp_path / "MnM")) == 6


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("", r"a row for every case, but it has none for Testing/D1H2O9"),
        ("Toshiba,E,5,3,0,35,AHS,M,170,75", r"vendors A \(Siemens\), .*that of Testing/D1H2O9 is 'E'"),
        ("Canon,D,5,,0,35,AHS,M,170,75", r"the number of a frame in ED, but '' stands for D1H2O9"),
        ("Canon,D,5,3,half,35,AHS,M,170,75", r"the number of a frame in ES, but 'half' stands for D1H2O9"),
    ],
)
def test_a_table_that_does_not_do_is_refused_in_one_sentence(
    tmp_path: Path, told: str, expected: str
) -> None:
    folder = mnms(tmp_path / "OpenDataset", D1H2O9=told)
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert TABLE in str(caught.value) and "\n" not in str(caught.value)


def test_frames_may_have_gone_through_a_spreadsheet(tmp_path: Path) -> None:
    folder = mnms(tmp_path / "OpenDataset", D1H2O9="Canon,D,5,3.0,0.0,35,AHS,M,170,75")
    assert read_manifest(folder).table["image"].iloc[-2].endswith("D1H2O9_sa.nii.gz#frame:3")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = mnms(tmp_path / "OpenDataset")
    (folder / "Validation" / "C4E9I1" / "C4E9I1_sa_gt.nii.gz").unlink()
    with pytest.raises(DataError, match=r"1 of 2 are not there.*Validation/C4E9I1/C4E9I1_sa_gt\.nii\.gz"):
        read_manifest(folder)
    with pytest.raises(DataError, match=r"one of its tables\. Pass the folder .*OpenDataset"):
        read_manifest(folder / TABLE)
    (folder / TABLE).unlink()
    with pytest.raises(DataError, match=r"needs the table 211230_M&Ms.* it has the cases without it"):
        read_manifest(folder)


def test_cases_side_by_side_are_refused(tmp_path: Path) -> None:
    folder = mnms(tmp_path / "OpenDataset")
    for file in (folder / "Training" / "Labeled" / "A0S9V9").iterdir():
        file.rename(folder / "Training" / file.name)
    with pytest.raises(
        DataError, match=r"a folder for each case in .*A0S9V9_sa\.nii\.gz lies there by itself"
    ):
        read_manifest(folder)


def test_a_frame_that_the_cine_does_not_have_is_told_with_the_file(tmp_path: Path) -> None:
    cohort = read_manifest(mnms(tmp_path / "OpenDataset", D1H2O9="Canon,D,5,4,0,35,AHS,M,170,75"))
    with pytest.raises(DataError, match=r"from 0 to 3, but .*D1H2O9_sa\.nii\.gz is asked for '4'"):
        cohort.picture(6)


def test_a_case_that_is_told_in_two_ways_is_named(tmp_path: Path) -> None:
    folder = mnms(tmp_path / "OpenDataset")
    with (folder / TABLE).open("a") as file:
        file.write(" 7, A0S9V9 ,Siemens, A,1,0,3,51,HCM,M,172,80\n")  # as before
    assert read_manifest(folder).patients[0] == "A0S9V9"
    with (folder / TABLE).open("a") as file:
        file.write("8,A0S9V9,Siemens,A,1,2,3,51,HCM,M,172,80\n")
    with pytest.raises(DataError, match=r"row 8 says something else of A0S9V9 than an earlier row"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (("Vendor,", "Maker,"), r"but it has no Vendor\."),
        ((",ED,", ",Ed,"), r"but it has no ED\."),
        ((",", ";"), r"but it has no External code, Vendor, Centre, ED, ES\."),
    ],
)
def test_a_table_without_a_column_is_told_from_no_table(
    tmp_path: Path, spoil: tuple[str, str], expected: str
) -> None:
    folder = mnms(tmp_path / "OpenDataset")
    header, rows = (folder / TABLE).read_text().split("\n", 1)
    (folder / TABLE).write_text(header.replace("VendorName,", "Name,").replace(*spoil) + "\n" + rows)
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert TABLE in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Testing/D1H2O9", "Testing/d1h2o9", r"cases of the table \(A0S9V9\), but it has d1h2o9\. Name it"),
        ("Testing", "testing", r"folders Training, Validation, Testing alone, but there are some in testing"),
        (
            "Training/Labeled",
            "Training/Labelled",
            r"Labeled, Unlabeled alone, but there are some in Labelled",
        ),
        ("Training/Labeled/B2C2Z7", "Training/B2C2Z7", r"Training needs cases .* there are some in B2C2Z7"),
    ],
)
def test_folders_of_another_name_are_named_and_not_left_out(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    folder = mnms(tmp_path / "OpenDataset")
    (folder / old).rename(folder / new)
    with pytest.raises(DataError, match=expected):
        read_manifest(folder)


@pytest.mark.parametrize("inner", ["Testing", "Training", "Training/Labeled"])
def test_a_folder_within_it_names_the_whole_and_is_no_set_of_classes(tmp_path: Path, inner: str) -> None:
    folder = mnms(tmp_path / "OpenDataset")
    with pytest.raises(DataError, match=r"Opening M&Ms .* one of its folders\. Pass the folder "):
        read_manifest(folder / inner)
