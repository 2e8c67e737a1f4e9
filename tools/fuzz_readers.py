"""Damage valid files at random and open them: each must be read, or refused in one sentence.

    python tools/fuzz_readers.py --seconds 600 --findings FOLDER [--only dicom ...] [--out docs/fuzzing.md]

Every reader is tried in a process of its own, so that a crash is seen. A finding is anything but a picture or one of
our errors: another exception, more than 2 GiB of memory, more than 10 s of work, the end of the process, a message of
several lines or with the patient's name in it. Its bytes are kept, with what repeats it: the reader, seed and number.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import fuzz_seeds as seeds
import numpy as np

from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.readers import read_geometry, read_image, read_mask, room, warn_of_header
from medgraft.errors import DataError
from medgraft.types import Picture

MEMORY = 2 * 2**30
"""Bytes that opening a file may take beyond what Python and its packages hold."""
ARRAY = 2**28
"""Bytes of an array that the readers are told to take."""
HANG = 10.0
"""Seconds of work for one file of a few kilobytes."""
LONGEST = 900
"""Characters of a sentence, with a list in it."""


class Target(NamedTuple):
    """A reader: valid files, the one to open (None for their folder), and how."""

    cases: Callable[[], list[seeds.Case]]
    opened: str | None
    open: Callable[[Path], object]


def _open_image(path: Path) -> object:
    warn_of_header(path)
    picture = read_image(path)
    with contextlib.suppress(DataError):  # not every file tells where it lies
        geometry = read_geometry(path)
        assert geometry.to_stored(picture.array).shape[:3] == geometry.stored_shape
    return picture


def _open_segmentation(path: Path) -> object:
    read_mask(path)
    return read_mask(path, path.parent / "image")


def _masks() -> list[seeds.Case]:
    return [*seeds.photos(), *seeds.tiffs(), *seeds.dicoms()[:6], *seeds.niftis(), *seeds.arrays()]


TARGETS = {
    "png, jpeg, bmp": Target(seeds.photos, "", _open_image),
    "tiff": Target(seeds.tiffs, "", _open_image),
    "dicom": Target(seeds.dicoms, "", _open_image),
    "dicom series": Target(seeds.series, None, _open_image),
    "dicom zip": Target(seeds.zips, "", _open_image),
    "nifti": Target(seeds.niftis, "", _open_image),
    "dicomdir": Target(seeds.media, "DICOMDIR", _open_image),
    "dicom segmentation": Target(seeds.segmentations, "seg", _open_segmentation),
    "npy, npz": Target(seeds.arrays, "", _open_image),
    "masks": Target(_masks, "", read_mask),
    "manifest": Target(seeds.manifests, "t.", read_manifest),
}


def main() -> int:
    """Fuzz the readers one after the other; 1 where anything was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()) / "findings")
    parser.add_argument("--out", type=Path, help="page to write the counts to")
    parser.add_argument(
        "--repeat", metavar="READER:SEED:NUMBER", help="open one case again and show what happens"
    )
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)  # within the process of one reader
    options = parser.parse_args()
    if options.repeat:
        return repeat(*options.repeat.split(":"))
    if options.work:
        return work(options.only[0], options.seed, options.seconds, options.work)
    options.findings.mkdir(parents=True, exist_ok=True)
    totals = options.findings / "totals.json"
    is_found = False
    for name in options.only:
        counted = fuzz(name, options.seconds, options.seed, options.findings)
        is_found = is_found or bool(counted["findings"])
        print(f"{name}: {counted}", flush=True)
        totals.write_text(json.dumps({**_read(totals), name: counted}))
    if options.out:
        options.out.write_text(page(_read(totals)), encoding="utf-8")
    return int(is_found)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def fuzz(name: str, seconds: float, seed: int, findings: Path) -> dict[str, Any]:
    """Run one reader's process, again after each crash or hang, until the time is over; what was counted."""
    total: Counter[str] = Counter({"opened": 0, "refused": 0})
    signatures: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 1:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            ended = _watch(name, seed, left, place)
            report = (
                json.loads((place / "report.json").read_text()) if (place / "report.json").exists() else {}
            )
            total.update(report.get("counts", {}))
            for finding in report.get("findings", []):
                signatures[finding["signature"]] += finding["times"]
                _keep(findings, name, seed, finding)
            if ended:
                number = int((place / "number").read_text() or 0)
                signature = f"{ended} (of the process)"
                signatures[signature] += 1
                finding = {"signature": signature, "number": number, "trace": "", "case": str(place / "case")}
                _keep(findings, name, seed, finding)
            seed += 1
    return {"seconds": round(seconds), **total, "findings": dict(signatures)}


def _watch(name: str, seed: int, seconds: float, place: Path) -> str | None:
    """Wait for the process; why it ended, if not by itself."""
    command = [sys.executable, __file__, "--only", name, "--seed", str(seed), "--seconds", str(seconds)]
    process = subprocess.Popen([*command, "--work", str(place)], stderr=subprocess.DEVNULL)
    number, busy_at_start = "", 0.0
    while process.poll() is None:
        time.sleep(0.5)
        now = (place / "number").read_text() if (place / "number").exists() else ""
        busy = _seconds_of_work(process.pid)
        if now != number:
            number, busy_at_start = now, busy
        elif number and busy - busy_at_start > HANG:
            process.kill()
            process.wait()
            return "hang"
    return None if process.returncode == 0 else f"end with {process.returncode}"


def _seconds_of_work(process: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _keep(findings: Path, name: str, seed: int, finding: dict[str, Any]) -> None:
    digest = hashlib.sha256(finding["signature"].encode()).hexdigest()[:8]
    folder = findings / f"{name.split(',')[0].replace(' ', '_')}_{digest}"
    if folder.exists():
        return
    shutil.copytree(finding["case"], folder / "case", dirs_exist_ok=True)
    repeat_with = f"--repeat '{name}:{seed}:{finding['number']}'"
    (folder / "what.txt").write_text(f"{finding['signature']}\n{repeat_with}\n{finding['trace']}")


def make(name: str, seed: int, number: int, cases: list[seeds.Case]) -> seeds.Case:
    """Case `number` of a seed: the first ones are undamaged."""
    if number < len(cases):
        return cases[number]
    random = Random(f"{name} {seed} {number}")
    return seeds.damage(random.choice(cases), cases, random)


def place_case(name: str, case: seeds.Case, folder: Path) -> Path:
    """Write a case; the path to open."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file, data in case.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    opened = TARGETS[name].opened
    if opened is None:
        return folder
    names = [file for file in case if file.startswith(opened) and not file.endswith(".toml")]
    return folder / (names[0] if names else "gone")


def work(name: str, seed: int, seconds: float, place: Path) -> int:
    """The process of one reader: open cases until the time is over."""
    _quiet()
    (place / "memory.max").write_text(str(2 * ARRAY))
    room.CGROUP = place / "memory.max"  # the readers' own limit, well below that of the process
    cases, counts, findings = TARGETS[name].cases(), Counter[str](), dict[str, dict[str, Any]]()
    for case in cases:  # imports what is imported late
        _try(name, place_case(name, case, place / "case"))
    _limit_memory()
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        (place / "number").write_text(str(number))
        path = place_case(name, make(name, seed, number, cases), place / "case")
        what, signature, trace = _try(name, path)
        if what == "finding":
            kept = (
                shutil.copytree(place / "case", place / "kept" / str(number))
                if signature not in findings
                else None
            )
            finding = findings.setdefault(signature, {"signature": signature, "number": number, "trace": trace,
                                                      "case": str(kept), "times": 0})  # fmt: skip
            finding["times"] += 1
        else:
            counts[what] += 1
        number += 1
        if number % 50 == 0 or what == "finding":
            (place / "report.tmp").write_text(
                json.dumps({"counts": counts, "findings": list(findings.values())})
            )
            (place / "report.tmp").rename(place / "report.json")
    (place / "report.json").write_text(json.dumps({"counts": counts, "findings": list(findings.values())}))
    return 0


def _try(name: str, path: Path) -> tuple[str, str, str]:
    """(opened, refused or finding; what tells one finding from another; where it happened)."""
    try:
        result = TARGETS[name].open(path)
    except DataError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                return "finding", f"memory: {_innermost(cause)}", "".join(traceback.format_exception(error))
            cause = cause.__cause__
        sentence = str(error)
        checks = {
            "lines": "\n" in sentence,
            "no sentence": not error.do.endswith("."),
            "long": len(_without_paths(sentence)) > LONGEST,
            "a patient": name != "manifest" and seeds.CANARY.lower() in sentence.lower(),
            "unprintable": not sentence.isprintable(),
        }
        faults = [fault for fault, is_so in checks.items() if is_so]
        if faults:
            return "finding", f"message with {', '.join(faults)}: {_innermost(error)}", sentence
        return "refused", "", sentence
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "finding", f"{type(error).__name__}: {_innermost(error)}", traceback.format_exc()
    if isinstance(result, Cohort) or (isinstance(result, Picture) and isinstance(result.array, np.ndarray)):
        return "opened", "", ""
    return "finding", f"returned {type(result).__name__}", ""


def _without_paths(sentence: str) -> str:
    return " ".join(word for word in sentence.split() if "/" not in word)


def _innermost(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/medgraft/" in frame.filename]
    return " < ".join(f"{Path(frame.filename).name}:{frame.name}" for frame in (frames[-1:] + ours[-1:]))


def _limit_memory() -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))


def _quiet() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    np.seterr(all="ignore")


def repeat(name: str, seed: str, number: str) -> int:
    """Open one case again; what happens, in full."""
    with tempfile.TemporaryDirectory() as folder:
        path = place_case(
            name, make(name, int(seed), int(number), TARGETS[name].cases()), Path(folder) / "case"
        )
        what, signature, trace = _try(name, path)
    print(what, signature, trace, sep="\n")
    return int(what == "finding")


def page(found: dict[str, Any]) -> str:
    """The counts as a page."""
    lines = [
        "# Damaged files\n",
        "`python tools/fuzz_readers.py` damages valid files at random (bits, lengths, header fields, absurd sizes,",
        "pieces of other files) and opens them. Each must be read, or refused in one sentence without a patient's",
        f"name, within {HANG:.0f} s of work and {MEMORY // 2**30} GiB of memory. It wrote this page.\n",
        "| reader | minutes | files opened | refused in one sentence | findings |\n|---|---|---|---|---|",
    ]
    for name in TARGETS:
        if (row := found.get(name)) is None:
            continue
        told = "; ".join(f"{what} ({times})" for what, times in row["findings"].items()) or "none"
        lines.append(f"| {name} | {row['seconds'] / 60:.3g} | {row['opened']} | {row['refused']} | {told} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
