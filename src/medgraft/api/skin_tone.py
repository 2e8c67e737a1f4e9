"""Write down how light the skin in every picture of a data set is, so that models can be audited by it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from medgraft.data.cohort import Cohort
from medgraft.data.manifest import open_manifest
from medgraft.engine.progress import progress_bar
from medgraft.errors import DataError, MedgraftError, SettingsError
from medgraft.evaluation.examples import thumbnail
from medgraft.evidence import Evidence
from medgraft.images.skin_tone import (
    THRESHOLDS,
    SkinTone,
    draw_box,
    fitzpatrick_type,
    skin_tone_at_border,
    skin_tone_of_skin,
)
from medgraft.images.skin_tone_calibration import agreement, calibrate_thresholds
from medgraft.whole_files import written_whole

Labeller = Literal["border", "skin"]
"""`border`: the lightest of eight boxes near the border; `skin`: the mean of all that has skin's colour (YCbCr)."""
Measure = Callable[[np.ndarray], SkinTone]

ANGLE, TYPE = "ita_angle", "fitzpatrick_ita"
"""Columns that are written: degrees, and the type 1 to 6; empty where unknown."""
UNTOLD = ("", "-1")
PATHS = ("image", "mask")
EACH = 2
"""Pictures of every type that are kept for the page."""


def measure_skin_tone(
    manifest: str | Path,
    out: str | Path,
    *,
    human: str | None = None,
    calibrate: bool = False,
    balanced: bool = False,
    labeller: Labeller = "border",
    as_published: bool = False,
    pictures: bool = True,
    progress: bool | None = False,
) -> Evidence:
    """Estimate the tone of skin in every picture, and write a manifest that has it as columns.

    Args:
        manifest: a table, a folder or a published data set of pictures of lesions in colour.
        out: the CSV to write, other than the manifest: all its columns, `ita_angle` and `fitzpatrick_ita`, with paths
            that hold from where it lies; a sidecar NAME.toml goes along.
        human: column with types that people gave, 1 to 6; empty or -1 where unknown. Agreement with it is told, and
            beside it that of the other labeller.
        calibrate: fit the thresholds between types to `human`. Agreement is then that of patients left out: either half
            is scored with the thresholds of the other.
        balanced: in calibration every type counts as much as any other; otherwise rare types, often the darkest, may
            vanish.
        labeller: what is measured, see `Labeller`. Boxes do not tell from skin what is yellowish; all of the skin holds
            lesions and shadows too.
        as_published: boxes by the published rule, in which one grey or blue box makes the image type 1.
        pictures: keep some in the evidence, with the patch that was measured framed.
        progress: show a bar; None shows it at a terminal.

    Returns: evidence for `medgraft.reports.skin_tone_page`: the tables "skin_tones" (row, angle, fitzpatrick, human; 0
        where unknown) and "skin_tone_agreement" (labeller, how, thresholds, n, exact, within_one, unknown; the other
        labeller has the published thresholds), pictures by row.

    Raises:
        DataError: a file cannot be read, `out` is the manifest or a folder, the columns are there already, or `human`
            holds something else.
        SettingsError: `calibrate` without `human`, `balanced` without `calibrate`, another `labeller`, or "skin"
            `as_published`.
        ShapeError: a picture is grey, a volume or too small; the message tells which.
    """
    manifest, out = Path(manifest), Path(out)
    opened = open_manifest(manifest)
    cohort = Cohort(opened.table, kind="encode", classes=(), root=opened.root, name=manifest.stem)
    _refuse(manifest, out, opened.table)
    _refuse_settings(human, calibrate, balanced, labeller, as_published)
    types = None if human is None else _human_types(opened.table, human)
    border = "border, as published" if as_published else "border"
    measures: dict[str, Measure] = {
        border: partial(skin_tone_at_border, as_published=as_published),
        "skin": skin_tone_of_skin,
    }
    name, other = ("skin", border) if labeller == "skin" else (border, "skin")
    tones, others, shown = _measure(
        cohort, measures[name], None if types is None else measures[other], pictures, progress
    )
    angles = np.array([tone.angle for tone in tones])
    thresholds: tuple[float, ...] = THRESHOLDS
    lines = []
    if types is not None:
        lines.append({"labeller": name} | _agreement(angles, types, "published", THRESHOLDS))
        if calibrate:
            known = (types > 0) & np.isfinite(angles)
            thresholds = calibrate_thresholds(
                angles[known].tolist(), types[known].tolist(), balanced=balanced
            )
            lines.append({"labeller": name} | _left_out(angles, types, cohort.units, thresholds, balanced))
        lines.append({"labeller": other} | _agreement(np.array(others), types, "published", THRESHOLDS))
    estimated = [fitzpatrick_type(angle, thresholds) for angle in angles]
    columns = {
        ANGLE: ["" if np.isnan(angle) else f"{angle:.2f}" for angle in angles],
        TYPE: ["" if each is None else str(each) for each in estimated],
    }
    _write(opened.table.assign(**columns), manifest, opened.root, out)
    table = pd.DataFrame(
        {"row": opened.table.index, "angle": angles, "fitzpatrick": [n or 0 for n in estimated]}
    )
    tables = {"skin_tones": table if types is None else table.assign(human=types)}
    if lines:
        tables["skin_tone_agreement"] = pd.DataFrame(lines)
    entry = {
        "what": "skin tone", "cohort": cohort.name, "labeller": name, "thresholds": list(thresholds),
        "human": human, "balanced": balanced,
    }  # fmt: skip
    images = {f"skin_tone/{row}": picture for row, picture in shown.items()}
    return Evidence(provenance=(entry,), tables=tables, images=images)


def _measure(
    cohort: Cohort, measure: Measure, other: Measure | None, pictures: bool, progress: bool | None
) -> tuple[list[SkinTone], list[float], dict[int, np.ndarray]]:
    """The tone of every row, its angle by another measure, and the first pictures of every type, the patch framed."""
    tones, others, shown = [], [], {}
    kept: dict[int | None, int] = {}
    with progress_bar("measuring skin", len(cohort), progress) as advance:
        for position in range(len(cohort)):
            picture = cohort.picture(position).array
            try:
                tones.append(measure(picture))
                if other is not None:
                    others.append(other(picture).angle)
            except MedgraftError as error:
                error.got += f" ({cohort.where('image', position)})"
                raise
            kept[tones[-1].fitzpatrick] = kept.get(tones[-1].fitzpatrick, 0) + 1
            if pictures and kept[tones[-1].fitzpatrick] <= EACH:
                row = int(cohort.table.index[position])
                shown[row] = thumbnail(draw_box(picture, tones[-1]))
            advance(None)
    return tones, others, shown


def _agreement(
    angles: np.ndarray, types: np.ndarray, how: str, thresholds: Sequence[float]
) -> dict[str, object]:
    told = types > 0
    estimated = [fitzpatrick_type(angle, thresholds) for angle in angles[told]]
    found = agreement(estimated, types[told].tolist())
    return {"how": how, "thresholds": _text(thresholds), "n": int(told.sum())} | found._asdict()


def _left_out(
    angles: np.ndarray, types: np.ndarray, units: np.ndarray, thresholds: tuple[float, ...], balanced: bool
) -> dict[str, object]:
    """Agreement of either half of the patients with the thresholds that the other half gave."""
    names = np.unique(units)
    first = np.isin(units, np.random.default_rng(0).permutation(names)[: len(names) // 2])
    known = (types > 0) & np.isfinite(angles)
    if not (known & first).any() or not (known & ~first).any():
        raise DataError(
            "Calibration", "two patients or more with a type that people gave", "there are fewer",
            "Use the published thresholds.",
        )  # fmt: skip
    halves = []
    for half in (first, ~first):
        rest = known & ~half
        fitted = calibrate_thresholds(angles[rest].tolist(), types[rest].tolist(), balanced=balanced)
        halves.append(_agreement(angles[half], types[half], "", fitted))
    counts = [float(str(half["n"])) for half in halves]
    means = {
        name: float(np.average([float(str(half[name])) for half in halves], weights=counts))
        for name in ("exact", "within_one", "unknown")
    }
    return {"how": "calibrated", "thresholds": _text(thresholds), "n": int(sum(counts))} | means


def _text(thresholds: Sequence[float]) -> str:
    return ", ".join(f"{each:.1f}" for each in thresholds)


def _human_types(table: pd.DataFrame, column: str) -> np.ndarray:
    """(N,) 1 to 6, 0 where nobody told."""
    who = f"The column '{column}'"
    if column not in table.columns:
        raise DataError(who, "to be in the manifest", "there is none of that name", "Correct the name.")
    numbers = pd.to_numeric(table[column], errors="coerce")
    told = ~table[column].astype(str).str.strip().isin(UNTOLD)
    wrong = told & ~numbers.isin(range(1, 7))
    if wrong.any() or not told.any():
        got = f"row {wrong.idxmax()} holds something else" if wrong.any() else "no row has one"
        raise DataError(who, "Fitzpatrick types from 1 to 6, empty where unknown", got, "Correct it.")
    return np.where(told, numbers, 0).astype(np.int64)


def _refuse_settings(
    human: str | None, calibrate: bool, balanced: bool, labeller: str, as_published: bool
) -> None:
    if calibrate and human is None:
        raise SettingsError(
            "Calibration", "types that people gave", "no column is named", "Name it with human (--human)."
        )
    if balanced and not calibrate:
        raise SettingsError(
            "Balancing", "thresholds to fit", "nothing is calibrated", "Add calibrate (--calibrate), or leave it out."
        )  # fmt: skip
    if labeller not in get_args(Labeller):
        raise SettingsError(
            "Skin tone", "the labeller 'border' or 'skin'", f"got {labeller!r}", "Choose one of these."
        )
    if as_published and labeller != "border":
        raise SettingsError(
            "The published rule", "the labeller 'border'", f"got {labeller!r}, which has no other rule",
            "Leave out as_published (--as-published), or take the border.",
        )  # fmt: skip


def _refuse(manifest: Path, out: Path, table: pd.DataFrame) -> None:
    if out.is_dir() or out.resolve() == manifest.resolve() or out.suffix.lower() != ".csv":
        raise DataError(
            "The new manifest", "a CSV file of its own", f"{out} is "
            + ("a folder" if out.is_dir() else "the manifest itself" if out.suffix.lower() == ".csv" else "none"),
            "Choose another name: what is there is never changed.",
        )  # fmt: skip
    taken = [column for column in (ANGLE, TYPE) if column in table.columns]
    if taken:
        raise DataError(
            f"The manifest {manifest}", "no column of these names", f"it has {', '.join(taken)}",
            "Rename or remove it, or use what is there.",
        )  # fmt: skip


def _write(table: pd.DataFrame, manifest: Path, root: Path, out: Path) -> None:
    moved = {
        column: list(_from_there(table[column], root, out.parent))
        for column in PATHS
        if column in table.columns and root.resolve() != out.parent.resolve()
    }
    with written_whole(out) as temporary:
        table.assign(**moved).to_csv(temporary, index=False)
    sidecar = manifest / "medgraft.toml" if manifest.is_dir() else manifest.with_suffix(".toml")
    if sidecar.is_file():
        with written_whole(out.with_suffix(".toml")) as temporary:
            shutil.copyfile(sidecar, temporary)


def _from_there(cells: pd.Series, root: Path, folder: Path) -> Iterator[str]:
    for cell in cells:
        yield (
            os.path.relpath(root / str(cell), folder) if cell and not Path(str(cell)).is_absolute() else cell
        )
