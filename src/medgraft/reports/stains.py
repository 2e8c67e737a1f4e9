"""How laboratories differ in stain: colours by site, tiles under normalisers, and overlap in the features of models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from medgraft.errors import DataError
from medgraft.evidence import Evidence
from medgraft.reports.charts import ACCENT, COLOURS, INK, MUTED, STAND_INS, Chart, make_figure, to_svg
from medgraft.reports.grids.charts import MARKERS, Key
from medgraft.reports.pictures import STAIN_GALLERY, data_uri
from medgraft.reports.planes import Dots, draw_plane
from medgraft.reports.wording import counted, describe_score, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPREAD, FEATURES, OVERLAP = "stain_spread", "stain_features", "stain_overlap"
OF_ONE = ["cohort", "reference", "seed"]
COLUMNS = {
    SPREAD: {
        *OF_ONE, "site", "tiles", "hue_mean", "hue_sd", "saturation_mean", "saturation_sd", "value_mean",
        "value_sd", "lab_distance",
    },
    STAIN_GALLERY: {*OF_ONE, "site", "normaliser", "changed", "image"},
    FEATURES: {*OF_ONE, "subject", "site", "label", "x", "y"},
    OVERLAP: {*OF_ONE, "subject", "site", "balanced_accuracy", "overlap", "class_agreement", "reason"},
}  # fmt: skip
SITE_COLOURS = (*COLOURS, "#8C6D46", "#7A6FD0")
"""Of laboratories besides the reference, which is drawn in ink; any further ones are grey."""
NUMBERS = ("overlap", "class_agreement")
SCORES = ("balanced_accuracy", "auroc")
"""Scores by site that stand beside the overlap."""
LETTER = 0.068
"""Inches that a letter beside a chart may take."""
LONGEST = 22
"""Letters of a laboratory's name in a chart."""


class Tile(NamedTuple):
    """A picture of the gallery, by which normaliser, and what is to be said of it."""

    picture: str
    normaliser: str
    note: str


class StainGallery(NamedTuple):
    """Columns, and a row of pictures for each laboratory; None where one is missing."""

    normalisers: list[str]
    rows: list[tuple[str, list[Tile | None]]]


class Plane(NamedTuple):
    """A model's features, and the numbers beside them."""

    chart: Chart
    lines: list[str]


class StainComparison(NamedTuple):
    """Everything that is told of one cohort and reference."""

    anchor: str
    title: str
    summary: str
    reference: str
    sentences: list[str]
    charts: list[Chart]
    headings: list[str]
    rows: list[tuple[str, list[str]]]
    gallery: StainGallery | None
    planes: list[Plane]
    sites: list[Key]
    classes: list[Key]
    chance: str
    subjects: list[str]
    overlap_headings: list[str]
    overlap_rows: list[tuple[str, list[str]]]
    reasons: list[str]


def stain_comparisons(evidence: Evidence, *, images: bool = True) -> list[StainComparison]:
    """A section for every cohort whose stains were compared; without pictures if these may not be shown.

    Raises:
        DataError: a table lacks a column.

    Source: Raipuria et al. 2022 (Stain-AgLr), figures 1, 2 and 4.
    """
    tables = {name: _read(evidence, name) for name in COLUMNS}
    keys = list(tables[SPREAD][OF_ONE].drop_duplicates().itertuples(index=False, name=None))
    found = []
    for place, key in enumerate(keys, 1):
        own = {name: _rows_of(table, key) for name, table in tables.items()}
        title = "Laboratories and their stains" + (f": {key[0]} against {key[1]}" if len(keys) > 1 else "")
        anchor = "stains" if place == 1 else f"stains-{place}"
        found.append(_compare(evidence, own, anchor, title, images))
    return found


def stain_numbers(evidence: Evidence) -> dict[str, Any]:
    """Colours of laboratories and their overlap in features as plain data; empty where stains were not compared.

    >>> stain_numbers(Evidence())
    {'stain_spreads': [], 'stain_overlaps': []}
    """
    return {
        f"{name}s": _read(evidence, name)[sorted(COLUMNS[name])].to_dict("records")
        for name in (SPREAD, OVERLAP)
    }


def _read(evidence: Evidence, name: str) -> pd.DataFrame:
    table = evidence.tables.get(name, pd.DataFrame(columns=sorted(COLUMNS[name])))
    missing = sorted(COLUMNS[name] - set(table.columns))
    if missing:
        raise DataError(
            f"The table '{name}'", f"the column '{missing[0]}'", "it has none",
            "Make it with compare_stains.",
        )  # fmt: skip
    return table


def _rows_of(table: pd.DataFrame, key: tuple[Any, ...]) -> pd.DataFrame:
    for name, value in zip(OF_ONE, key, strict=True):
        table = table[table[name] == value]
    return table


def _compare(
    evidence: Evidence, tables: dict[str, pd.DataFrame], anchor: str, title: str, images: bool
) -> StainComparison:
    spread, overlaps = tables[SPREAD], tables[OVERLAP]
    reference = str(spread["reference"].iloc[0])
    sites = [str(site) for site in spread["site"]]
    colours = dict(_colours(sites, reference))
    labels = sorted({str(label) for label in tables[FEATURES]["label"]} - {""})
    classes = [
        Key(label, STAND_INS[MUTED], 0, MARKERS[index % len(MARKERS)]) for index, label in enumerate(labels)
    ]
    subjects = list(dict.fromkeys(overlaps["subject"].astype(str)))
    scores = _scores_by_site(evidence, str(spread["cohort"].iloc[0]))
    shown = [name for name in SCORES if (scores["metric"] == name).any()]
    return StainComparison(
        anchor=anchor,
        title=title,
        summary=f"{spread['cohort'].iloc[0]} · {len(sites)} laboratories"
        f" · {counted(int(spread['tiles'].sum()), 'tile')} looked at",
        reference=reference,
        sentences=_sentences(spread, overlaps, reference, subjects),
        charts=_spread_charts(spread, reference, f"{anchor} {title}"),
        headings=["hue", "saturation", "value", "distance", "tiles"],
        rows=[(str(row["site"]), _cells(row)) for row in spread.to_dict("records")],
        gallery=_gallery(evidence, tables[STAIN_GALLERY]) if images else None,
        planes=[
            _plane(subject, tables[FEATURES], overlaps, colours, classes, f"{anchor} {title} {subject}")
            for subject in subjects
        ],
        sites=[Key(site, STAND_INS.get(colour, colour), 0, "o") for site, colour in colours.items()],
        classes=classes,
        chance=number(1 / len(labels), 2) if len(labels) > 1 else "",
        subjects=subjects,
        overlap_headings=["overlap", "class agreement", *(describe_score(name).label for name in shown)],
        overlap_rows=[(site, _overlap_cells(overlaps, scores, shown, site, subjects)) for site in sites],
        reasons=list(dict.fromkeys(filter(None, overlaps["reason"].astype(str)))),
    )


def _colours(sites: list[str], reference: str) -> list[tuple[str, str]]:
    others = [site for site in sites if site != reference]
    drawn = [SITE_COLOURS[place] if place < len(SITE_COLOURS) else MUTED for place in range(len(others))]
    return [(reference, INK), *zip(others, drawn, strict=True)]


def _sentences(
    spread: pd.DataFrame, overlaps: pd.DataFrame, reference: str, subjects: list[str]
) -> list[str]:
    others = spread[spread["site"] != reference].sort_values("lab_distance", ascending=False, kind="stable")
    names, away = others["site"].tolist(), [number(value, 1) for value in others["lab_distance"]]
    told = [f"In mean colour {names[0]} differs from {reference} by {away[0]} units of CIELAB."]
    if len(others) > 1:
        told = [
            f"Of {len(others)} laboratories, {names[0]} is farthest from {reference} in mean colour ({away[0]} units "
            f"of CIELAB) and {names[-1]} nearest ({away[-1]})."
        ]
    means = {subject: _means(overlaps, subject, reference) for subject in subjects}
    known = {subject: one for subject, one in means.items() if math.isfinite(one[0])}
    if known:
        words = [f"{number(one[0], 2)} for {subject}" for subject, one in known.items()]
        told.append(
            f"In features, the other laboratories overlap with {reference} by {', then '.join(words)} on average "
            "(0: always told apart, 1: never)."
        )
    agreeing = {subject: one for subject, one in means.items() if math.isfinite(one[1])}
    if agreeing:
        words = [f"{number(one[1], 2)} for {subject}" for subject, one in agreeing.items()]
        told.append(
            f"The share of nearest neighbours there that are of the same class is {', then '.join(words)}."
        )
    whole = [one for one in means.values() if all(map(math.isfinite, one))]
    if len(whole) > 1 and whole[-1][0] > whole[0][0] and whole[-1][1] < whole[0][1]:
        told.append("The laboratories came together and the classes did not: such overlap is no gain.")
    return told


def _means(overlaps: pd.DataFrame, subject: str, reference: str) -> tuple[float, float]:
    """Mean overlap and class agreement over the other laboratories; NaN where one is undefined everywhere."""
    own = overlaps[(overlaps["subject"] == subject) & (overlaps["site"] != reference)]
    return float(own["overlap"].mean()), float(own["class_agreement"].mean())


def _cells(row: dict[Any, Any]) -> list[str]:
    hue = "–" if math.isnan(row["hue_mean"]) else f"{row['hue_mean']:.0f}° ± {row['hue_sd']:.0f}°"
    pairs = [
        f"{number(row[f'{name}_mean'], 2)} ± {number(row[f'{name}_sd'], 2)}"
        for name in ("saturation", "value")
    ]
    return [hue, *pairs, number(row["lab_distance"], 1), f"{row['tiles']:,}"]


def _scores_by_site(evidence: Evidence, cohort: str) -> pd.DataFrame:
    table = evidence.tables.get("subgroups")
    if table is None:
        return pd.DataFrame(columns=["subject", "group", "metric", "value"])
    return table[(table["cohort"] == cohort) & (table["attribute"] == "site")]


def _overlap_cells(
    overlaps: pd.DataFrame, scores: pd.DataFrame, shown: list[str], site: str, subjects: list[str]
) -> list[str]:
    """Of every subject in turn: overlap, class agreement, and the mean over seeds of each score that is shown."""
    cells = []
    for subject in subjects:
        own = overlaps[(overlaps["subject"] == subject) & (overlaps["site"] == site)]
        scored = scores[(scores["subject"] == subject) & (scores["group"] == site)]
        values = [own[name].mean() for name in NUMBERS]
        values += [scored.loc[scored["metric"] == name, "value"].mean() for name in shown]
        cells += ["–" if math.isnan(value) else number(value, 2) for value in map(float, values)]
    return cells


def _spread_charts(spread: pd.DataFrame, reference: str, salt: str) -> list[Chart]:
    """Mean and standard deviation of hue, saturation and value, a line for each laboratory."""
    charts = []
    for name, unit in (("hue", "degrees"), ("saturation", "0 to 1"), ("value", "0 to 1")):
        means, sds = (spread[f"{name}_{what}"].to_numpy(np.float64) for what in ("mean", "sd"))
        places = _unrolled(means, spread["site"].to_numpy() == reference) if name == "hue" else means
        names = [_short(str(site)) for site in spread["site"]]
        figure, (axis,) = make_figure(1, height=0.75 + 0.2 * len(names))
        figure.subplots_adjust(left=(LETTER * max(map(len, names)) + 0.15) / figure.get_figwidth())
        rows = np.arange(len(names))
        axis.errorbar(
            places, rows, xerr=sds, fmt="o", color=ACCENT, ecolor=ACCENT, elinewidth=1.4, markersize=5, capsize=0
        )  # fmt: skip
        axis.set_yticks(rows, names)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_xlabel(f"{name} ({unit})")
        if name == "hue":
            _turn(axis)
        told = "; ".join(
            f"{site} {number(mean, 2)} ± {number(sd, 2)}"
            for site, mean, sd in zip(spread["site"], means, sds, strict=True)
        )
        charts.append(
            Chart(
                name.capitalize(),
                to_svg(figure, "stain", f"{salt} {name}"),
                f"Mean {name} by laboratory: {told}.",
            )
        )
    return charts


def _unrolled(hues: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Hues less than half a turn from the reference's, so that 359 and 1 degrees are neighbours in a chart.

    >>> _unrolled(np.array([350.0, 10.0]), np.array([True, False])).tolist()
    [350.0, 370.0]
    """
    known = hues[np.isfinite(hues)]
    middle = float(hues[at][0]) if np.isfinite(hues[at]).all() else float(known[0]) if len(known) else 0.0
    return np.asarray(middle + (hues - middle + 180) % 360 - 180)


def _turn(axis: Axes) -> None:
    """Whole degrees from 0 to 359 under an axis that may go on beyond."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{place % 360:.0f}"))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _gallery(evidence: Evidence, table: pd.DataFrame) -> StainGallery | None:
    table = table[table["image"].isin(list(evidence.images))]
    if table.empty:
        return None
    normalisers = list(dict.fromkeys(table["normaliser"].astype(str)))
    rows = []
    for site, own in table.groupby("site", sort=False):
        known = {str(row["normaliser"]): row for row in own.to_dict("records")}
        tiles = [
            _tile(evidence, known[name], name, normalisers[0]) if name in known else None
            for name in normalisers
        ]
        rows.append((str(site), tiles))
    return StainGallery(normalisers, rows)


def _tile(evidence: Evidence, row: dict[Any, Any], name: str, untouched: str) -> Tile:
    note = "" if bool(row["changed"]) or name == untouched else "too little tissue: as it is"
    return Tile(data_uri(evidence.images[str(row["image"])]), name, note)


def _plane(
    subject: str,
    features: pd.DataFrame,
    overlaps: pd.DataFrame,
    colours: dict[str, str],
    classes: list[Key],
    salt: str,
) -> Plane:
    own = features[features["subject"] == subject]
    markers = {key.name: key.marker for key in classes}
    dots = []
    for site, colour in reversed(colours.items()):  # the reference on top
        for label, of_class in own[own["site"] == site].groupby("label"):
            places = (of_class[axis].to_numpy(np.float64) for axis in ("x", "y"))
            dots.append(Dots(Key(site, colour, 0, markers.get(str(label), "o")), *places))
    reference = next(iter(colours))
    overlap, agreement = _means(overlaps, subject, reference)
    lines = [
        f"{what} {'–' if math.isnan(value) else number(value, 2)}"
        for what, value in (("mean overlap", overlap), ("class agreement", agreement))
        if what == "mean overlap" or classes
    ]
    described = f"Features of {subject}: {len(own)} tiles, coloured by laboratory. {', '.join(lines)}."
    figure = draw_plane(dots, unit_square=True)
    return Plane(Chart(subject, to_svg(figure, "stains", salt), described), lines)
