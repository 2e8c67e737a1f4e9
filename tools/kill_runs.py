"""Kill `medgraft adapt` and `medgraft predict` at random moments, repeat the command, compare bytes; write a table.

    python tools/kill_runs.py --out docs/robustness.md

Every process is killed with SIGKILL, which no program can answer. The same command is then repeated until it is
through. What it leaves must equal, byte for byte, what the same command leaves when nobody kills it, and nothing else
may remain.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import medgraft

SAMPLES = Path(medgraft.__file__).parent / "data" / "samples"
TRAIN = (
    "--device", "cpu", "--threads", "1", "--seed", "5", "--quiet", "--set", "schedule.epochs=8",
    "--set", "schedule.batch_size=8", "--set", "schedule.shape=plateau", "--set", "schedule.plateau_epochs=2",
)  # fmt: skip
NOT_COMPARED = ("seconds", "command", "versions")
"""Keys of run.json that tell circumstances: how long, with which words (the folder's name is one of them)."""


class Command(NamedTuple):
    """A command without its `--out`."""

    name: str
    words: tuple[str, ...]


class Killed(NamedTuple):
    """One line of the table."""

    command: str
    moments: list[float]
    found: str
    equal: bool
    leftovers: list[str]


def commands(trained: Path) -> list[Command]:
    """Two trainings on samples of the package, and predictions with the models they gave."""
    classify = (
        "adapt", str(SAMPLES / "nuclei.csv"), "--at", "nest", "--source", "random/test_resnet",
        "--set", "scope=head_then_all", "--set", "head_schedule.epochs=10", "--set", "schedule.steps_per_epoch=10",
        *TRAIN,
    )  # fmt: skip
    segment = (
        "adapt", str(SAMPLES / "brain.csv"), "--at", "colin27", "--source", "random/unet",
        "--set", "schedule.steps_per_epoch=3", "--set", "size=[64,64]", *TRAIN,
    )  # fmt: skip
    quiet = ("--device", "cpu", "--quiet", "--flip", "height", "--flip", "width")
    models = {name: str(trained / name) for name in ("adapt, classification", "adapt, segmentation")}
    return [
        Command("adapt, classification", classify),
        Command("adapt, segmentation", segment),
        Command(
            "predict, classification",
            ("predict", models["adapt, classification"], str(SAMPLES / "nuclei.csv"), *quiet),
        ),
        Command(
            "predict, segmentation",
            ("predict", models["adapt, segmentation"], str(SAMPLES / "brain.csv"), *quiet),
        ),
    ]


def start(command: Command, out: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "medgraft.cli.main", *command.words, "--out", str(out)]
    return subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def finish(command: Command, out: Path) -> float:
    """Run a command to its end; returns its seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = start(command, out)
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(f"{command.name} ended with {process.returncode}: {errors.decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def kill_after(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kill a process once it has used so much processor time; False where it ended before."""
    while process.poll() is None:
        try:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended just now
            continue
        if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") >= seconds:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.003)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file that a command left; of run.json and log.csv without what tells of time."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.name == "run.json":
                kept = {key: value for key, value in json.loads(content).items() if key not in NOT_COMPARED}
                content = json.dumps(kept, sort_keys=True).encode()
            elif path.name == "log.csv" or path.parent.name == "records":
                content = _without_seconds(path)
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def _without_seconds(path: Path) -> bytes:
    import pandas as pd

    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    return table.drop(columns="seconds", errors="ignore").to_csv(index=False).encode()


def describe(out: Path) -> str:
    """What a killed process had written, in words."""
    if not out.exists():
        return "nothing yet"
    parts = []
    if (out / "predictions.csv").exists():
        parts.append("predictions.csv")
    for name in ("log.csv", "head/log.csv"):
        if (out / name).exists():
            parts.append(f"{name} of {len((out / name).read_text().splitlines()) - 1} epochs")
    checkpoints = [path.parent.parent.name for path in out.rglob("checkpoints/epoch-*.json")]
    if checkpoints:
        parts.append(f"{len(checkpoints)} checkpoint{'s' * (len(checkpoints) > 1)}")
    if (out / "model").exists():
        parts.append("model")
    masks = len(list(out.glob("masks/*"))), len(list(out.glob(".unfinished/*.json")))
    parts += [f"{count} masks {place}" for count, place in zip(masks, ("in place", "waiting")) if count]
    temporary = [path for path in out.rglob(".*") if path.name != ".unfinished"]
    if temporary:
        parts.append(f"{len(temporary)} half-written")
    return ", ".join(parts) or "the folder"


def kill_and_repeat(
    command: Command, out: Path, seconds: float, expected: dict[str, str], moments: random.Random
) -> Killed | None:
    """Kill a command at a random moment, repeat it, and in one case of three kill that too; None if all came late."""
    killed: list[float] = []
    found: list[str] = []
    for _ in range(2 if moments.random() < 1 / 3 else 1):
        moment = moments.uniform(0.4, 1.0) * seconds
        if not kill_after(start(command, out), moment):
            break  # too late
        killed.append(moment)
        found.append(describe(out))
    if not killed:
        return None
    finish(command, out)
    leftovers = [str(path.relative_to(out)) for path in out.rglob(".*")]
    return Killed(command.name, killed, "; then ".join(found), contents(out) == expected, leftovers)


def write(path: Path, lines: Sequence[Killed], durations: dict[str, float], seed: int) -> None:
    kills = sum(len(line.moments) for line in lines)
    bad = [line for line in lines if not line.equal or line.leftovers]
    verdict = (
        "Every one of them left the same bytes as an uninterrupted run, and no temporary file."
        if not bad
        else f"{len(bad)} of them did not leave the bytes of an uninterrupted run, or left temporary files."
    )
    took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in durations.items())
    text = [
        "# Robustness: what a kill leaves behind",
        "",
        f"Written by `python tools/kill_runs.py --seed {seed}`. {len(lines)} runs received {kills} SIGKILLs at random",
        f"moments; after each the same command was repeated until it was through. {verdict}",
        "",
        "Compared are the hashes of all files in the output folder: weights, model description, run.json (without",
        "seconds, versions and the command's words), log.csv and records (without seconds), predictions.csv, masks.",
        "Moments are seconds of processor time (Linux counts them in hundredths), uniform between two fifths and the",
        "whole of an uninterrupted run, which begins with seconds of imports; a kill that came too late is drawn again",
        f"and not counted. Samples of the package, one thread; uninterrupted: {took}.",
        "",
        "| command | killed after | what was there | same bytes | temporary files |",
        "|---|---|---|---|---|",
    ]
    for line in lines:
        after = ", ".join(f"{moment:.2f} s" for moment in line.moments)
        text.append(
            f"| {line.command} | {after} | {line.found} | {'yes' if line.equal else 'NO'} "
            f"| {', '.join(line.leftovers) or 'none'} |"
        )
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/robustness.md"), help="the table to write")
    parser.add_argument(
        "--runs", type=int, default=20, help="runs that are killed at least once; a multiple of 4"
    )
    parser.add_argument(
        "--seed", type=int, default=8, help="decides the moments, as shares of a run's duration"
    )
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    moments, lines, durations = random.Random(options.seed), [], {}
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        for command in commands(whole):
            seconds = finish(command, whole / command.name)
            expected = contents(whole / command.name)
            durations[command.name] = seconds
            done = 0
            for attempt in range(10 * options.runs):
                out = Path(place) / f"{command.name} {attempt}"
                line = kill_and_repeat(command, out, seconds, expected, moments)
                if line is not None:
                    lines.append(line)
                    done += 1
                    print(line, flush=True)
                if done == options.runs // 4:
                    break
    write(options.out, lines, durations, options.seed)
    sys.exit(any(not line.equal or line.leftovers for line in lines))


if __name__ == "__main__":
    main()
