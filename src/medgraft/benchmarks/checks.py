"""Everything that can be known to be wrong with a grid before anything runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from medgraft.api.adaptation import check_task
from medgraft.api.ranking import find_scorers
from medgraft.benchmarks.candidates import AS_IT_IS, Candidate, pretrained, training_method
from medgraft.benchmarks.claims import claim_problems, group_problems
from medgraft.benchmarks.given import source_task
from medgraft.benchmarks.grid import Grid, RankingTable, called, metric_of, sources_on, target_sites
from medgraft.benchmarks.problems import at, dotted
from medgraft.benchmarks.rows import SOURCE, TARGET, at_sites, open_data, within_budget
from medgraft.data.task import Task
from medgraft.engine.method import check_leaks, check_needs
from medgraft.engine.select import choose_rule
from medgraft.errors import MedgraftError, NeedError, SettingsError
from medgraft.evaluation.outcome import ERRORS, MEASURES, is_share_of_masks
from medgraft.plugins import find_plugins, nearest
from medgraft.types import Kind

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.models.model import Model

SCORED = ("classify", "multilabel", "segment")


class Checks:
    """Looks at a grid part by part and collects what is wrong.

    Args:
        grid: as read.
        candidates: its methods and baselines.

    problems: each a sentence that begins with its place in the file.
    cohorts: those that could be opened, by name. source_cohorts: what their source sites are in.
    models: named source models that could be opened, by name.
    scores: names of transferability scores by cohort, of grids that rank sources.
    """

    def __init__(self, grid: Grid, candidates: list[Candidate]) -> None:
        self.grid, self.candidates = grid, candidates
        self.problems: list[MedgraftError] = []
        self.cohorts: dict[str, Cohort] = {}
        self.source_cohorts: dict[str, Cohort] = {}
        self.models: dict[str, Model] = {}
        self.scores: dict[str, tuple[str, ...]] = {}
        self._unfit: set[str] = set()  # targets of which enough is told already
        for name in grid.cohorts:
            self._check_cohort(name)
        for name in grid.sources:
            self._check_source(name)
        self._check_defaults()
        self._check_participants()
        if grid.ranking is not None:
            self._check_ranking(grid.ranking)
        for candidate in candidates:
            self._check_candidate(candidate)
        labels = [*(candidate.label for candidate in candidates), AS_IT_IS]
        if not grid.adapt:
            self._check_as_they_are()
            labels = list(grid.sources)
        elif grid.ranking is not None:
            labels = list(dict.fromkeys(name for scores in self.scores.values() for name in scores))
        found = itertools.chain(claim_problems(grid, labels), group_problems(grid, labels))
        self.problems += [at(where, error) for where, error in found]

    def _refuse(self, where: str, needs: str, got: str, do: str) -> None:
        self.problems.append(SettingsError(where, needs, got, do))

    @contextmanager
    def collected(self, where: str, cohort: str = "", source: str = "") -> Iterator[None]:
        """What goes wrong inside becomes a problem of that place; cells' own words for cohorts become the grid's."""
        try:
            yield
        except MedgraftError as error:
            words = [part.replace(TARGET, cohort).replace(SOURCE, source or cohort) for part in error.args]
            self.problems.append(at(where, SettingsError(*words)))
        except (ImportError, TypeError, OSError) as error:  # of a phantom's or plug-in's own code
            self.problems.append(
                SettingsError(
                    where, "to be usable", f"it gave {type(error).__name__}: {error}", "Correct it."
                )
            )

    def targets(self, name: str) -> Iterator[tuple[str, Cohort, tuple[str, ...]]]:
        """The targets of a cohort that was opened: what they are called, their rows, their sites."""
        cohort = self.cohorts[name]
        for sites in target_sites(self.grid, name):
            yield called(name, sites), at_sites(cohort, sites, TARGET), sites

    def source(self, name: str) -> Cohort | None:
        """The source rows of a cohort that was opened; None where it names no source."""
        table = self.grid.cohorts[name]
        named = table.source or table.source_data is not None
        return at_sites(self.source_cohorts[name], table.source, SOURCE) if named else None

    def _check_cohort(self, name: str) -> None:
        table, where = self.grid.cohorts[name], dotted("cohorts", name)
        problems_before = len(self.problems)
        opened: dict[str, Cohort] = {}
        with self.collected(f"{where}.data"):
            opened["targets"] = opened["source"] = open_data(table)
        if table.source_data is not None:
            opened.pop("source", None)
            with self.collected(f"{where}.source_data"):
                opened["source"] = open_data(table.source_data)
        if len(opened) < 2:
            return
        cohort = opened["targets"]
        for key, sites in (("source", table.source), ("targets", table.targets)):
            known = sorted({site for site in opened[key].sites.tolist() if site})
            for site in sites:
                if site not in known:
                    self._refuse(
                        f"{where}.{key}",
                        f"sites of the cohort ({', '.join(known) or 'it names none'})",
                        f"it got {site!r}{nearest(site, known)}",
                        "Correct it.",
                    )
        if opened["source"].kind != cohort.kind and not self._images_of_source_alone():
            self._refuse(
                f"{where}.source_data", f"data of the kind '{cohort.kind}', as the target's",
                f"it is '{opened['source'].kind}'", "Choose others, or train sources on their images alone.",
            )  # fmt: skip
        if cohort.kind not in SCORED or "truth" not in cohort.fields:
            self._refuse(
                f"{where}.data",
                f"rows with truth of a kind among {', '.join(SCORED)}",
                f"the kind is '{cohort.kind}' with {', '.join(sorted(cohort.fields))}",
                "Choose other data.",
            )
        if len(self.problems) == problems_before:
            self.cohorts[name], self.source_cohorts[name] = cohort, opened["source"]
            self._check_metric(where, cohort)
            self._check_rows(name, where)

    def _check_metric(self, where: str, cohort: Cohort) -> None:
        metric = metric_of(self.grid, cohort)
        fits = is_share_of_masks(metric) if cohort.kind == "segment" else metric in MEASURES
        if not fits:
            offered = "dice, iou or surface_dice_2mm" if cohort.kind == "segment" else ", ".join(MEASURES)
            self._refuse(
                "metric",
                f"a score of the kind '{cohort.kind}' of {where} ({offered})",
                f"it is {metric!r}",
                "Choose one of these.",
            )

    def _images_of_source_alone(self) -> bool:
        """Whether nothing looks at the truth of source rows: their kind does not matter then."""
        trained = [name for name, table in self.grid.sources.items() if table.train is not None]
        try:
            if not all(pretrained(self.grid, name) for name in trained):
                return False
        except SettingsError:  # told where sources are checked
            return False
        needs = [candidate.method.needs for candidate in self.candidates]
        return all("truth" in need.target and not need.source | need.optional_source for need in needs)

    def _check_rows(self, name: str, where: str) -> None:
        """Splits, budgets and leaks."""
        source = self.source(name)
        if source is not None:
            self._check_splits(
                f"{where}.source", source, ("train",), called(name, self.grid.cohorts[name].source)
            )
        for display, target, _ in self.targets(name):
            needed = ["test"]
            if self.grid.adapt:
                needed = ["train", *(["validation"] if self._needs_validation() else []), "test"]
            if not self._check_splits(f"{where}.targets", target, needed, display):
                self._unfit.add(display)
                continue
            for budget in self.grid.budgets if self.grid.adapt else ():
                with self.collected("budgets", display):
                    within_budget(
                        target, None if budget == "all" else budget, self.grid.budget_by, self.grid.seeds[0]
                    )
            with self.collected(where, display, called(name, self.grid.cohorts[name].source)):
                check_task(Task(source=source, target=target))
                check_leaks(Task(source=source, target=target), allow=self.grid.run.allow_leak)

    def _needs_validation(self) -> bool:
        return self.grid.select == "target_validation" or self.grid.trials > 1 or self.grid.oracle

    def _check_splits(self, where: str, rows: Cohort, needed: Sequence[str], display: str) -> bool:
        empty = [split for split in needed if not len(rows.split(split))]
        for split in empty:
            self._refuse(
                where,
                f"rows of the split '{split}'",
                f"{display} has none",
                "Mark some in the manifest's column 'split'.",
            )
        return not empty

    def _check_source(self, name: str) -> None:
        table, where = self.grid.sources[name], dotted("sources", name)
        kinds: dict[Kind | None, tuple[str, ...]] = {
            cohort.kind: cohort.classes for cohort in self.cohorts.values()
        }
        for kind, classes in (kinds or {None: ("one", "other")}).items():
            if name not in self.models or table.model.startswith("random/"):
                with self.collected(f"{where}.model"):
                    self.models[name] = _open_source(table.model, table.architecture, kind, classes)
        if table.train is None:
            return
        with self.collected(f"{where}.train"):
            method = training_method(self.grid, table.train.method, table.train.settings)
            for cohort in self.cohorts:
                source = self.source(cohort)
                if source is None:
                    self._refuse(
                        f"{dotted('cohorts', cohort)}.source",
                        "sites to train source models on",
                        f"it names none, and {where} is trained",
                        "Name them, or leave out its train.",
                    )
                else:
                    with self.collected(f"{where}.train", called(cohort, self.grid.cohorts[cohort].source)):
                        seen = within_budget(source, table.train.patients, "patient", self.grid.seeds[0])
                        check_needs(source_task(seen, method), method)

    def _check_participants(self) -> None:
        for name, table in self.grid.sources.items():
            for cohort in table.cohorts:
                if cohort not in self.grid.cohorts:
                    self._refuse(
                        f"{dotted('sources', name)}.cohorts",
                        f"cohorts of the grid ({', '.join(self.grid.cohorts)})",
                        f"it got {cohort!r}{nearest(cohort, self.grid.cohorts)}",
                        "Correct it.",
                    )

    def _check_as_they_are(self) -> None:
        """Of grids that adapt nothing."""
        if self.grid.methods or self.grid.ranking is not None:
            part = "methods" if self.grid.methods else "ranking"
            self._refuse(part, "a grid that adapts", "adapt is false", f"Leave out {part}, or adapt = false.")
        for name, cohort in self.cohorts.items():
            sources = sources_on(self.grid, name)
            if len(sources) < 2:
                self._refuse(
                    "sources", f"two sources or more on {name} where adapt is false", f"it has {len(sources)}",
                    "Add some.",
                )  # fmt: skip
            for source in sources:
                table, model = self.grid.sources[source], self.models.get(source)
                blank = table.model.startswith("random/")
                unfit = model is not None and (blank or not serves(model, cohort))
                if table.train is not None:
                    unfit = self.source_cohorts[name].classes != cohort.classes or pretrained(
                        self.grid, source
                    )
                if unfit:
                    self._refuse(
                        dotted("sources", source), "a trained model with the target's classes",
                        f"it has learned nothing about {name}", "Name its train, or adapt it.",
                    )  # fmt: skip

    def _check_ranking(self, ranking: RankingTable) -> None:
        for key, names in (("baseline", (ranking.baseline,)), ("own", ranking.own)):
            for name in names:
                if name is not None and name not in self.grid.sources:
                    self._refuse(
                        f"ranking.{key}",
                        f"sources of the grid ({', '.join(self.grid.sources)})",
                        f"it got {name!r}{nearest(name, self.grid.sources)}",
                        "Correct it.",
                    )
        if len(self.grid.methods) > 1:
            self._refuse(
                "methods",
                "one method at most in a grid that ranks sources",
                f"it names {len(self.grid.methods)}",
                "Keep the one that sources are to be fine-tuned with.",
            )
        for candidate in self.candidates:
            if not candidate.sees_truth:
                self._refuse(
                    candidate.where, "in a grid that ranks sources a method that learns from target labels",
                    f"{candidate.name} does not", "Choose another.",
                )  # fmt: skip
        if self.grid.metric in ERRORS:
            self._refuse(
                "metric", "in a grid that ranks sources a score of which more is better",
                f"{self.grid.metric} is an error", "Choose auroc or another.",
            )  # fmt: skip
        for name, cohort in self.cohorts.items():
            with self.collected("ranking.by"):
                self.scores[name] = tuple(one.name for one in find_scorers(ranking.by, cohort.kind))
            candidates = [one for one in sources_on(self.grid, name) if one not in ranking.own]
            if len(candidates) < 2:
                self._refuse(
                    "ranking", f"two sources or more on {name}", f"it has {len(candidates)}", "Add some."
                )
            if ranking.baseline in self.grid.sources and ranking.baseline not in candidates:
                self._refuse(
                    "ranking.baseline", "a source that takes part on every cohort and is no own source",
                    f"{ranking.baseline} is no candidate on {name}", "Choose another, or leave it out.",
                )  # fmt: skip

    def _check_defaults(self) -> None:
        known = find_plugins("methods")
        for name, table in self.grid.defaults.items():
            where = dotted("defaults", name)
            if name not in known:
                self._refuse(
                    where,
                    f"a method among {', '.join(sorted(known))}",
                    f"it is none of them{nearest(name, known)}",
                    "Correct it.",
                )
                continue
            with self.collected(f"{where}.settings"):
                training_method(self.grid, name, table.settings)

    def _check_candidate(self, candidate: Candidate) -> None:
        rule = candidate.select or self.grid.select
        if len(candidate.trials) > 1 and rule == "last":
            self._refuse(
                f"{candidate.where}.search",
                "a selection rule that scores",
                "the rule is 'last'",
                "Choose another select.",
            )
        if candidate.source is not None:
            self._check_start(candidate, candidate.source)
        needs = candidate.method.needs
        for name in self.cohorts:
            for display, target, _ in self.targets(name):
                if display in self._unfit:
                    continue
                task = Task(source=self.source(name), target=target)
                with self.collected(candidate.where, display):
                    if needs.source and task.source is None:
                        raise NeedError(
                            candidate.label, "rows of a source site", f"{name} names none",
                            f"Name sites as {dotted('cohorts', name)}.source.",
                        )  # fmt: skip
                    check_needs(task, candidate.method)
                with self.collected(f"{candidate.where}.select", display):
                    choose_rule(
                        rule,
                        sees_target_truth="truth" in needs.target,
                        target=_rows(task.target, "validation"),
                        source=_rows(task.source, "validation"),
                    )

    def _check_start(self, candidate: Candidate, source: str) -> None:
        where = f"{candidate.where}.source"
        if source not in self.grid.sources:
            self._refuse(
                where, f"a source of the grid ({', '.join(self.grid.sources)})",
                f"it is {source!r}{nearest(source, self.grid.sources)}", "Correct it.",
            )  # fmt: skip
        elif self.grid.ranking is not None:
            self._refuse(
                where, "a grid that compares methods", "this one ranks sources, each with the same method",
                "Leave it out.",
            )  # fmt: skip
        elif self.grid.sources[source].cohorts:
            self._refuse(
                where, "a source that takes part on all cohorts",
                f"{source} names {', '.join(self.grid.sources[source].cohorts)}", "Leave out its cohorts.",
            )  # fmt: skip
        elif any(not sources_on(self.grid, name) for name in self.grid.cohorts):
            self._refuse(
                where, "another source beside it, that the other methods start from", "there is none", "Add one.",
            )  # fmt: skip


def _rows(cohort: Cohort | None, split: str) -> Cohort | None:
    rows = cohort.split(split) if cohort is not None else None
    return rows if rows is not None and len(rows) else None


def _open_source(name: str, architecture: str | None, kind: Kind | None, classes: tuple[str, ...]) -> Model:
    from medgraft.engine.randomness import seeded
    from medgraft.models.sources import open_source

    with seeded(0, "source"):
        if name.startswith("random/"):
            return open_source(name, kind=kind, classes=classes)
        return open_source(name, architecture=architecture)


def serves(model: Model, cohort: Cohort) -> bool:
    """True where a model can be scored on a cohort as it is: same kind, and the cohort's classes."""
    spec = model.spec
    if spec.kind != cohort.kind:
        return False
    return (
        spec.classes == cohort.classes
        if cohort.kind == "segment"
        else set(cohort.classes) <= set(spec.classes)
    )
