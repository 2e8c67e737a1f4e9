"""What simulated subjects cost: seconds on one core.

Run: OMP_NUM_THREADS=1 python benchmarks/phantoms.py [--subjects 40] [--slices 6] [--side 64]
The tissue maps are read before the clock starts, once per process. Aim: 40 subjects of 6 slices of 64 px
in under 15 s.
"""

from __future__ import annotations

import argparse
import time

import torch

from medgraft.phantoms import load_phantom
from medgraft.phantoms.tissue_maps import head_maps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=40)
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--side", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    clock, processor = time.perf_counter(), time.process_time()
    head_maps()
    print(f"tissue maps: {time.perf_counter() - clock:.2f} s, once per process")
    print("| phantom | task | seconds by the clock | of the processor |")
    print("|---|---|---|---|")
    for name, task, site in (
        ("mr_brain", "brain", "reference"),
        ("mr_brain", "brain", "low_field"),
        ("mr_brain", "hippocampus", "reference"),
        ("mr_prostate", "zones", "body_coil_3t"),
        ("chest_film", "acute", "clinic"),
    ):
        clock, processor = time.perf_counter(), time.process_time()
        load_phantom(
            name,
            subjects=arguments.subjects,
            slices=arguments.slices,
            side=arguments.side,
            sites=[site],
            task=task,  # type: ignore[arg-type]
        )
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
        print(f"| {name} at {site} | {task} | {clock:.1f} | {processor:.1f} |")


if __name__ == "__main__":
    main()
