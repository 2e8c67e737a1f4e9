"""What a benchmark compares: cohorts x sources x methods x label budgets x seeds, as frozen data read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from medgraft.benchmarks.problems import GridError, by_place, structural_problem, without
from medgraft.engine.run import Precision
from medgraft.engine.select import Rule
from medgraft.errors import SettingsError
from medgraft.types import JSON, Kind, Split

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort

Budget = Annotated[int, Field(ge=1)] | Literal["all"]
BudgetBy = Literal["image", "patient"]
INSTALLED = ("samples/", "phantoms/")
"""How `data` begins where it names no file."""
HUBS = ("packaged/", "timm/", "random/")
"""How a source's `model` begins where it names no file."""


class Part(BaseModel):
    """Base of the tables of a grid file: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(Part):
    """What a cohort is read from."""

    data: str
    """A manifest, a folder per class or a published data set, relative to the file; samples/NAME; phantoms/NAME."""
    kind: Kind | None = None
    """What the truth is, where there are several."""
    classes: tuple[str, ...] = ()
    """Class names in order; empty takes those found."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """Of a phantom: subjects, slices, side, seed, ..."""
    splits: Mapping[Split, Split] = Field(default_factory=dict)
    """What splits count as: {validation = "test"} where the images that were published for validation are the test."""
    shares: Mapping[str, float] = Field(default_factory=dict)
    """How data without splits are divided by patient; empty means 70/15/15. Data that have splits keep them."""


AnyData = TypeVar("AnyData", bound=Data)


class CohortTable(Data):
    """Data, and which of its sites are what."""

    source: tuple[str, ...] = ()
    """Sites that source models are trained on."""
    targets: tuple[str, ...] = ()
    """Sites to adapt to, each by itself; empty takes all rows as one target."""
    source_data: Data | None = None
    """What the source sites are in, where that is not the same; its classes may be others, of the same kind."""


class TrainTable(Part):
    """How a source model is trained on the source sites."""

    method: str = "fine_tune"
    settings: Mapping[str, Any] = Field(default_factory=dict)
    patients: int | None = Field(default=None, ge=1)
    """Training patients of the source sites, drawn by the seed, with validation rows in proportion; None takes all."""


class SourceTable(Part):
    """A source model."""

    model: str
    """packaged/NAME, timm/NAME, random/NAME, or a folder or file of weights, relative to the file."""
    architecture: str | None = None
    """timm name of the network, for a file of weights."""
    train: TrainTable | None = None
    """Trained on the source sites, once per seed; without it the model is taken as named."""
    cohorts: tuple[str, ...] = ()
    """It takes part on these cohorts only; empty means all."""
    images: int | None = Field(default=None, ge=0)
    """How many it was trained on, for a figure of grids that rank sources."""


class MethodTable(Part):
    """A method to compare."""

    method: str
    settings: Mapping[str, Any] = Field(default_factory=dict)
    search: Mapping[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Values to try, by the dotted name of the setting; chosen by the selection rule, never on test rows."""
    select: Rule | None = None
    """Selection rule of this method where it may not use the grid's."""
    source: str | None = None
    """The source that it starts from on every cohort; None takes each in turn. A source named here has no turn."""


class DefaultsTable(Part):
    """Settings and search of a method wherever this grid uses it, baselines and training of sources included."""

    settings: Mapping[str, Any] = Field(default_factory=dict)
    search: Mapping[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Not for the training of sources."""


class RankingTable(Part):
    """Sources are what is compared: each is fine-tuned, and transferability scores are judged by that."""

    by: tuple[str, ...] = ()
    """Scores as `medgraft rank` knows them; empty takes its defaults."""
    baseline: str | None = None
    """The source that one would always take without scores."""
    own: tuple[str, ...] = ()
    """Sources that were trained on a target itself: no candidates, but told where scores would put them."""


class RunTable(Part):
    """How every cell is computed and scored."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "32-true"
    threads: int = Field(default=1, ge=1)
    """CPU threads of a cell; they decide the last bits of sums."""
    workers: int = Field(default=0, ge=0)
    """Threads that prepare images ahead while a cell trains; like `cache`, they change no result and rename no cell."""
    cache: str | None = None
    """Folder for prepared images, relative to the file; all cells share it. None keeps in memory what fits."""
    limit_epochs: int | None = Field(default=None, ge=1)
    """Trial: at most so many epochs in every training."""
    limit_steps: int | None = Field(default=None, ge=1)
    """Trial: at most so many steps in each."""
    record_updates: bool = False
    """Record how far each layer moves in a step, of sources and methods."""
    repeats: int = Field(default=1000, ge=1)
    """Bootstrap resamples."""
    tolerance_mm: float = Field(default=2.0, ge=0)
    """Of surface Dice."""
    allow_leak: bool = False
    """Go on although patients or pixels leak between splits."""


class ClaimTable(Part):
    """What a publication says, as a comparison that this grid makes."""

    sentence: str
    """The claim, in our words."""
    source: str
    """Paper, and where in it."""
    published: str
    """The printed numbers."""
    method: str
    """Name of the method (or baseline, or score of a grid that ranks sources) that is claimed to be better ..."""
    reference: str
    """... than this one."""
    more_than: tuple[str, str] | None = None
    """... by more than the first of these two is better than the second: do transformers gain more than CNNs?"""
    on: Literal["target", "source"] = "target"
    """Whose test rows it is about: `source` is about what is forgotten."""
    budgets: tuple[Budget, ...] = ()
    """At these budgets; empty means all."""


class Grid(Part):
    """A whole comparison.

    >>> grid = read_grid({"cohorts": {"brain": {"data": "samples/brain", "targets": ["robex"]}},
    ...                   "sources": {"unet": {"model": "random/unet"}}, "seeds": [0], "budgets": [4]})
    >>> grid.budget_by, grid.sources["unet"].train
    ('patient', None)
    """

    name: str = "benchmark"
    """Title of the report."""
    metric: str | None = None
    """Score that tables and comparisons go by; None takes dice for masks, else auroc."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2, 3, 4), min_length=1)
    """Each decides the training, the source's training and which labelled rows a budget holds."""
    budgets: tuple[Budget, ...] = Field(default=("all",), min_length=1)
    """Labelled target patients (or images; of one label per image: images per class)."""
    budget_by: BudgetBy = "patient"
    select: Rule | None = None
    """Which epoch and which setting to keep; None takes the best rule that a method may use."""
    oracle: bool = False
    """Also choose by all labelled validation rows of the target, whatever the budget, and show that beside."""
    trials: int = Field(default=1, ge=1)
    """Settings tried per method, budget and seed, at most: the same for every method."""
    adapt: bool = True
    """False adapts nothing: source models are compared as they are on every target, all with the first of them."""
    keep_models: bool = False
    """Keep adapted models; source models are always kept."""
    cohorts: Mapping[str, CohortTable] = Field(min_length=1)
    sources: Mapping[str, SourceTable] = Field(min_length=1)
    methods: Mapping[str, MethodTable] = Field(default_factory=dict)
    defaults: Mapping[str, DefaultsTable] = Field(default_factory=dict)
    """By the name of the method."""
    ranking: RankingTable | None = None
    """Compare sources instead of methods, and judge scores by that: no baselines but the sources are added."""
    groups: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    """Methods (and baselines) by kind: the best of each kind are compared over runs."""
    claims: tuple[ClaimTable, ...] = ()
    """Judged by `tools/write_claims.py`; they change no result."""
    run: RunTable = RunTable()

    @field_validator("seeds", "budgets")
    @classmethod
    def _different(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("every value must stand there once")
        return values


def read_grid(grid: Grid | Mapping[str, Any] | str | Path) -> Grid:
    """Read a grid file, or take a grid as it is.

    Args:
        grid: path of a TOML file, or what such a file holds.

    Raises:
        GridError: keys or values that do not belong there, all of them.
        SettingsError: no such file, or not TOML.
    """
    known, problems = parse_grid(grid)
    if problems or known is None:
        raise GridError(grid_name(grid), problems)
    return known


def parse_grid(grid: Grid | Mapping[str, Any] | str | Path) -> tuple[Grid | None, list[SettingsError]]:
    """The grid, or what is left of it without the keys that are wrong, and what is wrong with these.

    So that what is right can still be checked, and everything be told at once.
    """
    if isinstance(grid, Grid):
        return grid, []
    values = dict(grid) if isinstance(grid, Mapping) else _read_toml(Path(grid))
    base = Path() if isinstance(grid, Mapping) else Path(grid).parent
    problems: dict[str, SettingsError] = {}
    while True:
        try:
            return _beside(Grid.model_validate(values), base), list(problems.values())
        except ValidationError as error:
            pruned = values
            for where, found in by_place(error.errors(), values).items():
                problems.setdefault(where, structural_problem(Grid, where, found))
                pruned = without(pruned, found[0]["loc"])
            if pruned == values:
                return None, list(problems.values())
            values = pruned


def grid_name(grid: object) -> str:
    """What a message calls a grid.

    >>> grid_name("claims/order.toml"), grid_name({})
    ('The grid claims/order.toml', 'The grid')
    """
    return f"The grid {grid}" if isinstance(grid, (str, Path)) else "The grid"


def sources_on(grid: Grid, cohort: str) -> list[str]:
    """Sources that every method starts from on a cohort, in turn."""
    own = {table.source for table in grid.methods.values()}
    return [
        name
        for name, table in grid.sources.items()
        if name not in own and (not table.cohorts or cohort in table.cohorts)
    ]


def target_sites(grid: Grid, name: str) -> list[tuple[str, ...]]:
    """The sites of each target of a cohort; one without any is all rows."""
    return [(site,) for site in grid.cohorts[name].targets] or [()]


def called(name: str, sites: tuple[str, ...]) -> str:
    """What reports call rows of a cohort.

    >>> called("brain", ("robex",)), called("brain", ())
    ('brain at robex', 'brain')
    """
    return f"{name} at {', '.join(sites)}" if sites else name


def metric_of(grid: Grid, cohort: Cohort) -> str:
    """The score that a cohort's tables go by."""
    return grid.metric or ("dice" if cohort.kind == "segment" else "auroc")


def over(settings: Mapping[str, Any], others: Mapping[str, Any]) -> JSON:
    """Settings with others put over them, group by group.

    >>> over({"schedule": {"lr": 0.1, "epochs": 3}}, {"schedule": {"lr": 0.2}})
    {'schedule': {'lr': 0.2, 'epochs': 3}}
    """
    whole = dict(settings)
    for key, value in others.items():
        held = whole.get(key)
        both = isinstance(held, Mapping) and isinstance(value, Mapping)
        whole[key] = over(held, value) if both else value  # type: ignore[arg-type]
    return whole


def nested(name: str, value: Any) -> JSON:
    """A setting by its dotted name, as a group of settings.

    >>> nested("schedule.lr", 0.1)
    {'schedule': {'lr': 0.1}}
    """
    for key in reversed(name.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def _beside(grid: Grid, base: Path) -> Grid:
    """The grid with paths that do not depend on where the command is called."""

    def path(name: str, others: tuple[str, ...]) -> str:
        return name if name.startswith(others) else str((base / name).resolve())

    def place(table: AnyData) -> AnyData:
        return table.model_copy(update={"data": path(table.data, INSTALLED)})

    cohorts = {key: place(table) for key, table in grid.cohorts.items()}
    cohorts = {
        key: table.model_copy(update={"source_data": place(table.source_data)})
        if table.source_data
        else table
        for key, table in cohorts.items()
    }
    sources = {
        key: table.model_copy(update={"model": path(table.model, HUBS)})
        for key, table in grid.sources.items()
    }
    cache = None if grid.run.cache is None else path(grid.run.cache, ())
    run = grid.run.model_copy(update={"cache": cache})
    return grid.model_copy(update={"cohorts": cohorts, "sources": sources, "run": run})


def _read_toml(path: Path) -> JSON:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(
            "medgraft benchmark", "an existing grid file", f"{path} does not exist", "Correct the path."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            "medgraft benchmark", "a readable TOML file", f"{path} cannot be read: {error}", "Check the file."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"The file {path}", "valid TOML", f"it is not: {error}", "Correct that line."
        ) from error


def combinations(search: Mapping[str, tuple[Any, ...]]) -> Iterator[JSON]:
    """Every combination of the values of a search, as settings; one without any where nothing is searched.

    >>> list(combinations({"scope": ("all",), "schedule.lr": (0.1, 0.2)}))
    [{'scope': 'all', 'schedule': {'lr': 0.1}}, {'scope': 'all', 'schedule': {'lr': 0.2}}]
    """
    import itertools

    for values in itertools.product(*search.values()):
        settings: JSON = {}
        for name, value in zip(search, values):
            settings = over(settings, nested(name, value))
        yield settings
