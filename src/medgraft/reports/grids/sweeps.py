"""A method run with several values of one setting: does it matter which?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medgraft.evidence import Evidence
from medgraft.reports.charts import ACCENT, MUTED, Chart, make_figure, to_svg
from medgraft.reports.grids.gains import Gain, gains
from medgraft.reports.grids.grid import Grid
from medgraft.reports.panels import Panel
from medgraft.reports.wording import describe_score, number, signed

FEWEST = 3
"""Values that make a curve."""


class Sweep(NamedTuple):
    """Subjects of a grid that differ in one number only, in ascending order of it.

    setting: its dotted name. methods: name and value.
    """

    method: str
    setting: str
    methods: list[tuple[str, float]]


def find_sweeps(methods: Mapping[str, Any]) -> list[Sweep]:
    """Methods of a grid whose settings are the same but for one number.

    Args:
        methods: of the grid's file: name to method and settings.

    >>> betas = {f"f{beta}": {"method": "fourier", "settings": {"beta": beta}} for beta in (0.02, 0.01, 0.03)}
    >>> find_sweeps(betas | {"AdaBN": {"method": "ada_bn"}})
    [Sweep(method='fourier', setting='beta', methods=[('f0.01', 0.01), ('f0.02', 0.02), ('f0.03', 0.03)])]
    """
    groups: dict[tuple[str, str, str], list[tuple[str, float]]] = {}
    for name, told in methods.items():
        settings = _flat(told.get("settings") or {})
        for key, value in settings.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                others = {other: settings[other] for other in sorted(settings) if other != key}
                rest = repr([others, told.get("search"), told.get("source"), told.get("select")])
                groups.setdefault((str(told["method"]), key, rest), []).append((name, float(value)))
    return [
        Sweep(method, key, sorted(found, key=lambda one: one[1]))
        for (method, key, _), found in groups.items()
        if len({value for _, value in found}) >= FEWEST
    ]


def sweep_charts(evidence: Evidence, grid: Grid, panels: Sequence[Panel]) -> list[Chart]:
    """Mean gain over no adaptation against the value, and a pale line for each pair of source and target.

    One chart for each sweep and label budget; values that lack a pair are left out.
    """
    methods: dict[str, Any] = {}
    for entry in evidence.provenance:
        if entry.get("what") == "benchmark":
            methods |= entry["grid"]["methods"]
    found = find_sweeps(methods)
    if not found:
        return []
    every = gains(evidence, grid, panels)
    metric = next(panel.main for panel in panels if grid.is_target(panel))
    charts = []
    for sweep in found:
        known = [one for one in every if one.method in dict(sweep.methods)]
        for labels in dict.fromkeys(one.labels.split(",")[0] for one in known):
            own = [one for one in known if one.labels.split(",")[0] == labels]
            charts += _draw(sweep, own, labels, describe_score(metric).label)
    return charts


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return flat


def _draw(sweep: Sweep, own: Sequence[Gain], labels: str, label: str) -> list[Chart]:
    pairs = dict.fromkeys((one.source, one.source_cohort, one.cohort) for one in own)
    at = {(one.method, one.source, one.source_cohort, one.cohort): one.gain for one in own}
    whole = [(name, value) for name, value in sweep.methods if all((name, *pair) in at for pair in pairs)]
    if len(whole) < FEWEST:
        return []
    values = [value for _, value in whole]
    lines = [[at[name, *pair] for name, _ in whole] for pair in pairs]
    means = [sum(of_value) / len(of_value) for of_value in zip(*lines, strict=True)]
    figure, (axis,) = make_figure(1, height=2.6)
    axis.axhline(0, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    for line in lines if len(lines) > 1 else []:
        axis.plot(values, line, color=MUTED, linewidth=0.8, alpha=0.55)
    axis.plot(values, means, color=ACCENT, linewidth=1.6, marker="o", markersize=4.5)
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.set_xlabel(sweep.setting)
    axis.set_ylabel(f"gain in {label}")
    axis.margins(x=0.04)
    caption = f"{sweep.method} by {sweep.setting}, {labels}"
    told = ", ".join(f"{value:g}: {signed(mean)}" for value, mean in zip(values, means, strict=True))
    spread = number(max(means) - min(means))
    return [
        Chart(
            f"{caption}: means differ by at most {spread}",
            to_svg(figure, "sweep", caption),
            f"Gain of {caption}, mean over pairs of source and target: {told}.",
        )
    ]
