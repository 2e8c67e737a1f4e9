"""A method run with several values of one setting: does it matter which?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medgraft.evidence import Evidence
from medgraft.reports.charts import ACCENT, MUTED, Chart, make_figure, to_svg
from medgraft.reports.grids.gains import gains, scores_of_subjects
from medgraft.reports.grids.grid import Grid
from medgraft.reports.panels import Panel
from medgraft.reports.wording import describe_score, number, signed

FEWEST = 3
"""Values that make a curve."""
SPOKEN = {"source.train.patients": "patients that the source was trained on"}


class Sweep(NamedTuple):
    """Subjects of a grid that differ in one number only, in ascending order of it.

    setting: its dotted name. methods: name and value.
    """

    method: str
    setting: str
    methods: list[tuple[str, float]]


def find_sweeps(methods: Mapping[str, Any], sources: Mapping[str, Any] | None = None) -> list[Sweep]:
    """Methods of a grid that are the same but for one number, in their settings or in those of the source they name.

    Args:
        methods: of the grid's file: name to method and settings.
        sources: of the grid's file: name to model and training.

    >>> betas = {f"f{beta}": {"method": "fourier", "settings": {"beta": beta}} for beta in (0.02, 0.01, 0.03)}
    >>> find_sweeps(betas | {"AdaBN": {"method": "ada_bn"}})
    [Sweep(method='fourier', setting='beta', methods=[('f0.01', 0.01), ('f0.02', 0.02), ('f0.03', 0.03)])]
    """
    groups: dict[tuple[str, str, str], list[tuple[str, float]]] = {}
    for name, told in methods.items():
        settings = _flat(told.get("settings") or {})
        if told.get("source"):
            settings |= _flat((sources or {}).get(told["source"], {"name": told["source"]}), "source.")
        for key, value in settings.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                others = {other: settings[other] for other in sorted(settings) if other != key}
                rest = repr([others, told.get("search"), told.get("select")])
                groups.setdefault((str(told["method"]), key, rest), []).append((name, float(value)))
    return [
        Sweep(method, key, sorted(found, key=lambda one: one[1]))
        for (method, key, _), found in groups.items()
        if len({value for _, value in found}) >= FEWEST
    ]


def sweep_charts(evidence: Evidence, grid: Grid, panels: Sequence[Panel]) -> list[Chart]:
    """Mean over pairs of source and target against the value, and a pale line for each pair.

    Of what: the gain over no adaptation; the score itself where the sources cannot predict as they are.

    One chart for each sweep and label budget; values that lack a pair are left out.
    """
    methods: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    for entry in evidence.provenance:
        if entry.get("what") == "benchmark":
            methods |= entry["grid"]["methods"]
            sources |= entry["grid"].get("sources", {})
    found = find_sweeps(methods, sources)
    if not found:
        return []
    gained = [(one.method, (one.source, one.source_cohort, one.cohort), one.labels, one.gain)
              for one in gains(evidence, grid, panels)]  # fmt: skip
    every = [_Point(*one) for one in gained or scores_of_subjects(grid, panels)]
    label = describe_score(next(panel.main for panel in panels if grid.is_target(panel))).label
    charts = []
    for sweep in found:
        known = [one for one in every if one.method in dict(sweep.methods)]
        for labels in dict.fromkeys(one.labels.split(",")[0] for one in known):
            own = [one for one in known if one.labels.split(",")[0] == labels]
            charts += _draw(sweep, own, labels, label, bool(gained))
    return charts


class _Point(NamedTuple):
    """A method on a pair of source and target (source, what it was trained on, target)."""

    method: str
    pair: tuple[str, str, str]
    labels: str
    value: float


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return flat


def _draw(sweep: Sweep, own: Sequence[_Point], labels: str, label: str, is_gain: bool) -> list[Chart]:
    pairs = dict.fromkeys(one.pair for one in own)
    at = {(one.method, one.pair): one.value for one in own}
    whole = [(name, value) for name, value in sweep.methods if all((name, pair) in at for pair in pairs)]
    if len(whole) < FEWEST:
        return []
    values = [value for _, value in whole]
    lines = [[at[name, pair] for name, _ in whole] for pair in pairs]
    means = [sum(of_value) / len(of_value) for of_value in zip(*lines, strict=True)]
    figure, (axis,) = make_figure(1, height=2.6)
    if is_gain:
        axis.axhline(0, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    for line in lines if len(lines) > 1 else []:
        axis.plot(values, line, color=MUTED, linewidth=0.8, alpha=0.55)
    axis.plot(values, means, color=ACCENT, linewidth=1.6, marker="o", markersize=4.5)
    axis.set_xticks(values, [f"{value:g}" for value in values])
    setting = SPOKEN.get(sweep.setting, sweep.setting)
    axis.set_xlabel(setting)
    axis.set_ylabel(f"gain in {label}" if is_gain else label)
    axis.margins(x=0.04)
    caption = f"{sweep.method} by {setting}, {labels}"
    shown = [signed(mean) if is_gain else number(mean) for mean in means]
    told = ", ".join(f"{value:g}: {text}" for value, text in zip(values, shown, strict=True))
    what = "Gain" if is_gain else f"{label[0].upper()}{label[1:]}"
    return [
        Chart(
            f"{caption}: means differ by at most {number(max(means) - min(means))}",
            to_svg(figure, "sweep", caption),
            f"{what} of {caption}, mean over pairs of source and target: {told}.",
        )
    ]
