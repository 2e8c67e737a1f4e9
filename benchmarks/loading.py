"""What data cost: an epoch with images against one without, and our readers against others.

Run: python benchmarks/loading.py epochs [--images 64] [--rounds 5] [--device cpu]
     python benchmarks/loading.py readers [--rounds 9]

`epochs` trains a ResNet-18 at 224 px in our loop on crops of the shipped H&E images, half of them PNG and half JPEG.
Epochs with data and epochs of one batch repeated follow each other in one training; the median of the ratios of
neighbours is printed for each way of keeping images (aim: <= 1.1 after the first epoch), by the clock on the wall and
by processor time of all threads together, which other programs on the machine disturb less.
`readers` prints files per second of our readers, and the median of the ratios to each peer that is installed, all of
them in turn on one thread. Compare ratios: the rates are those of the machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from medgraft.data.cache import ArrayCache
from medgraft.data.manifest import read_manifest
from medgraft.data.readers import read_image, remember
from medgraft.data.samples import FOLDER
from medgraft.engine.loading import Loader
from medgraft.engine.loop import fit
from medgraft.engine.run import Run
from medgraft.engine.schedule import Schedule
from medgraft.engine.supervised import Supervised
from medgraft.images.augmentation import Augmentation
from medgraft.models.losses import LossSettings, build_loss
from medgraft.models.sources import open_source
from medgraft.types import Preparation, Progress, Step

SIDE = 512
"""Pixels of a crop's side in its file."""
BATCH = 16


def write_crops(folder: Path, count: int) -> Path:
    """Crops of two real H&E images, PNG and JPEG in turn, and their table."""
    rng = np.random.default_rng(0)
    slides = [np.asarray(Image.open(FOLDER / name)) for name in ("nest.jpg", "stroma.jpg")]
    lines = ["image,label"]
    for number in range(count):
        slide = slides[number // 2 % 2]
        y, x = (int(rng.integers(0, length - SIDE)) for length in slide.shape[:2])
        name = f"{number}.{'png' if number % 2 else 'jpg'}"
        Image.fromarray(slide[y : y + SIDE, x : x + SIDE]).save(folder / name, quality=90)
        lines.append(f"{name},{('nest', 'stroma')[number // 2 % 2]}")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


class InTurn(Supervised):
    """Even epochs train on data, odd ones on their first batch repeated; notes when each began."""

    def batches(self, progress: Progress, run: Run) -> Iterable[Step]:
        self.began.append((time.perf_counter(), time.process_time()))
        if progress.epoch % 2 == 0:
            return super().batches(progress, run)
        rows = np.arange(len(self.loader))[: self.batch_size]
        batch = self.loader(rows)
        step = Step({"images": batch.images, "truth": batch.truth})
        return repeat(step, -(-len(self.loader) // self.batch_size))


def race_epochs(images: int, rounds: int, device: str, workers: int | None, only: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cohort = read_manifest(write_crops(Path(folder), images))
        preparation = Preparation(size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
        ways: dict[str, tuple[int, ArrayCache | None, Augmentation | None]] = {
            "in memory": (2**30, None, None),
            "in memory, augmented": (2**30, None, Augmentation()),
            "on disk (--cache)": (0, ArrayCache(Path(folder) / "cache"), None),
            "on disk, found there": (0, ArrayCache(Path(folder) / "cache"), None),
            "read in every epoch": (0, None, None),
        }
        for name, (memory, cache, augmentation) in ways.items():
            if only not in name:
                continue
            objective = InTurn(
                open_source("random/resnet18", kind="classify", classes=cohort.classes),
                Loader(cohort, preparation, memory, cache, workers),
                build_loss(LossSettings.default("classify"), "classify"),
                batch_size=BATCH,
                augmentation=augmentation,
            )
            objective.began = []
            run = Run(device=device, progress=False, workers=workers)  # type: ignore[arg-type]
            fit(objective, run, Schedule(epochs=2 * rounds + 3, shape="constant"))
            wall, processor = np.diff(np.asarray(objective.began), axis=0).T
            print(f"{name:22}{describe('wall', wall)}{describe('processor', processor)}", flush=True)
    print(f"{images} images, {torch.get_num_threads()} threads, workers {workers}, {device}, {rounds} rounds")


def describe(clock: str, seconds: np.ndarray) -> str:
    """Ratios of epochs with data to the epochs without that follow them: of the first, and the median of the others."""
    ratios = seconds[0::2] / seconds[1::2]
    return (
        f"  {clock}: first {ratios[0]:.2f}, later {np.median(ratios[1:]):.3f} "
        f"({ratios[1:].min():.2f} to {ratios[1:].max():.2f}) of {np.median(seconds[1::2]):.1f} s"
    )


Read = Callable[[Path], object]


def pillow(path: Path) -> object:
    return np.asarray(Image.open(path))


def torchvision(path: Path) -> object:
    from torchvision.io import decode_image

    return decode_image(str(path))


def sitk(path: Path) -> object:
    import SimpleITK

    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def nibabel(path: Path) -> object:
    import nibabel as library

    return np.asarray(library.load(path).dataobj)  # type: ignore[attr-defined]


def monai(path: Path) -> object:
    from monai.transforms import LoadImage

    return LoadImage(image_only=True)(path)


PHOTO_PEERS: dict[str, tuple[str, Read]] = {
    "Pillow": ("PIL", pillow),
    "torchvision": ("torchvision", torchvision),
}
VOLUME_PEERS: dict[str, tuple[str, Read]] = {
    "SimpleITK": ("SimpleITK", sitk), "nibabel": ("nibabel", nibabel), "MONAI LoadImage": ("monai", monai)
}  # fmt: skip


def make_volume() -> np.ndarray:
    """128^3 int16: real slices of a head, mirrored and repeated, with noise as in a scan."""
    with np.load(FOLDER / "brain.npz", allow_pickle=False) as file:
        slices = file["colin27"][:, 40:168, 20:148]
    repeated = np.concatenate([slices, slices[::-1], slices])[:128].astype(np.int16)
    noise = np.random.default_rng(0).integers(-8, 9, repeated.shape, dtype=np.int16)
    return np.asarray(5 * repeated + noise)


def ours(path: Path) -> object:
    remember._kept.clear()  # every file is read as if for the first time
    return read_image(path).array


def race_readers(rounds: int) -> None:
    import nibabel as library

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_crops(folder, 16)
        library.save(library.Nifti1Image(make_volume().transpose(2, 1, 0), np.eye(4)), folder / "v.nii.gz")  # type: ignore[attr-defined]
        for extension, peers in (("png", PHOTO_PEERS), ("jpg", PHOTO_PEERS), ("nii.gz", VOLUME_PEERS)):
            files = sorted(folder.glob(f"*.{extension}"))
            readers = {"medgraft": ours} | {
                peer: read for peer, (module, read) in peers.items() if find_spec(module) is not None
            }
            seconds: dict[str, list[float]] = {reader: [] for reader in readers}
            for turn in range(rounds + 1):
                for reader, read in readers.items():
                    started = time.perf_counter()
                    for file in files:
                        read(file)
                    if turn:  # the first warms up imports and the page cache
                        seconds[reader].append((time.perf_counter() - started) / len(files))
            report(extension, seconds)


def report(extension: str, seconds: dict[str, list[float]]) -> None:
    mine = seconds.pop("medgraft")
    print(f"{extension:7} medgraft {1 / statistics.median(mine):6.1f} files/s")
    for reader, times in seconds.items():
        ratios = [their / our for their, our in zip(times, mine)]
        print(
            f"        {reader:16} {1 / statistics.median(times):6.1f} files/s   ours is "
            f"{statistics.median(ratios):.2f} times as fast (min {min(ratios):.2f}, max {max(ratios):.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["epochs", "readers"])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--only", default="", help="ways of keeping images whose name holds this")
    arguments = parser.parse_args()
    if arguments.what == "epochs":
        race_epochs(arguments.images, arguments.rounds, arguments.device, arguments.workers, arguments.only)
    else:
        race_readers(arguments.rounds)


if __name__ == "__main__":
    main()
