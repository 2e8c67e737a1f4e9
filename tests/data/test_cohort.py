"""Cohorts: views, what they drop, and how they are recognised and made again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.pixels import hash_image, hash_pixels
from medgraft.data.splits import split_by_patient
from medgraft.errors import DataError


class AsFloat:
    def image(self, array: np.ndarray, spacing: Sequence[float] | None = None) -> Tensor:
        return torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1)

    def mask(self, array: np.ndarray, spacing: Sequence[float] | None = None) -> Tensor:
        return torch.from_numpy(array.astype(np.int64))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    lines = ["image,label,patient,site,split,scanner"]
    for index in range(24):
        array = np.random.default_rng(index).integers(0, 256, (6, 5), dtype=np.uint8)
        Image.fromarray(array).save(tmp_path / f"{index}.png")
        split = "train" if index < 16 else "test"
        site = "Basel" if index % 4 < 2 else "Porto"
        lines.append(f"{index}.png,{'abc'[index % 3]},p{index // 2},{site},{split},X{index % 2}")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    return tmp_path / "m.csv"


def test_views_keep_rows_and_the_classes_of_the_whole(path: Path) -> None:
    cohort = read_manifest(path)
    basel = cohort.at("Basel")
    assert basel.table.index.tolist() == [row for row in range(1, 25) if (row - 1) % 4 < 2]
    assert cohort.at("Basel", "Porto").table.equals(cohort.table)
    assert cohort.split("test").table.index.tolist() == list(range(17, 25))
    only_b = cohort.take([4, 1])
    assert only_b.table.index.tolist() == [5, 2]
    assert only_b.classes == ("a", "b", "c") and only_b.labels.tolist() == [1, 1]
    np.testing.assert_array_equal(only_b.picture(0).array, cohort.picture(4).array)
    for call in (lambda: cohort.at("Lyon"), lambda: cohort.split("holdout")):
        with pytest.raises(DataError):
            call()


def test_fields_not_asked_for_are_gone(path: Path) -> None:
    view = read_manifest(path).only({"images", "sites"})
    assert view.table.columns.tolist() == ["image", "site", "split"]
    assert view.fields == {"images", "sites"}
    assert len(set(view.patients)) == len(view)
    with pytest.raises(DataError):
        _ = view.labels
    assert view.load([0], AsFloat()).truth is None


def test_nothing_that_comes_out_changes_a_cohort() -> None:
    images = np.zeros((3, 4, 4, 1))
    cohort = Cohort.from_arrays(images, np.array([0, 1, 1]), kind="classify", classes=("a", "b"))
    before = cohort.fingerprint()
    table = cohort.table
    table.loc[1, "label"] = "b"
    with pytest.raises(ValueError, match="read-only"):
        cohort.picture(0).array[:] = 1
    cohort.take([0]).notes["x"] = 1
    assert cohort.fingerprint() == before and cohort.notes == {} and cohort.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("n", [1, 2])
def test_few_images_are_per_class_and_of_training_only(path: Path, n: int) -> None:
    cohort = read_manifest(path)
    few = cohort.few(n, seed=3)
    assert np.bincount(few.split("train").labels).tolist() == [n] * 3
    assert few.split("test").table.equals(cohort.split("test").table)
    assert set(cohort.few(1, seed=3).table.index) <= set(few.table.index)
    assert any(not cohort.few(n, seed=s).table.index.equals(few.table.index) for s in range(4, 9))
    with pytest.raises(DataError, match="9 training images of class 'a'"):
        cohort.few(9)


def test_few_patients_come_whole(path: Path) -> None:
    cohort = read_manifest(path)
    few = cohort.few(3, by="patient").split("train")
    assert len(set(few.patients)) == 3
    assert len(few) == np.isin(cohort.patients, few.patients).sum()


def test_few_without_labels_and_of_an_absent_class_end_in_one_sentence(path: Path) -> None:
    cohort = read_manifest(path)
    assert len(cohort.only({"images"}).few(2).split("train")) == 2
    with pytest.raises(DataError, match="1 training images of class 'b', but m has 0"):
        cohort.take([0, 2]).few(1)


def test_a_larger_fraction_contains_a_smaller_one(path: Path) -> None:
    cohort = read_manifest(path)
    kept: set[int] = set()
    for share in (0.1, 0.25, 0.5, 1.0):
        view = cohort.fraction(share, seed=2).split("train")
        assert kept <= set(view.table.index)
        kept = set(view.table.index)
        counts = np.bincount(view.labels, minlength=3)
        assert (np.abs(counts - share * np.bincount(cohort.split("train").labels)) <= 1).all()
        assert counts.min() >= 1
    assert len(kept) == 16


def test_a_fraction_of_rare_label_combinations_stays_a_fraction() -> None:
    truth = (np.random.default_rng(0).random((200, 10)) < 0.5).astype(float)
    names = [f"l{index}" for index in range(10)]
    cohort = Cohort.from_arrays(np.zeros((200, 2, 2, 1)), truth, kind="multilabel", classes=names)
    assert 3 <= len(cohort.fraction(0.1)) <= 40


def test_a_fingerprint_follows_rows_and_contents(path: Path) -> None:
    cohort = read_manifest(path)
    first = cohort.fingerprint()
    assert read_manifest(path).fingerprint() == first
    assert cohort.take([1, 0]).fingerprint() != cohort.take([0, 1]).fingerprint()
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(path.parent / "3.png")
    assert read_manifest(path).fingerprint() != first
    (path.parent / "3.png").unlink()
    with pytest.raises(DataError, match=r"3\.png does not exist"):
        read_manifest(path).fingerprint()


def test_recipes_survive_json_and_make_the_same_view(path: Path) -> None:
    cohort = read_manifest(path)
    views = [
        cohort.at("Basel").split("train").few(1, seed=4).only({"images", "truth"}),
        cohort.fraction(0.5, seed=1).take([3, 1, 2]),
        cohort.with_splits(["train", "test"] * 12),
    ]
    bare = path.with_name("bare.csv")
    cohort.table.drop(columns="split").to_csv(bare, index=False)
    views.append(split_by_patient(read_manifest(bare), seed=5))
    for view in views:
        again = Cohort.from_recipe(json.loads(json.dumps(view.recipe)))
        assert again.table.equals(view.table) and again.fingerprint() == view.fingerprint()
    with pytest.raises(DataError, match="lived in memory"):
        Cohort.from_recipe(None)
    with pytest.raises(DataError, match="it names '__class__'"):
        Cohort.from_recipe({**(cohort.recipe or {}), "operations": [["__class__", []]]})


def test_batches_hold_prepared_rows_in_the_order_asked(path: Path) -> None:
    cohort = read_manifest(path)
    batches = list(cohort.batches(AsFloat(), 3, order=[5, 0, 2, 1]))
    assert [batch.rows.tolist() for batch in batches] == [[5, 0, 2], [1]]
    assert batches[0].images.shape == (3, 1, 6, 5) and batches[0].images.dtype == torch.float32
    assert batches[0].truth is not None and batches[0].truth.tolist() == [2, 0, 2]
    np.testing.assert_array_equal(batches[1].images[0, 0].numpy(), cohort.picture(1).array[..., 0])


def test_masks_load_beside_images_and_must_fit_them() -> None:
    images, masks = np.zeros((2, 4, 5, 1)), np.ones((2, 4, 5), np.uint8)
    cohort = Cohort.from_arrays(images, masks, kind="segment", classes=("n", "y"))
    batch = cohort.load([0, 1], AsFloat())
    assert batch.truth is not None and batch.truth.shape == (2, 4, 5) and batch.truth.dtype == torch.int64
    wrong = Cohort.from_arrays(images, masks[:, :3], kind="segment", classes=("n", "y"))
    with pytest.raises(DataError, match=r"size of its image, \(4, 5\), but it has \(3, 5\) \(row 2"):
        wrong.load([1], AsFloat())
    volumes = Cohort.from_arrays(np.zeros((2, 3, 4, 5, 1)), kind="encode")
    with pytest.raises(DataError, match="volume of 3 slices"):
        volumes.load([0], AsFloat())


@pytest.mark.parametrize("truth", [[0, 1, -1], [0, 1], [0, 1, 2]])
def test_arrays_that_do_not_fit_are_refused(truth: list[int]) -> None:
    with pytest.raises(DataError, match=r"Cohort\.from_arrays"):
        Cohort.from_arrays(np.zeros((3, 2, 2, 1)), np.array(truth), kind="classify", classes=("a", "b"))


def test_pixel_hashes_know_images_saved_otherwise_and_are_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = read_manifest(path)
    hashes = cohort.pixel_hashes()
    assert len(set(hashes)) == 24
    array = cohort.picture(0).array
    for same in (np.repeat(array, 3, -1), array.astype(np.uint16), array.astype(float)):
        assert hash_pixels(same) == hashes[0]
    assert hash_pixels(array.transpose(1, 0, 2)) != hashes[0] != hash_pixels(array ^ 1)
    reads: list[str] = []
    monkeypatch.setattr("medgraft.data.pixels.read_image", lambda file: reads.append(file))
    assert cohort.pixel_hashes().tolist() == hashes.tolist() and reads == []
    monkeypatch.undo()
    Image.fromarray(np.zeros((7, 7), np.uint8)).save(path.parent / "0.png")
    assert hash_image(str(path.parent / "0.png")) != hashes[0]


@pytest.mark.parametrize("column", ["label", "mask"])
def test_a_site_that_nobody_annotated_offers_no_truth(tmp_path: Path, column: str) -> None:
    lines = [f"image,{column},site,split"]
    for index in range(8):
        array = np.full((6, 5), index, np.uint8)
        Image.fromarray(array).save(tmp_path / f"{index}.png")
        Image.fromarray(array % 2).save(tmp_path / f"{index}m.png")
        cell = f"{index}m.png" if column == "mask" else "ab"[index % 2]
        site = "Basel" if index < 4 else "Porto"
        lines.append(
            f"{index}.png,{cell if index < 4 else ''},{site},{'train' if index % 2 else 'validation'}"
        )
    (tmp_path / "m.csv").write_text("\n".join(lines))
    whole = read_manifest(tmp_path / "m.csv")
    basel, porto = whole.at("Basel"), whole.at("Porto")
    assert "truth" in whole.fields & basel.fields and "truth" not in porto.fields
    assert (porto.kind, porto.classes) == (basel.kind, basel.classes)
    assert porto.load([0], AsFloat()).truth is None
    assert porto.fingerprint() == Cohort.from_recipe(porto.recipe).fingerprint()
    assert "truth" in whole.at("Basel").split("test").fields  # no rows say nothing


def test_images_on_which_nothing_is_seen_are_annotated(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,labels,site\n1.png,a|b,Basel\n2.png,,Porto\n")
    healthy = read_manifest(tmp_path / "m.csv").at("Porto")
    assert "truth" in healthy.fields and healthy.labels.tolist() == [[0, 0]]
