"""Time and memory of checking many rows: `medgraft.data.checks.check` for tables of growing length.

    python benchmarks/check_rows.py [--rows 1000 10000 100000]

Each image is the mean of two random crops of the H&E samples, so that every one is different and all resemble one
another as tiles of a laboratory do; one patient for every ten images, three sites. Each table is checked in a process
of its own. "Above" is the peak of the resident memory less that after the imports.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 2**20
SIDE = 64
"""Pixels along each side of an image."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    print("   rows  minutes  processor minutes  all pixels MiB  peak above imports MiB  warnings", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            table = write_table(Path(folder) / str(rows), rows)
            command = [sys.executable, __file__, "--one", str(table)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            pixels = rows * SIDE * SIDE * 3 / MIB
            print(
                f"{rows:7d}  {found['seconds'] / 60:7.2f}  {found['busy'] / 60:17.2f}  {pixels:14.0f}  "
                f"{found['above']:22.0f}  {found['problems']:8d}",
                flush=True,
            )


def write_table(folder: Path, rows: int) -> Path:
    """Images and manifest."""
    import numpy as np
    from PIL import Image

    import medgraft
    from medgraft.data.readers import read_image

    samples = Path(medgraft.__file__).parent / "data" / "samples"
    pictures = [read_image(samples / name).array for name in ("nest.jpg", "stroma.jpg")]
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines = ["image,label,patient,site,split"]
    for row in range(rows):
        crops = []
        for picture in pictures:
            top, left = rng.integers(0, np.array(picture.shape[:2]) - SIDE)
            crops.append(picture[top : top + SIDE, left : left + SIDE].astype(np.uint16))
        Image.fromarray(((crops[0] + crops[1]) // 2).astype(np.uint8)).save(folder / f"images/{row:06}.png")
        patient = row // 10
        split = ("train", "train", "val", "test")[patient % 4]
        lines.append(f"images/{row:06}.png,{'ab'[row % 2]},P{patient},site {patient % 3},{split}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "data.csv"


def measure(table: Path) -> dict[str, float]:
    """Peak above the imports in MiB, seconds, and how many problems were told."""
    import medgraft.data.alignment
    import medgraft.data.readers  # noqa: F401
    from medgraft.data.checks import check

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start, busy = time.perf_counter(), time.process_time()
    problems = check(table)
    seconds, used = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"above": (peak - before) / MIB, "seconds": seconds, "busy": used, "problems": len(problems)}


if __name__ == "__main__":
    main()
