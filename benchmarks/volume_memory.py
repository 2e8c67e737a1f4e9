"""Memory of segmenting one large volume: peak above the volume itself, for several numbers of classes.

    python benchmarks/volume_memory.py [--shape 400,512,512] [--classes 2,20,100]

Each case runs in a process of its own: a three-dimensional U-Net of width 8 slides windows of 96^3 with half overlap,
as `medgraft predict` does. "Above" is the peak of the resident memory less that at the moment when the model is
built and the volume (16-bit) lies in memory; the label map and the confidences are part of it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

WIDTH, PATCH = 8, (96, 96, 96)
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="400,512,512", help="depth, height, width")
    parser.add_argument("--classes", default="2,20,100")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = tuple(int(part) for part in options.shape.split(","))
    if options.one:
        print(json.dumps(measure(shape, options.one)))
        return
    print(f"volume {' x '.join(map(str, shape))}, 16-bit, U-Net width {WIDTH}, window {PATCH[0]}^3\n")
    print("classes  volume MiB  label map MiB  peak above the volume MiB  minutes", flush=True)
    for classes in map(int, options.classes.split(",")):
        command = [sys.executable, __file__, "--shape", options.shape, "--one", str(classes)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(
            f"{classes:7d}  {found['volume']:10.0f}  {found['labels']:13.0f}  {found['above']:25.0f}  "
            f"{found['seconds'] / 60:7.1f}",
            flush=True,
        )


def measure(shape: tuple[int, ...], classes: int) -> dict[str, float]:
    """Peak above the volume in MiB, and seconds."""
    import numpy as np
    import torch

    from medgraft.data.cohort import Cohort
    from medgraft.engine.predict import predict_masks
    from medgraft.models.spec import ModelSpec
    from medgraft.models.unet import UNet
    from medgraft.types import Preparation

    torch.set_num_threads(1)
    preparation = Preparation(channels=1, dimensions=3, patch=PATCH, intensity="window", window=(40, 400))
    names = tuple(f"class {number}" for number in range(classes))
    model = UNet(
        ModelSpec(kind="segment", classes=names, channels=1, preparation=preparation), width=WIDTH
    ).eval()
    volume = np.random.default_rng(0).integers(-1000, 1000, (1, *shape, 1), np.int16)
    cohort = Cohort.from_arrays(volume, kind="encode")
    before, started = resident(), time.monotonic()
    labels = next(predict_masks(model, cohort)).labels
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "volume": volume.nbytes / MIB,
        "labels": labels.nbytes / MIB,
        "above": (peak - before) / MIB,
        "seconds": time.monotonic() - started,
    }


def resident() -> int:
    """Bytes of this process that are in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
