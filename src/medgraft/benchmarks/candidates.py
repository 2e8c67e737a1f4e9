"""What is compared: a grid's methods with the settings each may try, and the baselines no grid goes without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from medgraft.api.recipe import describe_method
from medgraft.benchmarks.grid import Grid, MethodTable, combinations, over
from medgraft.benchmarks.problems import at, dotted
from medgraft.engine.method import Method, learns_from_images_alone
from medgraft.errors import SettingsError
from medgraft.plugins import resolve_method
from medgraft.types import JSON

Role = Literal["method", "baseline", "upper bound"]
FINE_TUNE = "fine_tune"
FULL, SCRATCH, AS_IT_IS = "full fine-tuning", "from scratch", "no adaptation"


class Candidate(NamedTuple):
    """A method that takes part.

    label: what the grid calls it. where: its place in the file. trials: complete settings, one entry for each to try.
    select: its own selection rule. method: with the first settings, for what it needs. source: the one that it starts
    from, where it has one of its own.
    """

    label: str
    where: str
    role: Role
    name: str
    trials: tuple[JSON, ...]
    select: str | None
    method: Method
    source: str | None = None

    @property
    def sees_truth(self) -> bool:
        """True where target labels are given to it, so that a budget means something."""
        needs = self.method.needs
        return "truth" in needs.target | needs.optional_target

    @property
    def is_full(self) -> bool:
        """True for fine-tuning of everything, which with all labels is the upper bound."""
        return self.role == "baseline" and self.trials[0]["scope"] == "all"


def candidates(grid: Grid) -> tuple[list[Candidate], list[SettingsError]]:
    """Methods in the order of the file, then the baselines that are not among them; and what is wrong with them."""
    found: list[Candidate] = []
    problems: list[SettingsError] = []
    for label, table in grid.methods.items():
        where = dotted("methods", label)
        try:
            found.append(_candidate(grid, label, where, "method", table))
        except SettingsError as error:
            problems.append(at(where, error))
    if not grid.adapt or (grid.ranking is not None and found):
        return found, problems  # sources are compared, as they are or by this method
    try:
        for baseline in _baselines(grid):
            same = [place for place, other in enumerate(found) if _alike(other, baseline)]
            if same:
                found[same[0]] = found[same[0]]._replace(role="baseline")
            else:
                taken = any(other.label == baseline.label for other in found)
                found.append(baseline._replace(label=f"{baseline.label} (baseline)") if taken else baseline)
    except SettingsError as error:
        problems.append(at(dotted("defaults", FINE_TUNE), error))
    return found, problems


def training_method(grid: Grid, method: str, settings: Mapping[str, Any]) -> Method:
    """The method that trains a source, with the grid's defaults under its own settings.

    Raises:
        SettingsError: unknown, or settings that it cannot use.
    """
    return resolve_method({"method": method, "settings": over(_defaults(grid, method), settings)})


def pretrained(grid: Grid, source: str) -> bool:
    """Whether a source model is trained on images without labels: as it is, it predicts nothing."""
    train = grid.sources[source].train
    return train is not None and learns_from_images_alone(training_method(grid, train.method, train.settings))


def _baselines(grid: Grid) -> list[Candidate]:
    search = _search(grid, FINE_TUNE)
    if grid.trials > 1 and not search:
        search = {"schedule.lr": _learning_rates(grid)}
    made = []
    scopes = ((FULL, "all"), (SCRATCH, "from_scratch"))
    for label, scope in scopes if grid.ranking is None else scopes[:1]:
        table = MethodTable(method=FINE_TUNE, settings={"scope": scope}, search=search)
        made.append(_candidate(grid, label, dotted("defaults", FINE_TUNE), "baseline", table))
    return made


def _learning_rates(grid: Grid) -> tuple[float, ...]:
    """As many as there are trials: the baseline's own, then smaller and larger ones in turn, half a decade apart."""
    own = resolve_method({"method": FINE_TUNE, "settings": _defaults(grid, FINE_TUNE)})
    lr = float(describe_method(own)["settings"]["schedule"]["lr"])
    steps = [(number + 1) // 2 * (-1 if number % 2 else 1) for number in range(grid.trials)]
    return tuple(float(f"{lr * 10 ** (step / 2):.3g}") for step in steps)


def _candidate(grid: Grid, label: str, where: str, role: Role, table: MethodTable) -> Candidate:
    settings = over(_defaults(grid, table.method), table.settings)
    search = dict(_search(grid, table.method)) | dict(table.search)
    empty = [name for name, values in search.items() if not values]
    if empty:
        raise SettingsError(
            "search", "at least one value for every setting", f"'{empty[0]}' has none", "Add some."
        )
    tried = [
        resolve_method({"method": table.method, "settings": over(settings, one)})
        for one in combinations(search)
    ]
    if len(tried) > 1 and grid.trials == 1:
        raise SettingsError(
            "search",
            "trials of more than 1",
            "the grid has trials = 1",
            "Raise trials at the top of the file.",
        )
    chosen = [tried[place] for place in _spread(len(tried), grid.trials)]
    described = tuple(describe_method(method)["settings"] for method in chosen)
    return Candidate(label, where, role, table.method, described, table.select, chosen[0], table.source)


def _spread(count: int, trials: int) -> list[int]:
    """Which of so many combinations to try: all, or as many as there are trials, evenly over them.

    >>> _spread(3, 5), _spread(9, 3)
    ([0, 1, 2], [0, 4, 8])
    """
    if count <= trials:
        return list(range(count))
    return [round(number * (count - 1) / max(1, trials - 1)) for number in range(trials)]


def _defaults(grid: Grid, method: str) -> Mapping[str, Any]:
    table = grid.defaults.get(method)
    return table.settings if table is not None else {}


def _search(grid: Grid, method: str) -> Mapping[str, tuple[Any, ...]]:
    table = grid.defaults.get(method)
    return table.search if table is not None else {}


def _alike(one: Candidate, other: Candidate) -> bool:
    return (one.name, one.trials, one.select, one.source) == (
        other.name, other.trials, other.select, other.source
    )  # fmt: skip
