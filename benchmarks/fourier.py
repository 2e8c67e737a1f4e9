"""Amplitude swap at low frequencies against the published way in NumPy, on the same images.

Run: python benchmarks/fourier.py [--rounds 7] [--images 8] [--channels 3] [--size 256] [--beta 0.01 0.035]
All run in turn in one process on one thread; results must be equal, and the median of the ratios of neighbouring rounds
is printed (aim: >= 8 times as fast as the published way; a real transform of the whole image and back is the floor of
those that transform all). The donors' blocks are computed beforehand, as a bank of donors does; the published way
transforms donors, too, each time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from medgraft.images.fourier import low_amplitude, swap_amplitude


def swap_as_published(image: np.ndarray, donor: np.ndarray, beta: float) -> np.ndarray:
    """One image (C, H, W): both transforms, amplitude and phase of everything, the circle, and back."""
    own, other = np.fft.fft2(image), np.fft.fft2(donor)
    amplitude, phase = np.fft.fftshift(np.abs(own), (-2, -1)), np.angle(own)
    height, width = image.shape[-2:]
    down, along = np.ogrid[:height, :width]
    circle = np.sqrt((down - height // 2) ** 2 + (along - width // 2) ** 2) < beta * min(height, width)
    amplitude[:, circle] = np.fft.fftshift(np.abs(other), (-2, -1))[:, circle]
    return np.real(np.fft.ifft2(np.fft.ifftshift(amplitude, (-2, -1)) * np.exp(1j * phase)))


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def race(images: Tensor, donors: Tensor, beta: float, rounds: int) -> None:
    block = low_amplitude(donors, beta)
    arrays = list(zip(images.numpy(), donors.numpy()))

    def published() -> np.ndarray:
        return np.stack([swap_as_published(image, donor, beta) for image, donor in arrays])

    works: dict[str, Callable[[], object]] = {
        "ours": lambda: swap_amplitude(images, block, beta),
        "ours, donors too": lambda: swap_amplitude(images, low_amplitude(donors, beta), beta),
        "published": published,
        "rfft2 and irfft2": lambda: torch.fft.irfft2(torch.fft.rfft2(images), s=images.shape[-2:]),
    }
    difference = np.abs(swap_amplitude(images, block, beta).numpy() - published()).max()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    print(f"beta {beta:g}, {tuple(images.shape)}; results differ by {difference:.1e}")
    for name, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(taken, times["ours"]))
        print(f"  {name:18} {len(images) / statistics.median(taken):7.0f} images/s   {ratio:5.2f} times ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--beta", type=float, nargs="+", default=[0.01, 0.035])
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    shape = (2, given.images, given.channels, given.size, given.size)
    images, donors = torch.rand(shape, generator=generator)
    for beta in given.beta:
        race(images, donors, beta, given.rounds)


if __name__ == "__main__":
    main()
