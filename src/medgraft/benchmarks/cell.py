"""One run of a grid: a source, a method, a budget and a seed; what decides its result decides its name."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medgraft.benchmarks.given import data_of, labelled_images, make_task, method_of, scored_rows, source_rows
from medgraft.benchmarks.grid import BudgetBy, Data, Part, RunTable
from medgraft.benchmarks.recorded import recorded
from medgraft.benchmarks.rows import SUBJECT, TARGET, at_sites, open_data
from medgraft.benchmarks.scoring import score_model
from medgraft.benchmarks.spent import Clock, forget_peak, on_gpu, peak_mib
from medgraft.benchmarks.stop import Stop
from medgraft.benchmarks.store import EVIDENCE, FORMAT, LOCK, Result, Store, locked
from medgraft.engine.run import Interrupted, Limit, Run
from medgraft.errors import DataError, MedgraftError, RunError
from medgraft.types import JSON

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.data.task import Task
    from medgraft.engine.method import Method
    from medgraft.evidence import Evidence
    from medgraft.models.model import Model

logger = logging.getLogger(__name__)
Purpose = Literal["train a source", "adapt", "as it is", "score"]
Ended = Literal["done", "busy"]


class Cell(Part):
    """All that a process needs to compute one cell, as data.

    key: hash of `what`. what: everything that decides the result, for the record.
    source_data: what the source sites are in, where that is not `data`.
    needs: key of the cell that trains the source model; None opens `model` by its name.
    sites: source sites. target: the target's sites, none for all rows.
    settings: of the method, one entry per trial.
    budget: labelled patients or images; of a source's training its patients; None is all.
    scores_source: also measure what was forgotten at the source sites.
    scores: names of transferability scores, where the source is to be scored.
    """

    key: str
    what: JSON
    purpose: Purpose
    data: Data
    sites: tuple[str, ...]
    target: tuple[str, ...]
    model: str
    architecture: str | None
    needs: str | None
    method: str
    settings: tuple[JSON, ...]
    budget: int | None
    budget_by: BudgetBy
    seed: int
    select: str | None
    oracle: bool
    scores_source: bool
    run: RunTable
    keep_model: bool
    scores: tuple[str, ...] = ()
    source_data: Data | None = None


def name_of(what: Mapping[str, Any]) -> str:
    """A cell's key: a hash of everything that decides its result.

    >>> name_of({"seed": 1}) == name_of({"seed": 1}), name_of({"seed": 1}) == name_of({"seed": 2})
    (True, False)
    """
    text = json.dumps({"format": FORMAT, **what}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def run_cell(cell: Cell, store: Store, stop: Stop) -> Ended:
    """Compute a cell unless it is there; a failure is a result too.

    Returns: "busy" where another process computes it.

    Raises:
        Interrupted: a stop was asked for; the same call continues.
        RunError: the result cannot be written.
    """
    with store.claimed(cell.key) as mine:
        if not mine:
            return "busy"
        if store.result(cell.key) is not None:
            return "done"
        forget_peak()
        clock = Clock(store.scratch(cell.key))
        try:
            result = _with_threads(cell, store, stop)
        except Interrupted:
            raise
        except Exception as error:
            result = _failed(cell, store, error)
        seconds = round(clock.seconds + result.seconds, 2)
        spent = {"seconds": seconds, "peak_mib": peak_mib(), "what": cell.what}
        if on_gpu(cell.run.device):
            spent["gpu_seconds"] = seconds
        store.finish(cell.key, result.model_copy(update=spent))
    return "done"


def _failed(cell: Cell, store: Store, error: Exception) -> Result:
    """One sentence for the evidence; of a defect also where it happened, in a file beside it."""
    if isinstance(error, MedgraftError):
        return Result(state="failed", error=str(error))
    logger.exception("cell %s failed", cell.key)
    (store.folder(cell.key) / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    text = " ".join(str(error).split())
    return Result(state="failed", error=f"{type(error).__name__}: {text[:500]}")


def _with_threads(cell: Cell, store: Store, stop: Stop) -> Result:
    """As many threads in every runner, so that sums are added in the same order."""
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(cell.run.threads)
    try:
        with threadpool_limits(cell.run.threads):
            return _compute(cell, store, stop)
    finally:
        torch.set_num_threads(threads)


class Chosen(NamedTuple):
    """The best of the settings tried.

    folder: of its run. number: of its settings. selection: the rule that chose its epoch. seconds: what was spent for
    it in other cells.
    """

    model: Model
    folder: Path
    number: int
    selection: str
    seconds: float


def _compute(cell: Cell, store: Store, stop: Stop) -> Result:
    from medgraft.models.storage import save_model

    cohort = open_data(cell.data)
    _refuse_changed(cell, cohort)
    if cell.purpose == "as it is":
        measured = _measure(cell, _source_model(cell, store), cohort, "none")
        measured.save(store.folder(cell.key) / EVIDENCE)
        return Result(state="finished")
    if cell.purpose == "score":
        rows = scored_rows(cell, cohort)
        found = score_model(_source_model(cell, store), rows, cell.scores, cell.run.device, cell.seed)
        found.save(store.folder(cell.key) / EVIDENCE)
        return Result(state="finished", labelled_images=len(rows))
    task = make_task(cell, cohort)
    chosen = _choose(cell, store, stop, task)
    seen = 0
    if cell.purpose == "train a source" or cell.keep_model:
        save_model(chosen.model, store.model(cell.key), overwrite=True)
    found = recorded(chosen.folder, cell.seed, history=cell.purpose == "train a source")
    if cell.purpose == "adapt":
        stop.raise_if_asked()
        selection = "oracle" if cell.oracle else chosen.selection
        found += _measure(cell, chosen.model, cohort, selection)
        seen = labelled_images(cell, task, chosen.selection)
    found.save(store.folder(cell.key) / EVIDENCE)
    return Result(
        state="finished",
        selection="oracle" if cell.oracle else chosen.selection,
        labelled_images=seen,
        tried=len(cell.settings),
        settings=cell.settings[chosen.number],
        seconds=chosen.seconds,
    )


def _refuse_changed(cell: Cell, cohort: Cohort) -> None:
    """A worker opens data later than they were hashed."""
    if data_of(cell, cohort)["data"] != cell.what["data"]:
        raise DataError(
            "A benchmark", "data that stay as they are", "a row or an image has changed since it began",
            "Repeat the same command: it computes what the change concerns.",
        )  # fmt: skip


def _source_model(cell: Cell, store: Store) -> Model:
    from medgraft.api.ranking import open_candidate
    from medgraft.engine.randomness import seeded
    from medgraft.models.sources import open_source
    from medgraft.models.storage import load_model

    if cell.needs is not None:
        return load_model(store.model(cell.needs))
    if cell.purpose == "score":
        return open_candidate(cell.model, open_data(cell.data), cell.seed, architecture=cell.architecture)
    with seeded(cell.seed, "source"):
        return open_source(cell.model, architecture=cell.architecture)


def _choose(cell: Cell, store: Store, stop: Stop, task: Task) -> Chosen:
    """Adapt with each of the settings in turn; validation chooses among them, as it chooses epochs."""
    if task.target is not None or cell.purpose == "train a source":
        return _best(cell, store, stop, task, store.scratch(cell.key))
    from medgraft.data.task import Task
    from medgraft.engine.method import check_leaks

    # the leaks that `adapt` looks for, with the target that it is not given
    target = at_sites(open_data(cell.data), cell.target, TARGET)
    check_leaks(Task(source=task.source, target=target), allow=cell.run.allow_leak)
    folder = store.shared(name_of(cell.what | {"data": cell.what["data"]["source"]}))
    with locked(folder / LOCK, wait=True):
        earlier = sum(_seconds(folder / str(number)) for number in range(len(cell.settings)))
        return _best(cell, store, stop, task, folder)._replace(seconds=earlier)


def _best(cell: Cell, store: Store, stop: Stop, task: Task, folder: Path) -> Chosen:
    best, best_score = None, -math.inf
    for number in range(len(cell.settings)):
        run = Run(
            folder / str(number),
            seed=cell.seed,
            limit=Limit(cell.run.limit_epochs, cell.run.limit_steps),
            device=cell.run.device,
            precision=cell.run.precision,
            select=cell.select,
            allow_leak=cell.run.allow_leak,
            progress=False,
            workers=cell.run.workers,
            cache=cell.run.cache,
            save_optimizer=cell.purpose == "train a source",  # some methods go on from it
            record_updates=cell.run.record_updates,
            shared=stop.share(),
        )
        model = _adapted(cell, store, task, method_of(cell, number), run)
        score = _score(cell, task, run, model) if len(cell.settings) > 1 else 0.0
        if best is None or score > best_score:  # a score that is undefined beats nothing
            best = Chosen(model, folder / str(number), number, _selection_of(run), 0.0)
            best_score = -math.inf if math.isnan(score) else score
    assert best is not None
    return best


def _seconds(run: Path) -> float:
    """What a run took that is finished; 0 for any other."""
    from medgraft.api.recipe import FILE, read_recipe

    return float(read_recipe(run).get("seconds", 0.0)) if (run / FILE).is_file() else 0.0


def _adapted(cell: Cell, store: Store, task: Task, method: Method, run: Run) -> Model:
    from medgraft.api.adaptation import adapt

    named = cell.model if cell.needs is None else _source_model(cell, store)
    architecture = cell.architecture if cell.needs is None else None
    continued = Path(str(run.folder)).is_dir()
    try:
        return adapt(named, task, method, run, architecture=architecture)
    except RunError as error:
        if isinstance(error, Interrupted) or not continued:
            raise
        # what was begun cannot be continued here, for instance because the data have moved: begin anew
        logger.warning("%s", error)
        shutil.rmtree(str(run.folder))
        return adapt(named, task, method, run, architecture=architecture)


def _selection_of(run: Run) -> str:
    from medgraft.api.recipe import read_recipe

    return str(read_recipe(str(run.folder))["selection"])


def _score(cell: Cell, task: Task, run: Run, model: Model) -> float:
    """What the selection rule says of an adapted model."""
    from medgraft.engine.select import choose_rule

    def validation(cohort: Cohort | None) -> Cohort | None:
        rows = cohort.split("validation") if cohort is not None else None
        return rows if rows is not None and len(rows) and "truth" in rows.fields else None

    selector = choose_rule(
        cell.select,
        sees_target_truth="truth" in method_of(cell).needs.target,
        target=validation(task.target),
        source=validation(task.source),
        open_loader=run.loader,
    )
    score = selector.score(model.to(run.fabric.device))
    model.to("cpu")
    return score


def _measure(cell: Cell, model: Model, cohort: Cohort, selection: str) -> Evidence:
    """Scores on the target's test rows, and on those of the source sites where the source was trained there."""
    from medgraft.api.evaluation import evaluate

    views = {"test": at_sites(cohort, cell.target, TARGET)}
    if cell.scores_source and not cell.oracle:
        views["source"] = source_rows(cell)
    whole = None
    for name, view in views.items():
        measured = evaluate(
            model,
            view.split("test"),
            subject=SUBJECT,
            seed=cell.seed,
            selection=selection,
            repeats=cell.run.repeats,
            device=cell.run.device,
            examples=0,
            tolerance_mm=cell.run.tolerance_mm,
            picture_patients=name == "test" and not cell.oracle,
        )
        whole = measured if whole is None else whole + measured
    assert whole is not None
    return whole
