"""Changes of stain against plain NumPy and scikit-image, on the same images.

Run: python benchmarks/stain.py [--rounds 31] [--images 8] [--size 224]
All run in turn in one process on one thread; results must be equal, and the median of the ratios of neighbouring rounds
is printed (aims: HED jitter >= 4 times as fast as scikit-image, Macenko and Reinhard >= 3 times as fast as the plain
way, Vahadane >= 50 images/s). torchstain and tiatoolbox join where they are installed; they take and give bytes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.color import hed2rgb, lab2rgb, rgb2hed, rgb2lab
from torch import Tensor

from medgraft.images.hed import HEDJitter, jitter_hed
from medgraft.images.reinhard import Reinhard
from medgraft.images.stain import Macenko, Vahadane

Image = NDArray[np.float32]
Works = dict[str, Callable[[], object]]


def tiles(count: int, size: int, strengths: tuple[float, float]) -> Tensor:
    """Made tissue: nuclei on eosin, glass above, in float32; every value is a whole level of 256."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.tensor([[0.65, 0.70, 0.29], [0.12, 0.95, 0.25]]).T
    colours = colours / colours.norm(dim=0) * torch.tensor(strengths)
    nuclei, eosin, kind = torch.rand(3, count, size, size, generator=generator)
    amounts = torch.stack([torch.where(kind < 0.25, 0.5 + nuclei, 0.05 * nuclei), 0.2 + 0.8 * eosin])
    amounts[:, :, : size // 8] = 0.0
    images = torch.exp(-torch.einsum("cs,sbhw->bchw", colours, amounts))
    return (255 * images).round().contiguous() / 255


def jitter_by_skimage(image: Image, gain: Image, bias: Image) -> Image:
    return np.asarray(hed2rgb(rgb2hed(image) * gain + bias), np.float32)


def macenko_stains(density: Image) -> tuple[Image, Image]:
    tissue = density[~(density < 0.15).any(1)]
    plane = np.linalg.eigh(np.cov(tissue.T))[1][:, 1:]
    projected = tissue @ plane
    angles = np.arctan2(projected[:, 1], projected[:, 0])
    ends = [plane @ (np.cos(angle), np.sin(angle)) for angle in np.percentile(angles, (1, 99))]
    vectors = np.stack(sorted(ends, key=lambda end: -end[0]), 1)
    amounts = np.linalg.lstsq(vectors, density.T, rcond=None)[0]
    return vectors, amounts


def macenko_plainly(image: Image, vectors: Image, strengths: Image) -> Image:
    """One image (H, W, 3), step by step as published."""
    density = -np.log((255 * image.reshape(-1, 3) + 1) / 240)
    _, amounts = macenko_stains(density)
    scaled = amounts * (strengths / np.percentile(amounts, 99, axis=1))[:, None]
    return np.clip(240 / 255 * np.exp(-vectors @ scaled), 0, 1).T.reshape(image.shape)


def reinhard_plainly(image: Image, mean: Image, sd: Image) -> Image:
    lab = rgb2lab(image)
    matched = (lab - lab.mean((0, 1))) / lab.std((0, 1)) * sd + mean
    return np.asarray(lab2rgb(matched), np.float32)


def torchstain_works(images: Tensor, reference: Tensor) -> dict[str, Works]:
    if find_spec("torchstain") is None:
        return {}
    import torchstain

    levels = (255 * images).round()
    macenko = torchstain.normalizers.MacenkoNormalizer(backend="torch")
    macenko.fit((255 * reference[0]).round())
    reinhard = torchstain.normalizers.ReinhardNormalizer(backend="torch")
    reinhard.fit((255 * reference[0]).round())
    return {
        "Macenko": {"torchstain": lambda: [macenko.normalize(I=level, stains=False) for level in levels]},
        "Reinhard": {"torchstain": lambda: [reinhard.normalize(level) for level in levels]},
    }


def tiatoolbox_works(images: Tensor, reference: Tensor) -> dict[str, Works]:
    if find_spec("tiatoolbox") is None:
        return {}
    from tiatoolbox.tools.stainnorm import get_normalizer

    levels, found = as_bytes(images), {}
    for name in ("Macenko", "Reinhard", "Vahadane"):
        normaliser = get_normalizer(name.lower())
        normaliser.fit(as_bytes(reference)[0])
        # Some of its steps write into what they are given.
        found[name] = {
            "tiatoolbox": lambda n=normaliser: [n.transform(level.copy()) for level in levels]  # type: ignore[misc]
        }
    return found


def as_bytes(images: Tensor) -> NDArray[np.uint8]:
    return (255 * images).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def race(title: str, works: Works, count: int, rounds: int, difference: float | None = None) -> None:
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    print(title + ("" if difference is None else f"; results differ by {difference:.1e}"))
    for name, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(taken, times["ours"]))
        print(f"  {name:18} {count / statistics.median(taken):7.0f} images/s   {ratio:5.2f} times ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    given = parser.parse_args()
    torch.set_num_threads(1)
    images = tiles(given.images, given.size, (1.0, 1.0))
    reference = tiles(1, given.size, (1.2, 0.8))
    arrays = list(images.permute(0, 2, 3, 1).contiguous().numpy())

    def differ(ours: Tensor, plain: list[Image]) -> float:
        return float(np.abs(ours.permute(0, 2, 3, 1).numpy() - np.stack(plain)).max())

    def peers(name: str) -> Works:
        both = (torchstain_works(images, reference), tiatoolbox_works(images, reference))
        return {peer: work for works in both for peer, work in works.get(name, {}).items()}

    jitter = HEDJitter(gain=0.2, bias=0.01, scale="modern")
    gain, bias = jitter.sample(given.images, torch.Generator().manual_seed(0))
    pairs = list(zip(arrays, gain.float().numpy(), bias.float().numpy()))

    def jitter_plainly() -> list[Image]:
        return [jitter_by_skimage(*pair) for pair in pairs]

    works: Works = {"ours": lambda: jitter_hed(images, gain, bias), "scikit-image": jitter_plainly}
    works["ours, clamped"] = lambda: jitter_hed(images, gain, bias, clamp=True)
    works["legacy"] = lambda: jitter_hed(images, gain, bias, "legacy")
    works["log and exp"] = lambda: images.log().exp_()
    difference = differ(jitter_hed(images, gain, bias, clamp=True), jitter_plainly())
    race(f"HED jitter, {tuple(images.shape)}", works, given.images, given.rounds, difference)

    macenko = Macenko()
    stains = macenko.fit(reference)
    numbers = [each.numpy() for each in stains]
    works = {
        "ours": lambda: macenko.normalise(images, stains).images,
        "NumPy": lambda: [macenko_plainly(image, *numbers) for image in arrays],
    }
    difference = differ(works["ours"](), works["NumPy"]())  # type: ignore[arg-type]
    works["ours, fitted before"] = lambda: macenko.normalise(images, stains, stains).images
    race("Macenko", works | peers("Macenko"), given.images, given.rounds, difference)

    reinhard = Reinhard()
    colours = reinhard.fit(reference)
    numbers = [each.float().numpy() for each in colours]
    works = {
        "ours": lambda: reinhard.normalise(images, colours).images,
        "scikit-image": lambda: [reinhard_plainly(image, *numbers) for image in arrays],
    }
    difference = differ(works["ours"](), works["scikit-image"]())  # type: ignore[arg-type]
    race("Reinhard", works | peers("Reinhard"), given.images, given.rounds, difference)

    vahadane = Vahadane()
    atoms = vahadane.fit(reference)
    works = {"ours": lambda: vahadane.normalise(images, atoms).images}
    race("Vahadane", works | peers("Vahadane"), given.images, given.rounds)


if __name__ == "__main__":
    main()
