"""The Medical Segmentation Decathlon as it is unpacked, made small; and what may be wrong with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medgraft.data.checks import check
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

MODALITIES = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)


def image_of(case: int, channels: int) -> np.ndarray:
    """(x, y, z) or (x, y, z, channels) int16, as published."""
    shape = (6, 5, 4, channels) if channels > 1 else (6, 5, 4)
    return np.random.default_rng(case).integers(0, 900, shape).astype(np.int16)


def mask_of(case: int) -> np.ndarray:
    return np.random.default_rng(100 + case).integers(0, 3, (6, 5, 4)).astype(np.uint8)


def pairs(image: np.ndarray, mask: np.ndarray) -> list[list[int]]:
    """What stands in each voxel, in whatever direction the axes run."""
    both = np.concatenate([image.astype(int), mask.astype(int)], axis=-1)
    return sorted(both.reshape(-1, both.shape[-1]).tolist())


def decathlon(folder: Path, channels: int = 1, cases: int = 12, **changed: Any) -> Path:
    """A task as the archives hold it, with the files of the system among the others; `changed` None removes a key."""
    names = [f"hippocampus_{case:03d}.nii.gz" for case in range(cases)]
    for case, name in enumerate(names):
        save(folder / "imagesTr" / name, image_of(case, channels))
        save(folder / "labelsTr" / name, mask_of(case))
        for part in ("imagesTr", "labelsTr"):
            (folder / part / f"._{name}").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    save(folder / "imagesTs" / "hippocampus_900.nii.gz", image_of(900, channels))
    (folder / "imagesTs" / "._hippocampus_900.nii.gz").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    stored = {
        "name": "Hippocampus",
        "description": "Left and right hippocampus segmentation",
        "reference": "Vanderbilt University Medical Center",
        "licence": "CC-BY-SA 4.0",
        "relase": "1.0 04/05/2018",
        "tensorImageSize": "3D",
        "modality": dict(list(MODALITIES.items())[:channels]) if channels > 1 else {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "numTraining": cases,
        "numTest": 1,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": ["./imagesTs/hippocampus_900.nii.gz"],
    }
    stored = {key: value for key, value in {**stored, **changed}.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(stored))
    return folder


def test_training_cases_come_with_masks_names_and_notes(tmp_path: Path) -> None:
    cohort = read_manifest(decathlon(tmp_path / "Task04_Hippocampus"))
    assert cohort.name == "Task04_Hippocampus" and cohort.kind == "segment" and len(cohort) == 12
    assert cohort.classes == ("background", "Anterior", "Posterior")
    assert cohort.patients[3] == "hippocampus_003" and cohort.unit_name == "cases"
    assert not cohort.has_splits  # none is published: divided by patient like any other
    assert cohort.notes["licence"] == "CC-BY-SA 4.0" and cohort.notes["modality"] == "MRI"
    assert "Vanderbilt" in cohort.notes["source"]
    for case in (0, 7):
        picture, mask = cohort.picture(case), cohort.mask(case)
        assert picture.array.shape == mask.array.shape == (4, 5, 6, 1) and picture.spacing == (2.0, 1.0, 1.0)
        assert pairs(picture.array, mask.array) == pairs(
            image_of(case, 1)[..., None], mask_of(case)[..., None]
        )


def test_several_modalities_are_channels(tmp_path: Path) -> None:
    cohort = read_manifest(decathlon(tmp_path / "Task01_BrainTumour", channels=4))
    picture, mask = cohort.picture(5), cohort.mask(5)
    assert picture.array.shape == (4, 5, 6, 4) and mask.array.shape == (4, 5, 6, 1)
    assert pairs(picture.array, mask.array) == pairs(image_of(5, 4), mask_of(5)[..., None])
    assert cohort.notes["modality"] == "FLAIR, T1w, t1gd, T2w"


def test_test_cases_are_offered_only_where_no_truth_is_asked_for(tmp_path: Path) -> None:
    folder = decathlon(tmp_path / "Task04_Hippocampus")
    assert not any("imagesTs" in image for image in read_manifest(folder).table["image"])
    unlabelled = read_manifest(folder, kind="encode")
    assert len(unlabelled) == 13 and "truth" not in unlabelled.fields
    assert unlabelled.split("test").table["image"].tolist() == ["imagesTs/hippocampus_900.nii.gz"]
    assert unlabelled.table.index.tolist() == list(range(1, 14))
    shutil.rmtree(folder / "imagesTs")
    assert len(read_manifest(folder, kind="encode")) == 12


def test_files_of_the_system_are_no_cases_even_where_listed(tmp_path: Path) -> None:
    folder = decathlon(tmp_path / "t", cases=3)
    stored = json.loads((folder / "dataset.json").read_text())
    names = ("imagesTr/._hippocampus_000.nii.gz", "labelsTr/._hippocampus_000.nii.gz")
    stored["training"].append(dict(zip(("image", "label"), names)))
    stored["test"].append("./imagesTs/._hippocampus_900.nii.gz")
    (folder / "dataset.json").write_text(json.dumps(stored))
    assert len(read_manifest(folder)) == 3
    assert len(read_manifest(folder, kind="encode")) == 4


def test_a_recipe_opens_the_same_cases_again(tmp_path: Path) -> None:
    from medgraft.data.splits import split_by_patient

    cohort = split_by_patient(read_manifest(decathlon(tmp_path / "Task04_Hippocampus"))).split("train").few(4)
    again = Cohort.from_recipe(json.loads(json.dumps(cohort.recipe)))
    assert again.table.equals(cohort.table) and again.fingerprint() == cohort.fingerprint()


def test_names_and_notes_may_be_given_beside_it(tmp_path: Path) -> None:
    folder = decathlon(tmp_path / "t", cases=3)
    (folder / "medgraft.toml").write_text('classes = ["none", "head", "tail"]\n[notes]\nward = "7"\n')
    cohort = read_manifest(folder)
    assert cohort.classes == ("none", "head", "tail")
    assert cohort.notes["ward"] == "7" and cohort.notes["licence"] == "CC-BY-SA 4.0"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"training": None}, r"keys modality, labels, training, but it has no training\."),
        ({"modality": None, "training": None}, "no modality, training"),
        ({"training": []}, "at least one training case"),
        ({"training": ["./imagesTr/hippocampus_000.nii.gz"]}, "training cases with image and label"),
        ({"labels": {"background": 0, "tumour": 1}}, 'labels numbered "0", "1"'),
        ({"labels": {"0": "background", "2": "Posterior"}}, 'labels numbered "0", "1"'),
        ({"test": {"a": 1}}, "test as a list"),
        (
            {"training": [{"image": "./imagesTr/x.nii.gz", "label": "./labelsTr/x.nii.gz"}]},
            r"2 of 2 .*Tr/x\.nii\.gz",
        ),
    ],
)
def test_a_list_that_does_not_do_is_refused_in_one_sentence(
    tmp_path: Path, changed: dict[str, Any], expected: str
) -> None:
    folder = decathlon(tmp_path / "t", cases=2, **changed)
    with pytest.raises(DataError, match=expected) as caught:
        read_manifest(folder)
    assert "dataset.json" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = decathlon(tmp_path / "t", cases=3)
    (folder / "labelsTr" / "hippocampus_001.nii.gz").unlink()
    with pytest.raises(
        DataError, match=r"1 of 6 are not there, the first is labelsTr/hippocampus_001\.nii\.gz"
    ):
        read_manifest(folder)
    (folder / "dataset.json").write_text("{'labels'")
    with pytest.raises(
        DataError, match=r"dataset\.json needs the JSON .* cannot be read \(JSONDecodeError\)"
    ):
        read_manifest(folder)
    (folder / "dataset.json").unlink()
    with pytest.raises(
        DataError, match=r"needs dataset\.json, .* but it has imagesTr and labelsTr without it"
    ):
        read_manifest(folder)
    assert [problem.severity for problem in check(folder)] == ["error"]


def test_its_list_passed_alone_names_the_folder(tmp_path: Path) -> None:
    folder = decathlon(tmp_path / "Task04_Hippocampus", cases=2)
    with pytest.raises(DataError, match=r"one of its tables\. Pass the folder .*Task04_Hippocampus"):
        read_manifest(folder / "dataset.json")


def test_a_class_folder_with_a_json_of_its_own_stays_one(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"labels": ["a"], "owner": "me"}')
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "1.npy", np.eye(4))
    assert read_manifest(tmp_path).classes == ("a", "b")
