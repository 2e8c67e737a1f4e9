"""Several data sets as one manifest: which rows, how often, and what stays private."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.pooled import pool_images
from medgraft.errors import DataError, SettingsError


def data_set(folder: Path, count: int, splits: str = "", level: int = 0) -> Cohort:
    folder.mkdir()
    lines = ["image,patient,label" + (",split" if splits else "")]
    for number in range(count):
        pixels = np.full((8, 8), level + number, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        named = {"t": ",train", "v": ",validation", "x": ",test"}[splits[number]] if splits else ""
        lines.append(f"{number}.png,Smith{number // 2},{'ab'[number % 2]}{named}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return read_manifest(folder / "manifest.csv")


def test_every_training_image_once(tmp_path: Path) -> None:
    first, second = data_set(tmp_path / "a", 4), data_set(tmp_path / "b", 6, "tttvxx", level=100)
    pooled = pool_images([first, second], tmp_path / "pool.csv")
    assert (pooled.kind, len(pooled), pooled.fields) == ("encode", 10, {"images", "patients", "sites"})
    levels = [int(pooled.picture(row).array.flat[0]) for row in range(10)]
    assert levels == [0, 1, 2, 3, 100, 101, 102, 103, 104, 105]
    assert pooled.table["split"].tolist() == ["train"] * 7 + ["validation"] + ["test"] * 2
    assert list(Counter(pooled.training_rows.sites.tolist()).values()) == [4, 3]


def test_patients_are_numbers_and_stay_apart(tmp_path: Path) -> None:
    pooled = pool_images([data_set(tmp_path / "a", 4), data_set(tmp_path / "b", 4)], tmp_path / "pool.csv")
    assert "Smith" not in (tmp_path / "pool.csv").read_text()
    assert [len(set(pooled.patients[rows].tolist())) for rows in (slice(0, 4), slice(4, 8), slice(0, 8))] == [
        2,
        2,
        4,
    ]


def test_weights_repeat_what_falls_short_and_cut_nothing(tmp_path: Path) -> None:
    sets = [data_set(tmp_path / "a", 3), data_set(tmp_path / "b", 8)]
    equal = pool_images(sets, tmp_path / "equal.csv", weights=(1, 1))
    assert list(Counter(equal.sites.tolist()).values()) == [8, 8]
    often = Counter(equal.table["image"][:8])
    assert sorted(often.values()) == [2, 3, 3]
    # twice as often as the larger set: 16 of 3 images
    double = pool_images(sets, tmp_path / "double.csv", weights=(2, 1))
    assert list(Counter(double.sites.tolist()).values()) == [16, 8]
    again = pool_images(sets, tmp_path / "again.csv", weights=(1, 1))
    assert again.table["image"].tolist() == equal.table["image"].tolist()
    # what is kept for testing neither counts nor is repeated
    sets.append(data_set(tmp_path / "c", 5, "xttxv"))
    kept = pool_images(sets[1:], tmp_path / "kept.csv", weights=(1, 1))
    assert list(Counter(kept.training_rows.sites.tolist()).values()) == [8, 8]
    rows = kept.table.iloc[8:]
    assert rows["split"].tolist() == ["test"] + ["train"] * 8 + ["test", "validation"]
    assert sorted(Counter(rows[rows["split"] == "train"]["image"]).values()) == [4, 4]


def test_what_cannot_be_pooled_is_one_sentence(tmp_path: Path) -> None:
    files = data_set(tmp_path / "a", 2)
    memory = Cohort.from_arrays(np.zeros((2, 8, 8, 1)), kind="encode")
    with pytest.raises(DataError, match="lives in memory"):
        pool_images([files, memory], tmp_path / "pool.csv")
    with pytest.raises(DataError, match="training rows in every data set"):
        pool_images([data_set(tmp_path / "b", 2, "xv")], tmp_path / "pool.csv")
    with pytest.raises(DataError, match="one data set or more"):
        pool_images([], tmp_path / "pool.csv")
    for weights in ((1,), (1, 0), (1, float("nan"))):
        with pytest.raises(SettingsError, match="one weight above 0 for each of 2"):
            pool_images([files, files], tmp_path / "pool.csv", weights=weights)
    assert not (tmp_path / "pool.csv").exists()
