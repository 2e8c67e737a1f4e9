"""What differs between sites or splits though it should not: labels, spacings, sizes, orientations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from medgraft.data.checks.files import Look, as_spacing
from medgraft.data.checks.problem import Checked, Problem
from medgraft.data.checks.table import Shown
from medgraft.data.label_rates import compare_label_rates

TOLERATED = 1.1
"""Factor by which spacings and sizes may differ before it is told."""


def check_label_rates(checked: Checked, shown: Mapping[str, Shown]) -> Iterator[Problem]:
    """Classes far more or less frequent at a site than elsewhere, and classes that a site lacks."""
    if "site" not in checked.columns or not shown:
        return
    sites, units = checked.cohort.sites, checked.cohort.patients
    noun = "patients" if "patient" in checked.columns else "images"
    for site in sorted(set(sites)):
        here = sites == site
        lacking = [
            f"'{name}'"
            for name, one in shown.items()
            if one.known[here].any() and not one.rows[here].any() and one.rows[~here].any()
        ]
        if lacking:
            what = f"Site '{site}' has no {noun} with {', '.join(lacking)}, other sites do"
            yield checked.of_table(
                f"{what}: a model can learn the site instead, and there is nothing to score there."
            )
    for rate in compare_label_rates(
        {name: one.rows for name, one in shown.items()},
        {name: one.known for name, one in shown.items()},
        sites,
        units,
    ):
        if 0 in (rate.here, rate.elsewhere):
            continue  # sites that lack the class are told above
        here, elsewhere = rate.here / rate.here_of, rate.elsewhere / rate.elsewhere_of
        counts = f"{rate.here} of {rate.here_of} {noun}, elsewhere {rate.elsewhere} of {rate.elsewhere_of}"
        yield checked.of_table(
            f"Site '{rate.site}' shows '{rate.name}' in {here:.0%} of its {noun}, elsewhere it is {elsewhere:.0%} "
            f"({counts}): a model can learn the site instead; train and test within a site, or balance the sites."
        )


def check_geometry(checked: Checked, looks: Sequence[Look]) -> Iterator[Problem]:
    """Mixed spacings, sizes and orientations, volumes among images."""
    read = [position for position, look in enumerate(looks) if look.shape is not None]
    volumes = [position for position in read if len(looks[position].shape or ()) == 4]
    if volumes and len(volumes) < len(read):
        yield checked.of_table(
            f"Volumes stand among single images ({len(volumes)} of {len(read)}, the first in row "
            f"{checked.rows[volumes[0]]}): train on one of the two."
        )
    for kind, positions in (("images", [p for p in read if p not in set(volumes)]), ("volumes", volumes)):
        spacings = {p: np.array(looks[p].spacing) for p in positions if looks[p].spacing is not None}
        if 0 < len(spacings) < len(positions):
            silent = next(position for position in positions if position not in spacings)
            yield checked.of_table(
                f"{len(positions) - len(spacings)} of {len(positions)} {kind} do not tell their spacing (the first in "
                f"row {checked.rows[silent]}): millimetres are wrong or unknown there."
            )
        do = "prepare with `spacing`, so that all have one scale"
        yield from _check_numbers(checked, spacings, "spacing", do)
        if not spacings:
            sizes = {p: np.array((looks[p].shape or ())[:-1], float) for p in positions}
            yield from _check_numbers(checked, sizes, "size", "look whether their scale differs too")
    yield from _check_orientations(checked, looks)


def _check_numbers(
    checked: Checked, numbers: Mapping[int, np.ndarray], what: str, do: str
) -> Iterator[Problem]:
    """Spacings or sizes that differ within a site, or on the whole between sites or splits."""
    for site, positions in _by(checked, "site", list(numbers)).items():
        some = np.stack([numbers[position] for position in positions])
        scale = np.exp(np.log(some).mean(1))
        low, high = int(scale.argmin()), int(scale.argmax())
        spread = some.max(0) / some.min(0)
        if what == "spacing" and spread.max() > TOLERATED:
            if scale[high] / scale[low] <= TOLERATED:  # one axis longer, another shorter
                axis = int(spread.argmax())
                low, high = int(some[:, axis].argmin()), int(some[:, axis].argmax())
            where = f"Site '{site}' mixes spacings" if site is not None else "Spacings differ"
            ends = [
                f"{as_spacing(tuple(some[one]))} (row {checked.rows[positions[one]]})" for one in (low, high)
            ]
            yield checked.of_table(f"{where}, from {ends[0]} to {ends[1]}: {do}.")
    for column, noun in (("site", "sites"), ("split", "splits")):
        groups = _by(checked, column, list(numbers))
        if None in groups or len(groups) < 2:
            continue
        middles = {name: np.median([numbers[p] for p in found], axis=0) for name, found in groups.items()}
        stacked = np.stack(list(middles.values()))
        if (stacked.max(0) / stacked.min(0)).max() > TOLERATED:
            told = ", ".join(f"'{name}' {_in_words(middle, what)}" for name, middle in middles.items())
            yield checked.of_table(
                f"The {noun} differ in {what} ({told} in the middle): a model can tell the {noun} apart by it; {do}."
            )
            return  # splits of sites that differ would only say it again


def _in_words(numbers: np.ndarray, what: str) -> str:
    if what == "spacing":
        return as_spacing(tuple(numbers))
    return " x ".join(f"{length:.0f}" for length in numbers) + " pixels"


def _check_orientations(checked: Checked, looks: Sequence[Look]) -> Iterator[Problem]:
    told = [position for position, look in enumerate(looks) if look.orientation is not None]
    for site, positions in _by(checked, "site", told).items():
        counts = Counter(str(looks[position].orientation) for position in positions)
        if len(counts) < 2:
            continue
        rarest = counts.most_common()[-1][0]
        row = next(checked.rows[p] for p in positions if looks[p].orientation == rarest)
        listed = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        where = f"Site '{site}' mixes" if site is not None else "The data mix"
        yield checked.of_table(
            f"{where} orientations of slices ({listed}; the first {rarest} in row {row}): turn them alike or remove "
            "the rarer."
        )
    groups = _by(checked, "site", told)
    usual = {
        site: Counter(str(looks[p].orientation) for p in found).most_common(1)[0][0]
        for site, found in groups.items()
    }
    if len(set(usual.values())) > 1:
        listed = ", ".join(f"'{site}' {name}" for site, name in usual.items())
        yield checked.of_table(
            f"The sites differ in orientation of slices ({listed}): turn them alike, or a model can "
            "learn the site instead."
        )


def _by(checked: Checked, column: str, positions: Sequence[int]) -> dict[str | None, list[int]]:
    """Positions by site or split; all under None where there is no such column."""
    if not positions:
        return {}
    if column not in checked.columns:
        return {None: list(positions)}
    cells = checked.table[column].astype(str).tolist()
    groups: dict[str | None, list[int]] = {}
    for position in positions:
        groups.setdefault(cells[position], []).append(position)
    return dict(sorted(groups.items(), key=lambda item: str(item[0])))
