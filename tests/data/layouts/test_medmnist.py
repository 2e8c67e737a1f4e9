"""MedMNIST and MedMNIST+ files, made small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medgraft.data.cohort import Cohort
from medgraft.data.layouts import medmnist
from medgraft.data.manifest import read_manifest
from medgraft.errors import DataError

COUNTS = {"train": 5, "val": 3, "test": 4}
SPLITS = (("train", "train"), ("validation", "val"), ("test", "test"))


def stored(
    path: Path,
    shape: tuple[int, ...] = (28, 28),
    columns: int = 1,
    classes: int = 2,
    compressed: bool = True,
    repeats: int = 1,
) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    arrays = {}
    for split, count in COUNTS.items():
        count *= repeats
        arrays[f"{split}_images"] = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
        numbers = np.arange(count * columns).reshape(count, columns)
        arrays[f"{split}_labels"] = (numbers % classes).astype(np.uint8)
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return arrays


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (64, 64, 3)])
def test_images_and_labels_are_those_of_the_arrays(
    tmp_path: Path, shape: tuple[int, ...], compressed: bool
) -> None:
    arrays = stored(tmp_path / "mine.npz", shape, compressed=compressed)
    cohort = read_manifest(tmp_path / "mine.npz")
    assert cohort.kind == "classify" and cohort.classes == ("0", "1") and len(cohort) == 12
    assert cohort.name == "mine" and cohort.unit_name == "images"
    for split, name in SPLITS:
        view = cohort.split(split)
        np.testing.assert_array_equal(view.labels, arrays[f"{name}_labels"][:, 0])
        expected = arrays[f"{name}_images"][2].reshape(*shape[:2], -1)
        np.testing.assert_array_equal(view.picture(2).array, expected)


@pytest.mark.parametrize("name", ["organamnist.npz", "organamnist_128.npz", "OrganAMNIST_224.npz"])
def test_classes_of_published_files_have_names_in_the_stored_order(tmp_path: Path, name: str) -> None:
    arrays = stored(tmp_path / name, classes=11)
    cohort = read_manifest(tmp_path / name)
    assert len(cohort.classes) == 11 and cohort.classes[7] == "lung-left"
    np.testing.assert_array_equal(cohort.split("train").labels, arrays["train_labels"][:, 0])
    assert cohort.notes["licence"] == "CC BY 4.0" and "silver_labels" not in cohort.notes


def test_numbers_are_not_sorted_by_their_names(tmp_path: Path) -> None:
    arrays = stored(tmp_path / "organmnist3d_64.npz", (8, 8, 8), classes=11)  # 0 is liver, 10 pancreas
    cohort = read_manifest(tmp_path / "organmnist3d_64.npz")
    assert cohort.classes[0] == "liver" and cohort.classes[10] == "pancreas"
    np.testing.assert_array_equal(cohort.split("test").labels, arrays["test_labels"][:, 0])


def test_volumes_are_read_as_volumes(tmp_path: Path) -> None:
    arrays = stored(tmp_path / "nodulemnist3d.npz", (28, 28, 28))
    cohort = read_manifest(tmp_path / "nodulemnist3d.npz")
    assert cohort.classes == ("benign", "malignant")
    picture = cohort.split("validation").picture(1).array
    np.testing.assert_array_equal(picture, arrays["val_images"][1][..., None])


def test_several_labels_have_the_names_of_the_findings(tmp_path: Path) -> None:
    arrays = stored(tmp_path / "chestmnist_64.npz", (64, 64), columns=14)
    cohort = read_manifest(tmp_path / "chestmnist_64.npz")
    assert (
        cohort.kind == "multilabel" and cohort.classes[1] == "cardiomegaly" and cohort.classes[13] == "hernia"
    )
    np.testing.assert_array_equal(cohort.split("train").labels, arrays["train_labels"])
    assert "reports" in cohort.notes["silver_labels"]
    stored(tmp_path / "mine.npz", columns=3)
    assert read_manifest(tmp_path / "mine.npz").classes == ("0", "1", "2")


def test_a_recipe_opens_the_same_images_again(tmp_path: Path) -> None:
    stored(tmp_path / "breastmnist.npz")
    cohort = read_manifest(tmp_path / "breastmnist.npz").few(1)
    again = Cohort.from_recipe(json.loads(json.dumps(cohort.recipe)))
    assert again.table.equals(cohort.table) and again.fingerprint() == cohort.fingerprint()
    assert again.classes == ("malignant", "normal, benign")


def test_images_are_not_read_to_open_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path / "mine.npz")
    keys: list[str] = []
    load = medmnist.load_array

    def told(path: Path, key: str) -> np.ndarray:
        keys.append(key)
        return load(path, key)

    monkeypatch.setattr(medmnist, "load_array", told)
    read_manifest(tmp_path / "mine.npz")
    assert sorted(keys) == ["test_labels", "train_labels", "val_labels"]


def test_files_that_do_not_do_are_refused_in_one_sentence(tmp_path: Path) -> None:
    arrays = stored(tmp_path / "pathmnist.npz", (28, 28, 3))
    np.savez(tmp_path / "pathmnist.npz", **{**arrays, "val_labels": np.array([[0], [9], [1]], np.uint8)})
    stored(tmp_path / "chestmnist.npz", columns=3)
    stored(tmp_path / "octmnist.npz", columns=4)
    np.savez(tmp_path / "other.npz", images=np.zeros((2, 4, 4)))
    arrays = stored(tmp_path / "short.npz")
    np.savez(tmp_path / "short.npz", **{**arrays, "val_labels": arrays["val_labels"][:2]})
    np.savez(tmp_path / "fractions.npz", **{**arrays, "val_labels": arrays["val_labels"] + 0.5})
    whole = (tmp_path / "pathmnist.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name, expected in (
        ("pathmnist.npz", "the 9 classes of pathmnist, but it has the label 9"),
        ("chestmnist.npz", "the 14 classes of chestmnist, but it has 3 labels per image"),
        ("octmnist.npz", "the 4 classes of octmnist, but it has 4 labels per image"),
        ("other.npz", "holds images"),
        ("short.npz", r"val_images has the shape \(3, 28, 28\) and val_labels \(2, 1\)"),
        ("fractions.npz", "of float64"),
        ("cut.npz", "BadZipFile"),
    ):
        with pytest.raises(DataError, match=expected) as caught:
            read_manifest(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_the_table_of_classes_has_the_published_counts() -> None:
    counts = {name: len(classes) for name, classes in medmnist.CLASSES.items()}
    assert counts == {
        "pathmnist": 9, "chestmnist": 14, "dermamnist": 7, "octmnist": 4, "pneumoniamnist": 2, "retinamnist": 5,
        "breastmnist": 2, "bloodmnist": 8, "tissuemnist": 8, "organamnist": 11, "organcmnist": 11, "organsmnist": 11,
        "organmnist3d": 11, "nodulemnist3d": 2, "adrenalmnist3d": 2, "fracturemnist3d": 3, "vesselmnist3d": 2,
        "synapsemnist3d": 2,
    }  # fmt: skip
