"""Who is it worse for? What an audit of attributes measured, in words, tables and charts; never the gap alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from medgraft.evidence import Evidence
from medgraft.reports.charts import (
    DASHES,
    MUTED,
    Chart,
    Point,
    colour_of,
    dash_of,
    make_figure,
    roc_chart,
    to_svg,
)
from medgraft.reports.comparison import Cell, Table
from medgraft.reports.panels import Panel
from medgraft.reports.predictions import mean_roc, read_outcome
from medgraft.reports.subgroups import mean_cell
from medgraft.reports.wording import counted, describe_score, listed, number, signed

PARTS = {
    "all": "all", "conflicting": "against training", "aligned": "with training", "worst": "worst group", "gap": "gap",
    "gap_by_chance": "gap by chance",
}  # fmt: skip
COMPARED = {
    "all": "for all", "conflicting": "against training", "worst": "in the worst group", "gap": "in the gap"
}  # fmt: skip
"""Parts of which a sentence tells what differs between models."""
METRICS = ("auroc", "balanced_accuracy")
MOST_ROCS = 6
"""Groups with a ROC chart each."""
WEAK = 0.1
"""Cramér's V below which class and attribute hardly go together."""
PROBES = {"linear": "linear", "neighbours": "nearest neighbours"}


class BiasView(NamedTuple):
    """What is told of one attribute.

    sentences: of every subject; changes: of each beside the first one.
    tables: scores of parts; groups: their intervals in a chart, one per score.
    first, differences: scores of parts minus those of the first model, where patients were resampled for both.
    probes: of frozen features, those of models beside last.
    """

    attribute: str
    sentences: list[str]
    changes: list[str]
    training: str
    tables: list[tuple[str, Table]]
    first: str
    differences: list[tuple[str, Table]]
    groups: list[Chart]
    legend: list[tuple[str, str, int]]
    left_out: list[str]
    rocs: list[Chart]
    probes: Table | None
    probe_words: str


class Reader(NamedTuple):
    """What one person said, over all images: shares with their intervals."""

    name: str
    about: str
    images: int
    sensitivity: Cell
    specificity: Cell


def bias_views(evidence: Evidence, panel: Panel, salt: str) -> list[BiasView]:
    """One view per attribute that was audited on the rows of a panel."""
    table = _rows(evidence, "bias", panel)
    if table.empty:
        return []
    return [
        _view(evidence, panel, str(name), own, salt) for name, own in table.groupby("attribute", sort=False)
    ]


def audit_scores(
    evidence: Evidence, panel: Panel, subject: str
) -> Iterator[tuple[tuple[str, str, str], str, Cell]]:
    """Every number of a subject's audits: attribute, part and group, the score's name, the numbers.

    Part and group are as in the table "bias"; the worst group's name is left out, as it may differ between seeds.
    """
    table = _rows(evidence, "bias", panel)
    if table.empty:
        return
    own = table[table["subject"] == subject].copy()
    own.loc[own["part"] == "worst", "group"] = ""
    for (attribute, part, group, metric), rows in own.groupby(
        ["attribute", "part", "group", "metric"], sort=False
    ):
        cell = mean_cell(rows)
        if cell is not None:
            yield (str(attribute), str(part), str(group)), str(metric), cell


def audit_differences(evidence: Evidence, panel: Panel, subject: str) -> list[dict[Any, Any]]:
    """What differs between a subject's audits and those of the first model, with its intervals; none of that model."""
    table = _rows(evidence, "bias_comparisons", panel)
    if table.empty:
        return []
    own: list[dict[Any, Any]] = table[table["subject"] == subject].to_dict("records")
    return own


def readers_shown(evidence: Evidence, panel: Panel) -> list[Reader]:
    """What people said of the same images."""
    table = _rows(evidence, "readers", panel)
    if table.empty:
        return []
    several = table["index"].nunique() > 1
    return [
        Reader(
            str(line["reader"]),
            str(line["class"]) if several else "",
            int(line["images"]),
            *(_share(line, name) for name in ("sensitivity", "specificity")),
        )
        for line in table[table["attribute"] == ""].to_dict("records")
    ]


def reader_points(
    evidence: Evidence, panel: Panel, index: int, attribute: str = "", group: str = ""
) -> list[Point]:
    """Where people stand in a ROC chart of a class, over all images or in a group."""
    table = _rows(evidence, "readers", panel)
    if table.empty:
        return []
    own = table[(table["index"] == index) & (table["attribute"] == attribute) & (table["group"] == group)]
    own = own.dropna(subset=["sensitivity", "specificity"])
    return [
        Point(1 - false, true) for false, true in zip(own["specificity"], own["sensitivity"], strict=True)
    ]


def _rows(evidence: Evidence, name: str, panel: Panel) -> pd.DataFrame:
    table = evidence.tables.get(name)
    if table is None:
        return pd.DataFrame()
    return table[(table["cohort"] == panel.cohort) & (table["split"] == panel.split)]


def _view(evidence: Evidence, panel: Panel, attribute: str, rows: pd.DataFrame, salt: str) -> BiasView:
    measured = set(rows["subject"])
    subjects = [name for name in panel.subjects if name in measured]  # so that colours are those of the page
    differences = _rows(evidence, "bias_comparisons", panel)
    if len(differences):
        differences = differences[differences["attribute"] == attribute]
    first = str((rows["subject"] if differences.empty else differences["reference"]).iloc[0])
    salt, of_groups = f"{salt} {attribute}", rows[rows["part"] == "group"]
    return BiasView(
        attribute,
        [_sentence(rows, name, len(subjects) > 1) for name in subjects],
        [_change(rows, differences, name, first) for name in subjects if name != first],
        _training(rows, attribute),
        [(describe_score(metric).label, _table(rows, metric, subjects)) for metric in METRICS],
        first,
        [
            (describe_score(metric).label, _difference_table(differences, metric, subjects))
            for metric in METRICS
            if len(differences) and (differences["metric"] == metric).any()
        ],
        [
            _group_chart(groups, str(metric), subjects, salt)
            for metric, groups in of_groups.groupby("metric", sort=False)
        ],
        [(name, colour_of(place), dash_of(place)) for place, name in enumerate(subjects)],
        _left_out(rows),
        _rocs(evidence, panel, attribute, rows, subjects, salt),
        *_probes(_rows(evidence, "bias_probes", panel), attribute, subjects),
    )


def _cell(rows: pd.DataFrame, subject: str, part: str, metric: str) -> Cell | None:
    return mean_cell(rows[(rows["subject"] == subject) & (rows["part"] == part) & (rows["metric"] == metric)])


def _sentence(rows: pd.DataFrame, subject: str, several: bool) -> str:
    """All, the cases that go against the training data, the worst group and the gap, in this order."""
    cells = {part: _cell(rows, subject, part, "auroc") for part in PARTS}
    told = [f"{_shown(cells['all'])} for all"]
    if cells["conflicting"] is not None:
        told.append(
            f"{_shown(cells['conflicting'])} where attribute and label go against what it was trained on, "
            f"{_shown(cells['aligned'])} where they go with it"
        )
    sentence = f"{subject + ': ' if several else ''}AUROC is {', '.join(told)}"
    if cells["worst"] is None:
        return f"{sentence}; no two groups can be compared."
    return (
        f"{sentence}; worst group: {_worst(rows, subject)}, {_with_interval(cells['worst'])}; "
        f"gap between the best and the worst group: {_with_interval(cells['gap'])}{_by_chance(cells)}."
    )


def _by_chance(cells: Mapping[str, Cell | None]) -> str:
    """What the gap would be without any difference between groups."""
    if cells["gap_by_chance"] is None:
        return ""
    return f"; by chance alone it would be {_with_interval(cells['gap_by_chance'])}"


def _change(rows: pd.DataFrame, differences: pd.DataFrame, subject: str, first: str) -> str:
    """What differs from the first subject, what of it is beyond chance, and whether a smaller gap is only damage."""
    told, by = [], {}
    for part, words in COMPARED.items():
        own, other = (_cell(rows, name, part, "auroc") for name in (subject, first))
        if own is not None and other is not None:
            by[part] = own.value - other.value
            told.append(f"{signed(by[part], 2)} {words}")
    sentence = f"{subject}, beside {first}: AUROC {listed(told)}.{_beyond_chance(differences, subject)}"
    if by.get("gap", 0) < 0 and by.get("worst", 0) <= 0:
        sentence += (
            " The gap is smaller only because better groups became worse: by these numbers that is damage."
        )
    return sentence


def _beyond_chance(differences: pd.DataFrame, subject: str) -> str:
    """Which differences have an interval without 0; empty where none has an interval."""
    if differences.empty:
        return ""
    asked = differences["part"].isin(list(COMPARED)) & differences["low"].notna()
    own = differences[(differences["subject"] == subject) & (differences["metric"] == "auroc") & asked]
    if own.empty:
        return ""
    apart = own[(own["low"] > 0) | (own["high"] < 0)]
    if apart.empty:
        return " Every interval of these differences holds 0: they may be chance."
    rest = "; the others hold 0" if len(apart) < len(own) else ""
    return f" Intervals without 0: {listed([COMPARED[part] for part in apart['part']])}{rest}."


def _training(rows: pd.DataFrame, attribute: str) -> str:
    """How strongly class and attribute go together in the training data."""
    found = rows[rows["part"] == "association"].drop_duplicates(["group", "value"])
    if found.empty:
        return (
            "Training data were not named, so it is not known which cases go against what the model was trained on: "
            "a shortcut may hide in the scores of all."
        )
    told = [
        f"{number(float(line['value']), 2)}{' for ' + str(line['group']) if line['group'] else ''}"
        for line in found.to_dict("records")
    ]
    sentence = (
        f"In the training data {attribute} and label go together with a Cramér's V of {listed(told)} "
        "(0: not at all, 1: one tells the other)."
    )
    if not (found["value"] >= WEAK).any():
        sentence += " That is hardly at all: cases against and with training then differ by chance."
    return sentence


def _table(rows: pd.DataFrame, metric: str, subjects: Sequence[str]) -> Table:
    parts = [part for part in PARTS if (rows["part"] == part).any()]
    cells = [(name, [_cell(rows, name, part, metric) for part in parts]) for name in subjects]
    return Table([PARTS[part] for part in parts], cells)


def _difference_table(differences: pd.DataFrame, metric: str, subjects: Sequence[str]) -> Table:
    own = differences[differences["metric"] == metric].rename(columns={"difference": "value"})
    return _table(own, metric, [name for name in subjects if (own["subject"] == name).any()])


def _left_out(rows: pd.DataFrame) -> list[str]:
    """Groups that cannot be the worst, and why."""
    own = rows[(rows["part"] == "group") & (rows["reason"] != "")]
    return list(dict.fromkeys(f"{line['group']} ({line['reason']})" for line in own.to_dict("records")))


def _group_chart(own: pd.DataFrame, metric: str, subjects: Sequence[str], salt: str) -> Chart:
    """Every group's score and interval, a line per group and a colour per subject."""
    groups = list(dict.fromkeys(own["group"]))
    step = 0.24 + 0.13 * len(subjects)
    figure, (axis,) = make_figure(1, height=0.55 + step * len(groups))
    figure.subplots_adjust(left=0.32)
    told = []
    for place, name in enumerate(subjects):
        for height, group in enumerate(groups):
            cell = mean_cell(own[(own["subject"] == name) & (own["group"] == group)])
            if cell is None:
                continue
            at = height + (place - (len(subjects) - 1) / 2) * 0.7 / len(subjects)
            if math.isfinite(cell.low):
                axis.plot([cell.low, cell.high], [at, at], color=colour_of(place), linewidth=1.4,
                          linestyle=DASHES[dash_of(place)])  # fmt: skip
            axis.plot(cell.value, at, "o", color=colour_of(place), markersize=4.5, markeredgewidth=0)
            told.append(f"{name}, {group}: {number(cell.value)}")
    axis.axvline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    sizes = {group: int(own.loc[own["group"] == group, "n"].max()) for group in groups}
    axis.set(
        xlim=(-0.02, 1.02), xticks=[0, 0.5, 1], ylim=(len(groups) - 0.5, -0.5), yticks=range(len(groups))
    )
    axis.set_yticklabels([f"{_short(group)} ({sizes[group]})" for group in groups])
    label = describe_score(metric).label
    described = f"{label} of every group: {', '.join(told)}."
    return Chart(label[0].upper() + label[1:], to_svg(figure, "groups", f"{salt} {metric}"), described)


def _rocs(
    evidence: Evidence, panel: Panel, attribute: str, rows: pd.DataFrame, subjects: Sequence[str], salt: str
) -> list[Chart]:
    """A ROC chart per group of two classes, where there are few groups, with what readers said of them."""
    members = _rows(evidence, "bias_groups", panel)
    own = rows[(rows["part"] == "group") & rows["value"].notna()]
    groups = list(dict.fromkeys(own["group"]))
    if members.empty or len(groups) > MOST_ROCS:
        return []
    charts = []
    for group in groups:
        inside = members[(members["attribute"] == attribute) & (members["group"] == group)]["row"]
        curves = [_mean_curve(panel.predictions.get(name, {}), set(inside)) for name in subjects]
        if any(curve is not None for curve in curves):
            points = reader_points(evidence, panel, 1, attribute, group)
            caption = f"{attribute} {group}, {counted(inside.nunique(), 'image')}"
            charts.append(roc_chart(caption, curves, f"{salt} {group}", points))
    return charts


def _mean_curve(tables: dict[int, pd.DataFrame], rows: set[int]) -> np.ndarray | None:
    read = [read_outcome(table[table["row"].isin(rows)]) for table in tables.values()]
    fitting = [one for one in read if one is not None and one.exclusive and one.truth.shape[1] == 2]
    return mean_roc(fitting, 1)


def _probes(table: pd.DataFrame, attribute: str, subjects: Sequence[str]) -> tuple[Table | None, str]:
    """The fresh probes of all models, and what they prove."""
    if table.empty:
        return None, ""
    own = table[table["attribute"] == attribute]
    beside = list(dict.fromkeys(own.loc[own["beside"].astype(bool), "subject"]))
    columns = [(probe, metric) for probe in PROBES for metric in METRICS]
    cells = []
    for name in dict.fromkeys([*subjects, *beside]):
        of_model = own[own["subject"] == name]
        cells.append(
            (
                f"{name} (beside)" if name in beside and name not in subjects else name,
                [
                    mean_cell(of_model[(of_model["probe"] == probe) & (of_model["metric"] == metric)])
                    for probe, metric in columns
                ],
            )
        )
    words = (
        f"How well {attribute} can be told from the frozen features of each model by a fresh classifier, of patients "
        "that it did not learn from. Alone this proves nothing: a linear probe reads such an attribute from almost any "
        "features, those of models trained without the bias included. "
    )
    if beside:
        words += f"Only what differs from {listed(beside)}, trained without it, says something of the others."
    else:
        words += "No unbiased model stands beside, so these numbers do not tell what the model goes by."
    if reasons := sorted(set(own["reason"]) - {""}):
        words += f" Undefined: {'; '.join(reasons)}."
    headings = [f"{PROBES[probe]}, {describe_score(metric).label}" for probe, metric in columns]
    return Table(headings, cells), words


def _worst(rows: pd.DataFrame, subject: str) -> str:
    """Its name; of several seeds those that were it."""
    own = rows[(rows["subject"] == subject) & (rows["part"] == "worst") & (rows["metric"] == "auroc")]
    return f"{rows['attribute'].iloc[0]} {' or '.join(dict.fromkeys(own['group'].astype(str)))}"


def _share(line: Mapping[Any, Any], name: str) -> Cell:
    value, low, high = (float(line[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return Cell(value, low, high, math.nan, (value,), digits=2)


def _shown(cell: Cell | None) -> str:
    return "undefined" if cell is None else number(cell.value, 2)


def _with_interval(cell: Cell | None) -> str:
    if cell is None:
        return "undefined"
    interval = cell._replace(digits=2).interval
    return f"{number(cell.value, 2)} ({interval})" if interval else number(cell.value, 2)


def _short(group: str) -> str:
    return group if len(group) <= 14 else f"{group[:13]}…"
