"""What Fourier adaptation costs beside the network: a scan in the contrast of donors from a bank, and as it is.

Run: python benchmarks/fourier_prediction.py [--slices 200] [--scans 50] [--size 256] [--donors 7] [--how 3d]
On one thread, in turn: prediction of a scan in the contrast of its donors (choosing them, swapping, one forward pass
for each version), and plain prediction of the same scan. The aim is less than 3 times what the network takes for all
versions and the scan itself, donors + 1 plain predictions. Building the bank, which is done once, is told beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from medgraft.engine.donor_bank import DonorBank
from medgraft.engine.fourier_adapted import FourierAdapted, Restyling
from medgraft.models.sources import open_source


def smooth_scans(count: int, slices: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Scans (slices, 1, H, W) of blurred noise, made one after the other."""
    for _ in range(count):
        coarse = torch.rand(slices, 1, size // 8, size // 8, generator=generator)
        yield torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slices", type=int, default=200)
    parser.add_argument("--scans", type=int, default=50)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--donors", type=int, default=7)
    parser.add_argument("--how", choices=("2d", "2.5d", "3d", "random"), default="3d")
    parser.add_argument("--width", type=int, default=16, help="of the U-Net")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    started = time.perf_counter()
    bank = DonorBank.from_scans(smooth_scans(given.scans, given.slices, given.size, generator), beta=0.015)
    print(f"bank of {given.scans} scans x {given.slices} slices of {given.size} px: "
          f"{time.perf_counter() - started:.0f} s to build, "
          f"{sum(part.numel() * part.element_size() for part in bank.buffers()) / 1e6:.0f} MB")  # fmt: skip
    network = open_source(
        f"random/unet_width{given.width}", kind="segment", classes=("background", "organ"), channels=1
    )
    adapted = FourierAdapted(
        network.spec,
        network=network,
        bank=bank,
        beta=0.015,
        restyling=Restyling(how=given.how, donors=given.donors),
    )
    (scan,) = smooth_scans(1, given.slices, given.size, generator)
    times: dict[str, list[float]] = {"plain": [], "adapted": []}
    for _ in range(given.rounds):
        started = time.perf_counter()
        for part in torch.split(scan, 16):
            network.predict(part)
        times["plain"].append(time.perf_counter() - started)
        started = time.perf_counter()
        adapted.predict(scan)
        times["adapted"].append(time.perf_counter() - started)
    versions = given.donors + 1
    ratio = statistics.median(
        adapted / (versions * plain) for adapted, plain in zip(times["adapted"], times["plain"])
    )
    print(f"plain {statistics.median(times['plain']):.1f} s, adapted {statistics.median(times['adapted']):.1f} s: "
          f"{ratio:.2f} times the network's time for {versions} versions (aim: below 3)")  # fmt: skip


if __name__ == "__main__":
    main()
