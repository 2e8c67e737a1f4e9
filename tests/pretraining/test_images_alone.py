"""What all pre-training shares: which images and batches are refused, channels, and what is told of a collapse."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tests.tiny_swin  # noqa: F401 - registers it
from PIL import Image

from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.task import Task
from medgraft.engine.loop import History
from medgraft.engine.method import adapt
from medgraft.engine.run import Limit, Run
from medgraft.engine.schedule import Schedule
from medgraft.errors import DataError, MedgraftError, NeedError, SettingsError
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.pretraining import POPAR, BarlowTwins, MoCoV2, MoCoV3, SimMIM, SimSiam
from medgraft.pretraining.images_alone import Pretraining, warn_of_collapse
from medgraft.testing import make_cohort, make_model

SCHEDULE = Schedule(epochs=1, batch_size=8, optimizer="adam", lr=1e-3)
METHODS: list[Pretraining] = [
    BarlowTwins(schedule=SCHEDULE, projector=(16, 16)),
    MoCoV2(schedule=SCHEDULE, queue=12, dimension=8),
    MoCoV3(schedule=SCHEDULE, hidden=16, dimension=8),
    SimSiam(schedule=SCHEDULE, dimension=16, bottleneck=4),
    SimMIM(schedule=SCHEDULE, mask_unit=8),
    POPAR(schedule=SCHEDULE, size=(64, 64)),
]
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
PIXELS = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 1), dtype=np.uint8)


def run(processes: int = 1) -> Run:
    return Run(device="cpu", progress=False, workers=0, processes=processes, limit=Limit(steps=1))


def source(method: Pretraining, channels: int = 1) -> Model:
    if isinstance(method, SimMIM | POPAR):
        return open_source("random/tiny_swin", kind="encode", channels=channels, size=(64, 64))
    return make_model("encode", channels=channels)


def pictures(images: np.ndarray) -> Cohort:
    return Cohort.from_arrays(images, kind="encode", name="films")


def refused(cohort: Cohort, method: Pretraining, processes: int = 1) -> MedgraftError:
    with pytest.raises(MedgraftError) as caught:
        adapt(source(method), Task(source=cohort), method, run(processes))
    return caught.value


@each_method
def test_fewer_images_than_a_batch_are_refused(method: Pretraining) -> None:
    few = refused(pictures(PIXELS[:7]), method)
    assert isinstance(few, DataError)
    assert str(few) == (
        f"{type(method).__name__} needs at least as many images as a batch has, 8 here, but the source has 7. "
        "Add images, they need no labels; or set schedule.batch_size=7, the largest that would do."
    )
    smaller = method.model_copy(update={"schedule": SCHEDULE.model_copy(update={"batch_size": 7})})
    assert adapt(source(method), Task(source=pictures(PIXELS[:7])), smaller, run()).spec.kind == "encode"


def test_every_process_needs_its_share_of_every_batch() -> None:
    """Batches of 8 of 9 images are one of 5 and one of 4: two images for each of two processes, not of three."""
    method = METHODS[0]
    method.check_batches(9, run(processes=2))
    with pytest.raises(SettingsError, match="9 images in batches of 8 leave one with 4 for 3 processes"):
        method.check_batches(9, run(processes=3))
    with pytest.raises(DataError, match="at least 10 images, better hundreds, but the source has 9"):
        method.check_batches(9, run(processes=5))


@each_method
def test_images_that_show_nothing_are_refused(method: Pretraining) -> None:
    levels = np.arange(8, dtype=np.uint8)[:, None, None, None] * 9
    blank = refused(pictures(PIXELS * 0 + levels), method)
    assert isinstance(blank, DataError) and "the 8 of films that were looked at have one value each" in str(
        blank
    )
    same = refused(pictures(np.stack([PIXELS[0]] * 8)), method)
    assert isinstance(same, DataError) and "the 8 of films that were looked at are the same" in str(same)


def test_images_of_different_sizes_need_a_size(tmp_path: Path) -> None:
    for number, side in enumerate((32, 40) * 4):
        Image.fromarray(PIXELS[number, :side, :32, 0]).save(tmp_path / f"{number}.png")
    (tmp_path / "films.csv").write_text("image\n" + "".join(f"{number}.png\n" for number in range(8)))
    cohort = read_manifest(tmp_path / "films.csv", kind="encode")
    mixed = refused(cohort, METHODS[0])
    assert isinstance(mixed, DataError)
    assert "images of one size, but films has [(32, 32), (40, 32)]. Set a size" in str(mixed)
    sized = METHODS[0].model_copy(update={"size": (32, 32)})
    resized = adapt(source(sized), Task(source=cohort), sized, run())
    assert resized.spec.preparation.size == (32, 32)


@each_method
def test_tasks_with_labels_are_refused(method: Pretraining) -> None:
    remedy = r"kind is 'classify'\. Read its images alone.*kind=\"encode\".*`medgraft pretrain`\.$"
    with pytest.raises(NeedError, match=remedy):
        adapt(source(method), Task(source=make_cohort("classify")), method, run())


@each_method
def test_grey_images_get_one_channel_unless_told(method: Pretraining) -> None:
    def channels(images: np.ndarray, asked: int | None = None) -> int:
        told = method.model_copy(update={"channels": asked})
        return adapt(source(method, channels=3), Task(source=pictures(images)), told, run()).spec.channels

    assert channels(PIXELS) == 1
    assert channels(PIXELS, 3) == 3
    assert channels(np.concatenate([PIXELS, PIXELS // 2, PIXELS // 3], axis=-1)) == 3


def test_a_collapse_is_told_with_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    def row(rank: float, deviation: float) -> dict[str, float]:
        return {"effective_rank": rank, "feature_deviation": deviation}

    watched = Run()
    with caplog.at_level(logging.WARNING):
        warn_of_collapse("BarlowTwins", History([row(16, 1.0), row(4.4, 0.5)], "last", 1), watched)
        assert not caplog.records  # a lower rank alone is no alarm
        warn_of_collapse("BarlowTwins", History([row(16, 1.0), row(1.1, 0.5)], "last", 1), watched)
        warn_of_collapse("BarlowTwins", History([row(16, 1.0), row(9.0, 0.001)], "last", 1), watched)
    assert len(caplog.records) == 2
    assert all("Lower schedule.lr" in record.getMessage() for record in caplog.records)
    assert watched.shared.warnings == [record.getMessage() for record in caplog.records]
