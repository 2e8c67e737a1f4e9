"""From a grid to its cells, and what each is called in tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medgraft.api.recipe import describe_method, settings_of
from medgraft.benchmarks.candidates import AS_IT_IS, Candidate, candidates, pretrained, training_method
from medgraft.benchmarks.cell import Cell, Purpose, name_of
from medgraft.benchmarks.checks import Checks, serves
from medgraft.benchmarks.given import data_of
from medgraft.benchmarks.grid import (
    HUBS,
    Data,
    Grid,
    called,
    grid_name,
    metric_of,
    parse_grid,
    sources_on,
    target_sites,
)
from medgraft.benchmarks.problems import GridError
from medgraft.benchmarks.rows import forget_data
from medgraft.benchmarks.source_trainings import Trained
from medgraft.errors import MedgraftError
from medgraft.evaluation.evaluate import versions
from medgraft.models.weights import hash_weights
from medgraft.plugins import resolve_method
from medgraft.types import JSON

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort

ALL, NONE = -1, 0
"""Budgets in tables."""


class Row(NamedTuple):
    """A cell as tables call it; the columns are those of the table "grid".

    key: of its cell. oracle: its scores stand beside those of the row of the same name. source_split: what the rows of
    the source's test split are called.
    """

    key: str
    subject: str
    method: str
    source: str
    source_cohort: str
    cohort: str
    budget: int
    budget_by: str
    seed: int
    role: str
    oracle: bool
    source_split: str
    metric: str


class Scored(NamedTuple):
    """A cell that scores a source for a target; columns as in the table "grid".

    own: see `RankingTable`. images: that the source was trained on, where the grid tells. names: of the scores.
    """

    key: str
    source: str
    cohort: str
    budget: int
    seed: int
    own: bool
    images: int | None
    names: tuple[str, ...]


class Plan(NamedTuple):
    """What is to be computed.

    cells: by key, sources first. rows: in the order of tables. scored: in the same order, of grids that rank sources.
    trained: the trainings of sources, in the order in which they are first needed.
    """

    grid: Grid
    cells: dict[str, Cell]
    rows: tuple[Row, ...]
    scored: tuple[Scored, ...] = ()
    trained: tuple[Trained, ...] = ()


def make_plan(grid: Grid | Mapping[str, Any] | str | Path, others: list[MedgraftError] | None = None) -> Plan:
    """Check a grid and lay out its cells.

    Args:
        grid: path of a TOML file, or what such a file holds.
        others: problems found elsewhere, to be told together with the grid's own.

    Raises:
        GridError: with everything that is wrong.
    """
    forget_data()
    known, structural = parse_grid(grid)
    problems: list[MedgraftError | str] = [*structural]
    if known is not None:
        taking_part, unfit = candidates(known)
        checks = Checks(known, taking_part)
        problems += [*unfit, *checks.problems]
    problems += others or []
    if problems or known is None:
        raise GridError(grid_name(grid), problems)
    return _Planner(known, taking_part, checks).plan()


class _Planner:
    """Lays out the cells of a grid that was found to be in order."""

    def __init__(self, grid: Grid, taking_part: list[Candidate], checks: Checks) -> None:
        self.grid, self.candidates, self.checks = grid, taking_part, checks
        self.cells: dict[str, Cell] = {}
        self.rows: list[Row] = []
        self.scored: list[Scored] = []
        self.trained: dict[Trained, None] = {}
        self._data: dict[object, JSON] = {}
        data = {name: _data(table) for name, table in grid.cohorts.items()}
        self.names = {name: next(first for first in data if data[first] == data[name]) for name in data}
        """The same data have the same name in reports, under whatever names they stand in the file."""
        self.labels = {
            (source, name): self._source_label(source, name)
            for name in data
            for source in sources_on(grid, name)
        }

    def plan(self) -> Plan:
        for name in self.grid.cohorts:
            for source in sources_on(self.grid, name):
                for sites in target_sites(self.grid, name):
                    for seed in self.grid.seeds:
                        self.rows += self._rows(name, source, sites, seed)
                        self.scored += self._scored(name, source, sites, seed)
        trained = {key: cell for key, cell in self.cells.items() if cell.purpose == "train a source"}
        return Plan(
            self.grid, trained | self.cells, tuple(self.rows), tuple(self.scored), tuple(self.trained)
        )

    def _source_label(self, source: str, name: str) -> str:
        """A source's name, with its sites where the same data hold several source models of that name."""
        table = self.grid.cohorts[name]
        groups = {
            (other.source, repr(other.source_data))
            for key, other in self.grid.cohorts.items()
            if self.names[key] == self.names[name]
        }
        trained = self.grid.sources[source].train is not None
        if not trained or len(groups) == 1:
            return source
        return called(source, table.source) + (f" of {name}" if table.source_data is not None else "")

    def _trained_on(self, name: str) -> str:
        table = self.grid.cohorts[name]
        data = self.names[name] if table.source_data is None else f"source of {name}"
        return called(data, table.source)

    def _rows(self, name: str, source: str, sites: tuple[str, ...], seed: int) -> Iterator[Row]:
        needs = self._source_cell(name, source, seed)
        if not self.grid.adapt:
            cell = self._cell(name, source, sites, seed, needs, None, NONE, "as it is")
            first = source == sources_on(self.grid, name)[0]
            yield self._row(cell, name, source, sites, seed, source, NONE, "baseline" if first else "method")
            return
        blank = self.grid.sources[source].train is None and self.grid.sources[source].model.startswith(
            "random/"
        )
        serves_as_it_is = (
            self._same_classes(name) and not pretrained(self.grid, source)
            if needs is not None
            else serves(self.checks.models[source], self.checks.cohorts[name])
        )
        if serves_as_it_is and not blank and self.grid.ranking is None:
            cell = self._cell(name, source, sites, seed, needs, None, NONE, "as it is")
            yield self._row(cell, name, source, sites, seed, AS_IT_IS, NONE, "baseline")
        for candidate in self.candidates:
            if blank and candidate.role == "baseline" and candidate.trials[0]["scope"] == "from_scratch":
                continue  # it would be full fine-tuning under another name
            for budget in self._budgets(candidate):
                role = "upper bound" if candidate.is_full and budget == ALL else candidate.role
                start, own = source, needs
                if candidate.source is not None:
                    start = candidate.source
                    own = self._source_cell(name, start, seed)
                cell = self._cell(name, start, sites, seed, own, candidate, budget, "adapt")
                yield self._row(cell, name, source, sites, seed, candidate.label, budget, role)
                if self.grid.oracle and (budget != ALL or not candidate.sees_truth):
                    cell = self._cell(name, start, sites, seed, own, candidate, budget, "adapt", oracle=True)
                    yield self._row(cell, name, source, sites, seed, candidate.label, budget, role)

    def _budgets(self, candidate: Candidate) -> list[int]:
        """Without labels there is no budget; the upper bound always has all of them."""
        if not candidate.sees_truth:
            return [NONE]
        budgets = [ALL if budget == "all" else budget for budget in self.grid.budgets]
        if ALL in budgets or not candidate.is_full or self.grid.ranking is not None:
            return budgets
        return [*budgets, ALL]

    def _scored(self, name: str, source: str, sites: tuple[str, ...], seed: int) -> Iterator[Scored]:
        """Scores from the labels that fine-tuning sees."""
        if self.grid.ranking is None:
            return
        needs = self._source_cell(name, source, seed)
        for budget in self.grid.budgets:
            amount = ALL if budget == "all" else budget
            cell = self._cell(name, source, sites, seed, needs, None, amount, "score")
            yield Scored(
                key=cell.key,
                source=self.labels[source, name],
                cohort=called(self.names[name], sites),
                budget=amount,
                seed=seed,
                own=source in self.grid.ranking.own,
                images=self.grid.sources[source].images,
                names=cell.scores,
            )

    def _source_cell(self, name: str, source: str, seed: int) -> str | None:
        """The cell that trains a source model; None for one that is taken as named."""
        train = self.grid.sources[source].train
        if train is None:
            return None
        method = training_method(self.grid, train.method, train.settings)
        described = describe_method(method)
        whole = Candidate(source, "", "method", train.method, (described["settings"],), None, method)
        key = self._cell(name, source, (), seed, None, whole, train.patients or ALL, "train a source").key
        self.trained[Trained(key, self._source_label(source, name), self._trained_on(name), seed)] = None
        return key

    def _cell(
        self, name: str, source: str, sites: tuple[str, ...], seed: int, needs: str | None,
        candidate: Candidate | None, budget: int, purpose: Purpose, oracle: bool = False,
    ) -> Cell:  # fmt: skip
        table, named = self.grid.cohorts[name], self.grid.sources[source]
        select = (candidate.select or self.grid.select) if candidate is not None else None
        own_start = candidate is not None and candidate.source is not None
        if oracle and candidate is not None:
            select = "target_validation" if "truth" in candidate.method.needs.target else "oracle"
        cell = Cell(
            key="",
            what={},
            purpose=purpose,
            data=_data(table),
            sites=table.source,
            source_data=table.source_data,
            target=sites,
            model=named.model,
            architecture=named.architecture,
            needs=needs,
            method=candidate.name if candidate is not None else "",
            settings=candidate.trials if candidate is not None else (),
            budget=budget if budget > 0 else None,
            budget_by=self.grid.budget_by,
            seed=seed,
            select=None if purpose == "train a source" else select,
            oracle=oracle,
            scores_source=needs is not None
            and not pretrained(self.grid, source)
            and purpose != "score"
            and not own_start
            and self._scores_source(name),
            run=self.grid.run,
            keep_model=self.grid.keep_models,
            scores=self.checks.scores.get(name, ()) if purpose == "score" else (),
        )
        what = self._what(cell, source, self.checks.cohorts[name])
        cell = cell.model_copy(update={"key": name_of(what), "what": what})
        return self.cells.setdefault(cell.key, cell)

    def _same_classes(self, name: str) -> bool:
        """Whether the source sites have the target's classes."""
        return self.checks.source_cohorts[name].classes == self.checks.cohorts[name].classes

    def _scores_source(self, name: str) -> bool:
        """Where the source has test rows, and the classes that models are adapted to."""
        source = self.checks.source(name)
        return source is not None and self._same_classes(name) and bool(len(source.split("test")))

    def _what(self, cell: Cell, source: str, cohort: Cohort) -> JSON:
        """Everything that decides a cell's result, and nothing else: no names, no runner, no folder.

        Settings that have their default do not stand there: an option that medgraft gains renames no cell.
        """
        what: JSON = {
            "purpose": cell.purpose,
            "medgraft": versions()["medgraft"],
            "source": {"cell": cell.needs} if cell.needs is not None else self._named_source(source),
            "method": {
                "method": cell.method,
                "settings": [_chosen(cell.method, one) for one in cell.settings],
            },
            "seed": cell.seed,
            "select": cell.select,
            "oracle": cell.oracle,
            "run": cell.run.model_dump(mode="json", exclude_defaults=True, exclude={"workers", "cache"}),
        }
        if cell.purpose == "score":
            what["scores"] = list(cell.scores)
        return what | self._data_of(cell, cohort)

    def _named_source(self, source: str) -> JSON:
        """A hub's model by its name, another by its weights, wherever they lie."""
        table = self.grid.sources[source]
        if table.model.startswith("random/"):
            return {"model": table.model}
        model = self.checks.models[source]
        named = table.model if table.model.startswith(HUBS) else None
        return {"model": named, "architecture": table.architecture, "weights": hash_weights(model)}

    def _data_of(self, cell: Cell, cohort: Cohort) -> JSON:
        """As `data_of`, computed once for cells that see the same rows."""
        data = (cell.data.model_dump_json(), cell.source_data and cell.source_data.model_dump_json())
        where = (*data, cell.purpose, cell.sites, cell.target, cell.scores_source)
        which = (cell.budget, cell.seed if cell.budget is not None else None, cell.oracle, cell.select)
        seen = (*where, *which, cell.method, repr(cell.settings[:1]))
        if seen not in self._data:
            self._data[seen] = data_of(cell, cohort)
        return self._data[seen]

    def _row(
        self,
        cell: Cell,
        name: str,
        source: str,
        sites: tuple[str, ...],
        seed: int,
        label: str,
        budget: int,
        role: str,
    ) -> Row:
        cohort, grid = self.checks.cohorts[name], self.grid
        shown = self.labels[source, name] if grid.adapt else "as they are"
        several = grid.adapt and len(set(self.labels.values())) > 1
        subject = f"{label} from {shown}" if several else label
        amount = _amount(budget, grid.budget_by, cohort.kind)
        trained = self.grid.sources[source].train is not None
        targets = target_sites(grid, name)
        after = f"test after {called(self.names[name], sites)}"
        return Row(
            key=cell.key,
            subject=f"{subject}, {amount}" if amount else subject,
            method=label,
            source=shown,
            source_cohort=self._trained_on(name) if trained and not pretrained(grid, source) else "",
            cohort=called(self.names[name], sites),
            budget=budget,
            budget_by=grid.budget_by,
            seed=seed,
            role=role,
            oracle=cell.oracle,
            source_split=after if len(targets) > 1 else "test",
            metric=metric_of(grid, cohort),
        )


def _chosen(method: str, settings: JSON) -> JSON:
    return settings_of(resolve_method({"method": method, "settings": settings}), defaults=False)


def _data(table: Data) -> Data:
    return Data(**table.model_dump(include=set(Data.model_fields)))


def _amount(budget: int, by: str, kind: str) -> str:
    """A budget in words.

    >>> _amount(4, "patient", "segment"), _amount(1, "image", "segment"), _amount(2, "image", "classify")
    ('4 patients', '1 image', '2 images per class')
    """
    if budget == NONE:
        return ""
    if budget == ALL:
        return f"all {by}s"
    many = f"{budget} {by}{'' if budget == 1 else 's'}"
    return f"{many} per class" if by == "image" and kind == "classify" else many
