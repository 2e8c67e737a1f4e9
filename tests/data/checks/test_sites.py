"""What differs between sites or splits is told once, with its numbers; what does not is not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.data.dicom_files import AXIAL, write_dicom

from medgraft.data.checks import check
from medgraft.data.cohort import Cohort

RANDOM = np.random.default_rng(0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)


def noise(*shape: int) -> np.ndarray:
    array: np.ndarray = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    return array


def write_slice(
    path: Path, spacing: Sequence[float] | None = (0.5, 0.5), lying: Sequence[int] = AXIAL
) -> str:
    tags = {} if spacing is None else {"PixelSpacing": list(spacing)}
    write_dicom(
        path,
        noise(16, 16),
        Modality="MR",
        ImageOrientationPatient=list(lying),
        ImagePositionPatient=[0, 0, 0],
        **tags,
    )
    return path.name


def write_volume(path: Path, spacing: Sequence[float]) -> str:
    """spacing: left to right, back to front, feet to head."""
    nibabel.save(nibabel.Nifti1Image(noise(12, 12, 12), np.diag([*spacing, 1.0])), path)
    return path.name


def told(folder: Path, names: Sequence[str], **columns: Sequence[str]) -> list[str]:
    """What the check says of the table beyond the columns that are not there."""
    cells = {"image": names, "patient": [f"SECRET{row}" for row in range(len(names))], **columns}
    if "split" not in cells:
        cells["split"] = ["train"] * len(names)
    lines = [",".join(row) for row in zip(*cells.values())]
    (folder / "m.csv").write_text("\n".join([",".join(cells), *lines]))
    problems = check(folder / "m.csv")
    assert not any("SECRET" in part for problem in problems for part in map(str, problem))
    assert all("\n" not in problem.message and problem.message.endswith(".") for problem in problems)
    assert {problem.severity for problem in problems} <= {"warning"}
    return [one.message for one in problems if "no column label" not in one.message]


def test_spacings_mixed_within_a_site_are_told_with_both_ends(tmp_path: Path) -> None:
    spacings = [(0.5, 0.5), (0.5, 0.5), (0.8, 0.8), (0.6, 0.6), (0.5, 0.5), (0.5, 0.5)]
    names = [write_slice(tmp_path / f"{one}.dcm", spacing) for one, spacing in enumerate(spacings)]
    (message,) = told(tmp_path, names, site=list("aaaabb"))
    assert message == (
        "Site 'a' mixes spacings, from 0.5 x 0.5 mm (row 1) to 0.8 x 0.8 mm (row 3): prepare with `spacing`, so that "
        "all have one scale."
    )
    (message,) = told(tmp_path, names)
    assert message.startswith("Spacings differ, from 0.5 x 0.5 mm (row 1) to 0.8 x 0.8 mm (row 3)")


def test_pixels_that_are_not_square_alike_are_told_though_their_area_is_the_same(tmp_path: Path) -> None:
    spacings = [(0.5, 0.8), (0.8, 0.5)]
    names = [write_slice(tmp_path / f"{one}.dcm", spacing) for one, spacing in enumerate(spacings)]
    (message,) = told(tmp_path, names)
    assert "from 0.5 x 0.8 mm (row 1) to 0.8 x 0.5 mm (row 2)" in message


def test_spacings_a_tenth_apart_are_not_told(tmp_path: Path) -> None:
    names = [write_slice(tmp_path / f"{one}.dcm", [0.5 + 0.009 * one] * 2) for one in range(6)]
    assert told(tmp_path, names) == []
    assert told(tmp_path, names, site=list("aaabbb")) == []


def test_sites_that_differ_in_spacing_are_told_once_and_not_again_for_splits(tmp_path: Path) -> None:
    names = [write_slice(tmp_path / f"{one}.dcm", [0.5 if one < 3 else 1.0] * 2) for one in range(6)]
    sites, splits = list("aaabbb"), ["train"] * 3 + ["test"] * 3
    (message,) = told(tmp_path, names, site=sites, split=splits)
    assert message == (
        "The sites differ in spacing ('a' 0.5 x 0.5 mm, 'b' 1 x 1 mm in the middle): a model can tell the sites apart "
        "by it; prepare with `spacing`, so that all have one scale."
    )
    messages = told(tmp_path, names, split=splits)
    assert messages[0].startswith("Spacings differ")
    assert "The splits differ in spacing ('test' 1 x 1 mm, 'train' 0.5 x 0.5 mm in the middle)" in messages[1]


def test_images_that_do_not_tell_their_spacing_are_counted(tmp_path: Path) -> None:
    names = [write_slice(tmp_path / f"{one}.dcm", None if one in (2, 3) else (0.5, 0.5)) for one in range(5)]
    (message,) = told(tmp_path, names)
    assert message.startswith("2 of 5 images do not tell their spacing (the first in row 3)")


def test_spacings_of_volumes_are_compared_along_each_axis(tmp_path: Path) -> None:
    spacings = [(1.0, 1.0, 3.0), (1.0, 1.0, 3.0), (1.0, 1.0, 5.0)]
    names = [write_volume(tmp_path / f"{one}.nii", spacing) for one, spacing in enumerate(spacings)]
    (message,) = told(tmp_path, names, site=list("aaa"))
    assert "from 3 x 1 x 1 mm (row 1) to 5 x 1 x 1 mm (row 3)" in message


def test_volumes_among_images_are_told(tmp_path: Path) -> None:
    names = [write_slice(tmp_path / f"{one}.dcm", (1, 1)) for one in range(3)]
    names.insert(1, write_volume(tmp_path / "volume.nii", (1.0, 1.0, 4.0)))
    (message,) = told(tmp_path, names)
    assert (
        message == "Volumes stand among single images (1 of 4, the first in row 2): train on one of the two."
    )


def test_orientations_mixed_within_a_site_are_told_with_the_rarest(tmp_path: Path) -> None:
    lying = [AXIAL, AXIAL, SAGITTAL, AXIAL, CORONAL, CORONAL]
    names = [write_slice(tmp_path / f"{one}.dcm", lying=some) for one, some in enumerate(lying)]
    messages = told(tmp_path, names, site=list("aaaabb"))
    assert messages == [
        "Site 'a' mixes orientations of slices (3 axial LP, 1 sagittal PI; the first sagittal PI in row 3): turn them "
        "alike or remove the rarer.",
        "The sites differ in orientation of slices ('a' axial LP, 'b' coronal LI): turn them alike, or a model can "
        "learn the site instead.",
    ]
    (message,) = told(tmp_path, names)
    assert message.startswith("The data mix orientations of slices (3 axial LP, 2 coronal LI, 1 sagittal PI;")


def test_slices_turned_within_their_plane_differ_in_orientation(tmp_path: Path) -> None:
    turned = (-1, 0, 0, 0, -1, 0)
    names = [write_slice(tmp_path / f"{one}.dcm", lying=turned if one == 1 else AXIAL) for one in range(3)]
    (message,) = told(tmp_path, names)
    assert "(2 axial LP, 1 axial RA; the first axial RA in row 2)" in message


def test_slices_a_little_oblique_have_the_orientation_of_their_plane(tmp_path: Path) -> None:
    cosine, sine = np.cos(0.2), np.sin(0.2)
    oblique = (cosine, sine, 0, -sine, cosine, 0)
    names = [write_slice(tmp_path / f"{one}.dcm", lying=oblique if one else AXIAL) for one in range(3)]
    assert told(tmp_path, names) == []


def test_sizes_are_compared_where_no_image_tells_its_spacing(tmp_path: Path) -> None:
    for one in range(6):
        np.save(tmp_path / f"{one}.npy", noise(20, 20 if one < 3 else 30, 1))
    names = [f"{one}.npy" for one in range(6)]
    (message,) = told(tmp_path, names, site=list("aaabbb"))
    assert message.startswith(
        "The sites differ in size ('a' 20 x 20 pixels, 'b' 20 x 30 pixels in the middle)"
    )
    assert told(tmp_path, names, site=list("abcabc")) == []


def of_labels(labels: np.ndarray, sites: np.ndarray, patients: Sequence[str] | None = None) -> list[str]:
    images = np.random.default_rng(1).integers(0, 256, (len(labels), 6, 6, 1), dtype=np.uint8)
    names = [f"SECRET{row}" for row in range(len(labels))] if patients is None else patients
    cohort = Cohort.from_arrays(
        images, labels, kind="classify", classes=("well", "ill"), patients=names, sites=sites.tolist(),
        split=["train"] * len(labels),
    )  # fmt: skip
    messages = [problem.message for problem in check(cohort)]
    assert not any("SECRET" in message for message in messages)
    return messages


def test_a_suspicious_rate_of_a_class_is_told_with_its_counts() -> None:
    labels = np.concatenate([np.arange(50) < 45, np.arange(50) < 20]).astype(int)
    (message,) = of_labels(labels, np.repeat(["a", "b"], 50))
    for part in ("Site 'a'", "'ill'", "90%", "40%", "45 of 50 patients, elsewhere 20 of 50"):
        assert part in message


def test_equal_rates_are_not_told() -> None:
    assert of_labels(np.tile([0, 1], 50), np.repeat(["a", "b"], 50)) == []


def test_many_images_of_few_patients_raise_no_alarm() -> None:
    labels = np.concatenate([np.arange(50) < 45, np.arange(50) < 20]).astype(int)
    patients = [f"SECRET{row // 10}" for row in range(100)]  # five at each site: five ill here, two there
    assert of_labels(labels, np.repeat(["a", "b"], 50), patients) == []


def test_classes_that_a_site_lacks_are_told_and_not_again_as_a_rate() -> None:
    labels = np.concatenate([np.arange(40) % 2, np.arange(40) % 2, np.zeros(40)]).astype(int)
    messages = of_labels(labels, np.repeat(["a", "b", "c"], 40))
    assert messages == [
        "Site 'c' has no patients with 'ill', other sites do: a model can learn the site instead, and there is nothing "
        "to score there."
    ]


def test_a_class_that_only_one_site_has_is_told_by_the_sites_that_lack_it() -> None:
    labels = np.concatenate([np.zeros(40), np.arange(40) < 30]).astype(int)
    (message,) = of_labels(labels, np.repeat(["a", "b"], 40))
    assert message.startswith("Site 'a' has no patients with 'ill', other sites do")


@pytest.mark.parametrize("lacking", ["c", "a"])
def test_masks_tell_which_classes_a_site_lacks(lacking: str) -> None:
    images = np.random.default_rng(2).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    masks = np.zeros((12, 8, 8), int)
    masks[:, :4] = 1
    sites = list("aaaabbbbcccc")
    for row, site in enumerate(sites):
        masks[row, 6:] = 0 if site == lacking else 2
    cohort = Cohort.from_arrays(
        images, masks, kind="segment", classes=("background", "organ", "lesion"), sites=sites,
        patients=[str(row) for row in range(12)], split=["train"] * 12,
    )  # fmt: skip
    messages = [problem.message for problem in check(cohort)]
    assert [message.split(",")[0] for message in messages] == [
        f"Site '{lacking}' has no patients with 'lesion'"
    ]
