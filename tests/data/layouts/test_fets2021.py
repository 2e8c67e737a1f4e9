"""FeTS 2021 as it is unpacked, made small; and what may be wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data.layouts.volume_files import image_of, mask_of, save, turned

from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

SEQUENCES = ("t1", "t1ce", "t2", "flair")
INSTITUTIONS = {"FeTS21_Training_001": "1", "FeTS21_Training_002": "1", "FeTS21_Training_010": "17"}


def fets2021(folder: Path) -> Path:
    for case, name in enumerate(INSTITUTIONS):
        for place, kind in enumerate(SEQUENCES):
            save(folder / name / f"{name}_{kind}.nii.gz", image_of(10 * case + place))
        save(folder / name / f"{name}_seg.nii.gz", mask_of(case, (0, 1, 2, 4)))
    rows = "".join(f"{site},{name}\n" for name, site in INSTITUTIONS.items())
    (folder / "partitioning_1.csv").write_text(f"Partition_ID,Subject_ID\n{rows}")
    (folder / "partitioning_2.csv").write_text(f"Partition_ID,Subject_ID\n{rows}")
    return folder


def test_sequences_are_channels_and_institutions_sites(tmp_path: Path) -> None:
    cohort = read_manifest(fets2021(tmp_path / "MICCAI_FeTS2021_TrainingData"))
    assert cohort.classes == ("background", "necrotic core", "edema", "enhancing tumor")
    assert cohort.sites.tolist() == ["1", "1", "17"] and cohort.patients.tolist() == [*INSTITUTIONS]
    assert not cohort.has_splits and cohort.notes["modality"] == "T1, T1 with contrast, T2, FLAIR"
    for case in (0, 2):
        array = cohort.picture(case).array
        assert array.shape == (4, 5, 6, 4)
        for place in range(4):
            np.testing.assert_array_equal(array[..., place], turned(image_of(10 * case + place)))
        stored = turned(mask_of(case, (0, 1, 2, 4)))
        np.testing.assert_array_equal(cohort.mask(case).array[..., 0], np.where(stored == 4, 3, stored))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = fets2021(tmp_path / "FeTS")
    (folder / "FeTS21_Training_002" / "FeTS21_Training_002_t1ce.nii.gz").unlink()
    with pytest.raises(
        DataError, match=r"1 of 15 are not there.*002_t1ce\.nii\.gz.*out of partitioning_1\.csv"
    ):
        read_manifest(folder)
    (folder / "partitioning_1.csv").unlink()
    with pytest.raises(
        DataError, match=r"the table partitioning_1\.csv, which names institutions, but it has cases"
    ):
        read_manifest(folder)


def test_its_table_passed_alone_names_the_folder(tmp_path: Path) -> None:
    folder = fets2021(tmp_path / "FeTS")
    with pytest.raises(DataError, match=r"one of its tables\. Pass the folder .*FeTS"):
        read_manifest(folder / "partitioning_2.csv")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("1,FeTS21_Training_001\n", r"every case in .*FeTS, but it has none for FeTS21_Training_002"),
        ("1,FeTS2022_01341\n", r"FeTS21_Training_001 .* it lists FeTS2022_01341\. .*another edition of FeTS"),
        (
            "1,FeTS21_Training_001\n,FeTS21_Training_002\n2,FeTS21_Training_010\n",
            r"of an institution in every row, but the cell of FeTS21_Training_002 is empty",
        ),
        (
            "1,FeTS21_Training_001\n1,FeTS21_Training_002\nx,FeTS21_Training_010\n",
            r"the number of an institution .*'x' stands for FeTS21_Training_010",
        ),
        ("1,FeTS21_Training_001\n2,\n", r"a name in every cell of 'Subject_ID', but that of row 2 is empty"),
        (
            "1,FeTS21_Training_001\n1,FeTS21_Training_002\n9,FeTS21_Training_001\n",
            r"row 3 says something else of FeTS21_Training_001 than an earlier row",
        ),
    ],
)
def test_a_table_that_does_not_do_is_refused_in_one_sentence(
    tmp_path: Path, rows: str, expected: str
) -> None:
    folder = fets2021(tmp_path / "FeTS")
    (folder / "partitioning_1.csv").write_text(f"Partition_ID,Subject_ID\n{rows}")
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert "partitioning_1.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_validation_cases_alone_are_told_from_class_folders(tmp_path: Path) -> None:
    save(tmp_path / "F" / "FeTS21_Validation_001" / "FeTS21_Validation_001_t1.nii.gz", image_of(0))
    with pytest.raises(DataError, match=r"partitioning_1\.csv.*archive of the training data"):
        read_manifest(tmp_path / "F")


def test_a_row_that_is_repeated_counts_once_and_spaces_do_not_count(tmp_path: Path) -> None:
    folder = fets2021(tmp_path / "FeTS")
    with (folder / "partitioning_1.csv").open("a") as file:
        file.write(" 1 , FeTS21_Training_001 \n,\n")
    cohort = read_manifest(folder)
    assert cohort.patients.tolist() == [*INSTITUTIONS] and cohort.sites.tolist() == ["1", "1", "17"]


def test_a_table_of_other_columns_is_told_also_where_no_case_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "partitioning_1.csv").write_text("institution,Subject_ID\n1,FeTS21_Training_001\n")
    with pytest.raises(DataError, match=r"partitioning_1\.csv needs the columns .* it has no Partition_ID"):
        read_manifest(tmp_path)


def test_a_case_passed_alone_names_the_folder(tmp_path: Path) -> None:
    folder = fets2021(tmp_path / "FeTS")
    with pytest.raises(DataError, match=r"_002 is one of its folders\. Pass the folder .*/FeTS\.$"):
        read_manifest(folder / "FeTS21_Training_002")
