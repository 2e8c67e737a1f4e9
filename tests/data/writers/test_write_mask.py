"""Which file a mask becomes, what it holds, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.readers import read_mask
from medgraft.data.writers import write_mask
from medgraft.errors import DataError, RunError, SettingsError, ShapeError

LABELS = np.arange(20).reshape(4, 5) % 3
CLASSES = ("background", "nucleus", "gland")


def test_a_picture_gets_a_grey_png_whose_values_are_the_labels(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "slide.png")
    for reference in (
        tmp_path / "slide.png",
        f"{tmp_path}/slide.png#2,3,5,4",
        f"{tmp_path}/stack.npz#images:3",
        None,
    ):
        written = write_mask(LABELS, reference, tmp_path / "mask", classes=CLASSES)
        assert written == tmp_path / "mask.png"
        with Image.open(written) as image:
            assert image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image), LABELS)


@pytest.mark.parametrize("format", ["png", "nifti", "npy"])
@pytest.mark.parametrize(("count", "dtype"), [(256, np.uint8), (257, np.uint16)])
def test_many_classes_take_two_bytes(
    tmp_path: Path, format: str, count: int, dtype: type[np.generic]
) -> None:
    labels = np.arange(24, dtype=np.int32).reshape(4, 6) + count - 24
    classes = [str(number) for number in range(count)]
    written = write_mask(labels, None, tmp_path / "mask", classes=classes, format=format)  # type: ignore[arg-type]
    mask = read_mask(written).array[..., 0]
    np.testing.assert_array_equal(mask, labels)
    assert mask.dtype == dtype


def test_points_in_a_name_are_no_suffix(tmp_path: Path) -> None:
    written = write_mask(LABELS, None, tmp_path / "a.1" / "scan.v2.nii", classes=CLASSES)
    assert written == tmp_path / "a.1" / "scan.v2.nii.png" and written.is_file()


def test_npy_holds_the_labels_alone(tmp_path: Path) -> None:
    written = write_mask(LABELS[None], None, tmp_path / "mask", classes=CLASSES, format="npy")
    np.testing.assert_array_equal(np.load(written, allow_pickle=False), LABELS[None])


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (LABELS + 1, "labels from 0 to 2, one per class, but it holds 1 to 3"),
        (LABELS - 1, "it holds -1 to 1"),
        (LABELS * 1.0, r"whole numbers of shape .*, but got float64 of shape \(4, 5\)"),
        (LABELS[0], r"got int64 of shape \(5,\)"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, labels: np.ndarray, sentence: str) -> None:
    with pytest.raises(ShapeError, match=sentence):
        write_mask(labels, None, tmp_path / "mask", classes=CLASSES)
    assert not list(tmp_path.iterdir())


def test_a_volume_is_no_png_and_a_format_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one image \(H, W\), but the mask of mask.png is a volume"):
        write_mask(LABELS[None], None, tmp_path / "mask", classes=CLASSES, format="png")
    with pytest.raises(SettingsError, match=r"a format \(auto, nifti, png, dicom_seg, npy\), but got 'jpeg'"):
        write_mask(LABELS, None, tmp_path / "mask", classes=CLASSES, format="jpeg")  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["png", "nifti", "npy"])
def test_a_disk_that_fails_leaves_the_older_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    older = write_mask(LABELS, None, tmp_path / "mask", classes=CLASSES, format=format)  # type: ignore[arg-type]
    before = older.read_bytes()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match=r"room and permission for .*mask.*No space left on device"):
        write_mask(LABELS[::-1], None, tmp_path / "mask", classes=CLASSES, format=format)  # type: ignore[arg-type]
    assert older.read_bytes() == before
    assert list(tmp_path.iterdir()) == [older]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path, dead_process: int) -> None:
    (tmp_path / f".mask.png.{dead_process}.tmp").write_bytes(b"half a mask")
    write_mask(LABELS, None, tmp_path / "mask", classes=CLASSES)
    assert [file.name for file in tmp_path.iterdir()] == ["mask.png"]
