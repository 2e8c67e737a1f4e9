"""Samples of volumes: who is drawn how often, and that crops are where they say."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medgraft.data.cache import ArrayCache
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.task import Task
from medgraft.engine.loading import Loader
from medgraft.engine.method import adapt
from medgraft.engine.patches import Patches, open_rows, sampling_chances
from medgraft.engine.predict import predict_masks
from medgraft.engine.run import Interrupted, Run
from medgraft.errors import DataError
from medgraft.methods import FineTune
from medgraft.metrics.segmentation import dice
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.testing import make_cohort
from medgraft.types import Preparation

CLASSES = ("background", "ball", "core")


def coordinates(shape: tuple[int, int, int]) -> np.ndarray:
    """A volume whose numbers tell where they lie."""
    depth, row, column = np.indices(shape)
    return (depth * 10_000 + row * 100 + column).astype(np.int32)[..., None]


def numbered(shapes: list[tuple[int, int, int]], patients: list[str]) -> Cohort:
    """Volumes of coordinates, each with one voxel of class 2 and eight of class 1."""
    assert len(set(shapes)) == 1
    masks = np.zeros((len(shapes), *shapes[0]), np.uint8)
    masks[:, 2:4, 10:12, 5:7] = 1
    masks[:, 1, 3, 14] = 2
    images = np.stack([coordinates(shape) for shape in shapes])
    return Cohort.from_arrays(images, masks, kind="segment", classes=CLASSES, patients=patients)


def plain(**changes: object) -> Preparation:
    return Preparation.model_validate({"channels": 1, "intensity": "none", **changes})


def test_patients_are_drawn_equally_often_whatever_their_slices() -> None:
    patients = np.array(["a"] * 90 + ["b"] * 10)
    shows = np.zeros(100, bool)
    shows[:3] = True
    chances = sampling_chances(patients, shows, foreground=0.4)
    assert chances.sum() == pytest.approx(1)
    assert chances[:90].sum() == pytest.approx(0.5) and chances[90:].sum() == pytest.approx(0.5)
    # of patient a: 0.4 among three slices, and 3/90 of the rest
    assert chances[:3].sum() == pytest.approx(0.5 * (0.4 + 0.6 * 3 / 90))
    assert chances[95] == pytest.approx(0.5 / 10)


def test_a_sample_is_a_slice_with_its_mask() -> None:
    patches = Patches(numbered([(6, 16, 20)] * 2, ["a", "b"]), plain())
    assert len(patches) == 12
    batch = patches([2, 9], torch.Generator().manual_seed(0))
    assert batch.rows.tolist() == [0, 1]
    for position, (row, depth) in enumerate([(0, 2), (1, 3)]):
        np.testing.assert_array_equal(
            batch.images[position, 0], patches.cohort.picture(row).array[depth, ..., 0]
        )
        assert batch.truth is not None
        np.testing.assert_array_equal(batch.truth[position], patches.cohort.mask(row).array[depth, ..., 0])


@pytest.mark.parametrize("preparation", [plain(patch=(8, 12)), plain(dimensions=3, patch=(4, 8, 12))])
def test_volumes_without_masks_give_the_same_crops_without_truth(preparation: Preparation) -> None:
    whole = numbered([(6, 16, 20)] * 3, ["a", "a", "b"])
    blind = Patches(whole.only({"images", "patients"}), preparation)
    seen = Patches(whole, preparation, foreground=0.0)
    assert blind.samples == seen.samples
    torch.testing.assert_close(blind.weights, seen.weights)
    batches = [rows(range(0, len(rows), 3), torch.Generator().manual_seed(1)) for rows in (blind, seen)]
    assert torch.equal(batches[0].images, batches[1].images)
    assert batches[0].truth is None and batches[1].truth is not None
    assert batches[0].rows.tolist() == batches[1].rows.tolist()


def test_neighbouring_slices_are_the_channels_and_the_mask_is_of_the_middle_one() -> None:
    patches = Patches(numbered([(6, 16, 20)], ["a"]), plain(slices=3, channels=3))
    batch = patches([0, 3], torch.Generator())
    assert (batch.images[0, :, 0, 0] / 10_000).tolist() == [0, 0, 1]
    assert (batch.images[1, :, 0, 0] / 10_000).tolist() == [2, 3, 4]
    assert batch.truth is not None and batch.truth[1].sum() == 4


@pytest.mark.parametrize(("dimensions", "patch"), [(2, (8, 6)), (3, (4, 8, 6)), (3, (9, 30, 6))])
def test_crops_and_their_masks_come_from_the_same_place(dimensions: int, patch: tuple[int, ...]) -> None:
    cohort = numbered([(6, 16, 20)], ["a"])
    patches = Patches(cohort, plain(dimensions=dimensions, patch=patch))
    mask = cohort.mask(0).array[..., 0]
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        batch = patches([0], generator)
        assert batch.images.shape == (1, 1, *patch) and batch.truth is not None
        numbers = batch.images[0, 0].long().numpy()
        found = mask[numbers // 10_000, numbers // 100 % 100, numbers % 100]
        np.testing.assert_array_equal(batch.truth[0], found)


def test_the_foreground_is_in_as_many_crops_as_asked_and_rare_classes_as_often_as_others() -> None:
    cohort = numbered([(6, 60, 60)], ["a"])
    always = Patches(cohort, plain(dimensions=3, patch=(2, 4, 4)), foreground=1.0)
    never = Patches(cohort, plain(dimensions=3, patch=(2, 4, 4)), foreground=0.0)
    generator = torch.Generator().manual_seed(2)
    truths = [always([0], generator).truth for _ in range(200)]
    shown = [set(truth.unique().tolist()) - {0} for truth in truths if truth is not None]
    assert all(shown)
    rare = np.mean([2 in labels for labels in shown])
    assert 0.4 < rare < 0.6  # five standard errors around a half are wider
    anywhere = [never([0], generator).truth for _ in range(200)]
    assert np.mean([bool(truth.any()) for truth in anywhere if truth is not None]) < 0.1


def test_volumes_that_do_not_fit_into_memory_give_the_same_samples() -> None:
    cohort = numbered([(6, 16, 20)] * 3, ["a", "b", "c"])
    kept, not_kept = Patches(cohort, plain(patch=(8, 8))), Patches(cohort, plain(patch=(8, 8)), memory=0)
    for patches in (kept, not_kept):
        batch = patches(range(18), torch.Generator().manual_seed(3))
        if patches is kept:
            expected = batch
    torch.testing.assert_close(batch.images, expected.images)


def test_whole_images_stay_with_the_loader_and_other_tasks_with_images() -> None:
    images = make_cohort("segment")
    assert isinstance(open_rows(images, Preparation(channels=1), Run()), Loader)
    assert isinstance(open_rows(images, Preparation(channels=1, patch=(16, 16)), Run()), Patches)
    volumes = numbered([(6, 16, 20)] * 2, ["a", "b"])
    arrays = np.stack([volumes.picture(row).array for row in range(2)])
    labelled = Cohort.from_arrays(arrays, np.array([0, 1]), kind="classify", classes=("x", "y"))
    with pytest.raises(DataError, match=r"single images, .*slice:12"):
        open_rows(labelled, Preparation(channels=1), Run())


def test_slices_of_several_sizes_need_a_patch_or_a_size(tmp_path: object) -> None:
    cohort = numbered([(6, 16, 20)], ["a"])
    patches = Patches(cohort, plain())
    other = Patches(numbered([(6, 16, 24)], ["b"]), plain())
    patches._kept[1] = other._kept[0]
    patches.samples += [(1, 0)]
    with pytest.raises(DataError, match=r"preparation\.patch"):
        patches([0, 6], torch.Generator())


def balls(count: int = 10, shape: tuple[int, int, int] = (8, 24, 24)) -> Cohort:
    """A bright ball in noise, elsewhere in every volume."""
    rng = np.random.default_rng(0)
    grid = np.indices(shape)
    images, masks = [], []
    for _ in range(count):
        centre = rng.uniform(0.35, 0.65, 3) * shape
        far = sum(((grid[axis] - centre[axis]) * factor) ** 2 for axis, factor in enumerate((2, 1, 1)))
        ball = far <= rng.uniform(4, 7) ** 2
        images.append((rng.normal(60, 8, shape) + 60 * ball).clip(0, 255).astype(np.uint8)[..., None])
        masks.append(ball.astype(np.uint8))
    split = ["train"] * (count - 4) + ["validation"] * 2 + ["test"] * 2
    return Cohort.from_arrays(
        np.stack(images), np.stack(masks), kind="segment", classes=("rest", "ball"),
        patients=[str(number) for number in range(count)], split=split,
    )  # fmt: skip


SETTINGS = [
    {},
    {"patch": (16, 16)},
    {"slices": 3, "channels": 3},
    {"dimensions": 3, "patch": (4, 16, 16)},
]


def source(changes: dict[str, object]) -> UNet:
    preparation = Preparation.model_validate({"channels": 1, **changes})
    torch.manual_seed(0)
    spec = ModelSpec(
        kind="segment", classes=("rest", "ball"), channels=preparation.channels, preparation=preparation
    )
    return UNet(spec, width=4, depth=2)


@pytest.mark.slow
@pytest.mark.parametrize("changes", SETTINGS, ids=["slices", "crops", "2.5D", "3D"])
def test_a_network_learns_from_volumes_however_it_sees_them(changes: dict[str, object]) -> None:
    cohort = balls()
    method = FineTune.model_validate(
        {
            "augmentation": None,
            "schedule": {"epochs": 8, "lr": 3e-3, "batch_size": 4, "steps_per_epoch": 12},
        }
    )
    model = source(changes)
    test = cohort.split("test")

    def scores(one: object) -> list[float]:
        return [
            float(dice(test.mask(found.row).array[..., 0], found.labels, 2)[1])
            for found in predict_masks(one, test)  # type: ignore[arg-type]
        ]

    before = scores(model)
    after = scores(adapt(model, Task(target=cohort), method, Run(device="cpu", progress=False)))
    assert min(after) > 0.7 > max(before), (before, after)


def test_an_interrupted_training_on_crops_continues_to_the_same_weights(tmp_path: object) -> None:
    cohort = balls()
    method = FineTune.model_validate(
        {
            "preparation": {"patch": (16, 16)},
            "schedule": {"epochs": 3, "batch_size": 4, "steps_per_epoch": 3},
        }
    )

    def run(folder: str, **changes: object) -> Run:
        return Run(f"{tmp_path}/{folder}", device="cpu", progress=False, checkpoint_seconds=0, **changes)  # type: ignore[arg-type]

    whole = adapt(source({}), Task(target=cohort), method, run("whole"))
    stopped = run("stopped")
    calls = 0
    score = type(stopped).generator

    def stop_in_third_epoch(self: Run, purpose: str, epoch: int = 0) -> torch.Generator:
        nonlocal calls
        calls += purpose == "batches"
        if purpose == "batches" and calls == 3:
            raise Interrupted("A run", "to go on", "it was stopped", "Repeat the command.")
        return score(self, purpose, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "generator", stop_in_third_epoch)
        with pytest.raises(Interrupted):
            adapt(source({}), Task(target=cohort), method, stopped)
    again = adapt(source({}), Task(target=cohort), method, run("stopped"))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert whole.spec.preparation.patch == (16, 16)


def volumes_on_disk(folder: Path) -> Cohort:
    """Three NIfTI volumes with masks."""
    cohort = numbered([(6, 16, 20)] * 3, ["a", "b", "c"])
    rows = ["image,mask,patient"]
    for row in range(3):
        for name, array in (("image", cohort.picture(row).array), ("mask", cohort.mask(row).array)):
            turned = np.asarray(array[::1, ::-1, ::-1, 0]).transpose(2, 1, 0)
            nibabel.save(nibabel.Nifti1Image(turned, np.eye(4)), folder / f"{name}{row}.nii.gz")
        rows.append(f"image{row}.nii.gz,mask{row}.nii.gz,p{row}")
    (folder / "volumes.csv").write_text("\n".join(rows))
    return read_manifest(folder / "volumes.csv", classes=CLASSES)


def test_a_cache_keeps_volumes_and_changes_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = volumes_on_disk(tmp_path)
    preparation = plain(patch=(8, 8))
    expected = Patches(cohort, preparation)(range(18), torch.Generator().manual_seed(4))
    cache = ArrayCache(tmp_path / "cache")
    Patches(cohort, preparation, memory=0, cache=cache)
    prepared: list[int] = []
    prepare = Patches._prepare
    monkeypatch.setattr(Patches, "_prepare", lambda self, row: prepared.append(row) or prepare(self, row))
    for memory in (0, 2**30):
        batch = Patches(cohort, preparation, memory=memory, cache=cache)(
            range(18), torch.Generator().manual_seed(4)
        )
        torch.testing.assert_close(batch.images, expected.images)
        assert batch.truth is not None and expected.truth is not None
        assert torch.equal(batch.truth, expected.truth)
    assert not prepared and not caplog.records
    Patches(cohort, preparation, memory=0)([0], torch.Generator())
    assert [record.message for record in caplog.records if "--cache" in record.message]
