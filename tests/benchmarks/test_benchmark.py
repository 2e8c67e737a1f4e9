"""A whole grid: what it says equals what the verbs say one by one, and nothing that is there is computed again."""

from __future__ import annotations

import json
import multiprocessing
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.benchmarks.conftest import write_sites

import medgraft as mg
from medgraft.benchmarks.cell import Stop, run_cell
from medgraft.benchmarks.collect import TIMES
from medgraft.benchmarks.plan import make_plan
from medgraft.benchmarks.rows import within_budget
from medgraft.benchmarks.spent import Clock
from medgraft.benchmarks.store import Store
from medgraft.engine import loop
from medgraft.engine.predict import predict_labels
from medgraft.engine.run import Interrupted
from medgraft.errors import RunError
from medgraft.evidence import Evidence
from medgraft.metrics.classification import auroc


def results(folder: Path) -> dict[str, float]:
    """When each cell's result was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in Path(folder).glob("cells/*/cell.json")}


def told_apart(entry: dict) -> dict:
    return {key: value for key, value in entry.items() if not key.startswith("seconds")}


def assert_equal_evidence(one: Evidence, other: Evidence) -> None:
    """All but times and memory."""
    pd.testing.assert_frame_equal(one.facts, other.facts, check_exact=True)
    assert list(one.tables) == list(other.tables)
    for name, table in one.tables.items():
        left, right = (
            each.drop(columns=[c for c in TIMES if c in each]) for each in (table, other.tables[name])
        )
        pd.testing.assert_frame_equal(left, right, check_exact=True)
    assert [told_apart(entry) for entry in one.provenance] == [
        told_apart(entry) for entry in other.provenance
    ]
    assert one.warnings == other.warnings
    assert one.images.keys() == other.images.keys()


def test_a_grid_says_what_the_verbs_say(grid, sites, tmp_path):
    evidence = mg.benchmark(grid(True, seeds=[3], methods={}), tmp_path / "out")
    cohort = mg.read_manifest(sites)
    target = within_budget(cohort.at("B"), 2, "patient", 3)
    settings = {"schedule": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 8}, "augmentation": "none"}
    method = mg.methods.FineTune(**settings)
    source = mg.adapt("random/test_resnet", mg.Task(target=cohort.at("A")), method, quiet_run())
    adapted = mg.adapt(source, mg.Task(target=target), method, quiet_run())
    whole = evidence.facts[evidence.facts["subject"] == "full fine-tuning, 2 patients"]
    for site in "AB":
        wanted = mg.evaluate(adapted, cohort.at(site).split("test"), repeats=20).facts
        found = whole[whole["cohort"] == f"discs at {site}"]
        numbers = ["metric", "part", "value", "low", "high", "n", "unit"]
        pd.testing.assert_frame_equal(
            found[numbers].reset_index(drop=True), wanted[numbers], check_exact=True
        )
    assert set(whole["selection"]) == {"target_validation"}


def quiet_run() -> mg.Run:
    return mg.Run(seed=3, device="cpu", workers=0)


def test_the_table_of_cells_tells_everything(grid, tmp_path):
    evidence = mg.benchmark(grid(True, seeds=[1]), tmp_path / "out")
    table = evidence.tables["grid"]
    assert list(table.columns) == [
        "subject", "method", "source", "source_cohort", "cohort", "budget", "budget_by", "labelled_images", "seed",
        "role", "selection", "state", "error", "tried", "settings", "seconds", "peak_mib", "gpu_seconds",
    ]  # fmt: skip
    assert len(table) == 5 and set(table["state"]) == {"finished"}
    lines = table.set_index(["subject", "seed"])
    assert lines.loc[("no adaptation", 1), ["budget", "labelled_images", "tried"]].tolist() == [0, 0, 0]
    # two patients of two images each, and the two validation patients, one per class, that come with them
    assert lines.loc[("full fine-tuning, 2 patients", 1), "labelled_images"] == 8
    assert lines.loc[("pixels, 2 patients", 1), "labelled_images"] == 4, "it selects no epoch"
    assert lines.loc[("full fine-tuning, all patients", 1), "labelled_images"] == 16 + 4
    assert json.loads(lines.loc[("pixels, 2 patients", 1), "settings"])["side"] == 12
    assert (
        (table["seconds"] > 0).all() and (table["peak_mib"] > 50).all() and table["gpu_seconds"].isna().all()
    )
    assert set(table["source_cohort"]) == {"discs at A"} and set(table["cohort"]) == {"discs at B"}
    assert {f"predictions/{subject}/1" for subject in table["subject"]} <= set(evidence.tables)
    assert not any("@" in text for text in (*evidence.tables, *evidence.warnings, str(evidence.provenance)))
    assert set(evidence.facts["cohort"]) == {"discs at A", "discs at B"} and set(evidence.facts["split"]) == {
        "test"
    }
    comparisons = evidence.tables["comparisons"]
    assert set(zip(comparisons["subject"], comparisons["reference"])) == {
        ("pixels, 2 patients", "no adaptation"), ("pixels, 2 patients", "full fine-tuning, 2 patients"),
        ("pixels, 2 patients", "from scratch, 2 patients"), ("full fine-tuning, 2 patients", "no adaptation"),
        ("from scratch, 2 patients", "no adaptation"), ("full fine-tuning, all patients", "no adaptation"),
    }  # fmt: skip


def test_only_what_evidence_needs_is_kept(grid, tmp_path):
    mg.benchmark(grid(True, methods={}), tmp_path / "out")
    assert len(list((tmp_path / "out").glob("cells/*/model"))) == 1, "the source's"
    assert not list((tmp_path / "out").rglob("scratch"))
    mg.benchmark(grid(keep_models=True), tmp_path / "out")
    assert len(list((tmp_path / "out").glob("cells/*/model"))) == 1 + 3


def test_what_is_there_is_not_computed_again(grid, tmp_path):
    first = mg.benchmark(grid(), tmp_path / "out")
    before = results(tmp_path / "out")
    assert_equal_evidence(first, mg.benchmark(grid(), tmp_path / "out"))
    assert results(tmp_path / "out") == before
    more = grid(
        methods={
            "pixels": {"method": "simple_baseline"},
            "colour": {"method": "simple_baseline", "settings": {"statistics": "colour"}},
        }
    )
    evidence = mg.benchmark(more, tmp_path / "out")
    after = results(tmp_path / "out")
    assert {key: after[key] for key in before} == before and len(after) == len(before) + 1
    assert "colour, 2 patients" in set(evidence.facts["subject"])
    mg.benchmark(grid(), tmp_path / "out", resume=False)
    anew = results(tmp_path / "out")
    assert all(anew[key] > when for key, when in before.items())


def test_images_prepared_ahead_and_kept_change_no_result(grid, tmp_path):
    first = mg.benchmark(grid(), tmp_path / "out")
    ahead = grid(run={**grid()["run"], "workers": 2, "cache": str(tmp_path / "prepared")})
    again = mg.benchmark(ahead, tmp_path / "again")
    assert (
        again.provenance[0]["grid"]["run"].pop("cache") == "prepared"
    )  # names of folders are nobody's business
    first.provenance[0]["grid"]["run"].pop("cache")
    first.provenance[0]["grid"]["run"]["workers"] = 2
    assert_equal_evidence(first, again)
    assert any((tmp_path / "prepared").iterdir())


def test_evidence_is_found_by_report(grid, tmp_path):
    evidence = mg.benchmark(grid(), tmp_path / "out")
    saved = mg.load_evidence(tmp_path / "out" / "evidence")
    assert_equal_evidence(evidence, saved)
    mg.report(saved, tmp_path / "report.html")
    assert "full fine-tuning" in (tmp_path / "report.html").read_text("utf-8")


def test_a_failed_cell_keeps_its_sentence_and_stops_nobody(grid, plugin, tmp_path):
    mended = tmp_path / "mended"
    bad = grid(
        methods={
            "fails": {"method": "fail", "settings": {"unless": str(mended)}},
            "defect": {"method": "fail", "settings": {"defect": True}},
            "pixels": {"method": "simple_baseline"},
        }
    )
    table = mg.benchmark(bad, tmp_path / "out").tables["grid"].set_index("method")
    assert table.loc["fails", ["state", "error"]].tolist() == [
        "failed",
        "Fail needs a file, but discs at B has none. Add it.",
    ]
    assert table.loc["defect", "error"] == "ZeroDivisionError: a defect"
    assert (table.drop(["fails", "defect"])["state"] == "finished").all()
    key = next(path.parent for path in (tmp_path / "out").rglob("traceback.txt"))
    assert "ZeroDivisionError" in (key / "traceback.txt").read_text()
    mended.touch()
    assert (
        mg.benchmark(bad, tmp_path / "out").tables["grid"].set_index("method").loc["fails", "state"]
        == "failed"
    )
    table = mg.benchmark(bad, tmp_path / "out", retry_failed=True).tables["grid"].set_index("method")
    assert table.loc["fails", "state"] == "finished" and table.loc["defect", "state"] == "failed"


def test_what_needs_a_source_that_failed_fails_until_it_is_mended(grid, plugin, tmp_path):
    mended = tmp_path / "mended"
    train = {"method": "fail", "settings": {"unless": str(mended)}}
    bad = grid(sources={"net": {"model": "random/test_resnet", "train": train}})
    evidence = mg.benchmark(bad, tmp_path / "out")
    table = evidence.tables["grid"]
    assert set(table["state"]) == {"failed"}
    assert table["error"].str.startswith("Its source model could not be trained: Fail needs a file").all()
    assert evidence.facts.empty and len(results(tmp_path / "out")) == 1
    mended.touch()
    assert set(mg.benchmark(bad, tmp_path / "out", retry_failed=True).tables["grid"]["state"]) == {"finished"}


def test_validation_chooses_the_setting_and_says_which(grid, sites, tmp_path):
    search = {"inverse_penalty": [1e-9, 1.0], "balanced": [True]}
    methods = {
        "pixels": {"method": "simple_baseline", "search": search, "settings": {"statistics": "pixels"}}
    }
    some = grid(methods=methods, trials=2, budgets=["all"], metric="auroc")
    line = mg.benchmark(some, tmp_path / "out").tables["grid"].set_index("method").loc["pixels"]
    assert line["tried"] == 2 and line["labelled_images"] == 16 + 4, "validation labels chose the setting"
    target = mg.read_manifest(sites).at("B")
    scores = []
    for penalty in search["inverse_penalty"]:
        model = mg.adapt(
            "random/test_resnet", mg.Task(target=target), mg.methods.SimpleBaseline(inverse_penalty=penalty)
        )
        rows = target.split("validation")
        scores.append(auroc(rows.labels, predict_labels(model, rows).probabilities))
    assert (
        json.loads(line["settings"])["inverse_penalty"] == search["inverse_penalty"][int(np.argmax(scores))]
    )


def test_unequal_search_is_said(grid, tmp_path):
    some = grid(trials=2, budgets=["all"])
    evidence = mg.benchmark(some, tmp_path / "out")
    assert "Search was unequal: up to 2 settings were tried per method, but of pixels 1." in evidence.warnings


def test_oracle_scores_are_facts_beside(grid, tmp_path):
    evidence = mg.benchmark(grid(oracle=True, budgets=[2]), tmp_path / "out")
    facts, table = evidence.facts, evidence.tables["grid"]
    beside = facts[facts["selection"] == "oracle"]
    assert set(beside["subject"]) == {
        "pixels, 2 patients",
        "full fine-tuning, 2 patients",
    }
    assert set(beside["cohort"]) == {"discs at B"}, "what was forgotten is measured once"
    assert not (table["selection"] == "oracle").any() and len(table) == 3


def test_several_targets_keep_what_was_forgotten_apart(grid, sites, tmp_path):
    cohorts = {"discs": {"data": str(sites), "source": ["A"], "targets": ["A", "B"]}}
    facts = mg.benchmark(grid(True, cohorts=cohorts, methods={}, budgets=["all"]), tmp_path / "out").facts
    full = facts[(facts["subject"] == "full fine-tuning, all patients") & (facts["metric"] == "accuracy")]
    assert list(zip(full["cohort"], full["split"])) == [
        ("discs at A", "test"), ("discs at A", "test after discs at A"),
        ("discs at B", "test"), ("discs at A", "test after discs at B"),
    ]  # fmt: skip


def test_a_stopped_grid_continues_to_the_same_evidence(grid, plugin, tmp_path):
    some = grid(methods={"waits": {"method": "wait"}}, budgets=["all"])
    whole = mg.benchmark(some, tmp_path / "whole")
    stop = Stop()
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        if len(lines) == 1:
            stop.ask()

    with pytest.raises(Interrupted):
        mg.benchmark(some, tmp_path / "out", tell=tell, stop=stop)
    assert len(lines) == 1 and len(results(tmp_path / "out")) == 1
    assert len(mg.load_evidence(tmp_path / "out" / "evidence").tables["grid"]) == 1, (
        "what is there can be looked at"
    )
    before = results(tmp_path / "out")
    assert_equal_evidence(whole, mg.benchmark(some, tmp_path / "out"))
    assert {key: results(tmp_path / "out")[key] for key in before} == before


def test_a_training_that_is_stopped_goes_on_where_it_was(grid, tmp_path, monkeypatch):
    long = {"schedule": {"epochs": 6, "steps_per_epoch": 1, "batch_size": 8}, "augmentation": "none"}
    some = grid(defaults={"fine_tune": {"settings": long}}, methods={}, budgets=["all"])
    whole = mg.benchmark(some, tmp_path / "whole")
    stop, trained = Stop(), []
    original = loop._Training.train_epoch

    def train_epoch(self, epoch, advance):
        original(self, epoch, advance)
        self.saved_at = float("-inf")  # a checkpoint after every epoch
        trained.append(epoch)
        if len(trained) == 3:
            stop.ask()

    monkeypatch.setattr(loop._Training, "train_epoch", train_epoch)
    with pytest.raises(Interrupted):
        mg.benchmark(some, tmp_path / "out", stop=stop)
    assert_equal_evidence(whole, mg.benchmark(some, tmp_path / "out"))
    assert trained == [0, 1, 2, 3, 4, 5], (
        "the epoch that was interrupted, and no earlier one, is trained again"
    )


def test_a_folder_of_something_else_is_refused(grid, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").touch()
    with pytest.raises(RunError, match="holds other files"):
        mg.benchmark(grid(), tmp_path / "out")


def compute(grid: dict, folder: str, told: multiprocessing.Queue) -> None:
    """In a process of its own."""
    lines: list[str] = []
    mg.benchmark(grid, folder, tell=lines.append)
    told.put(len(lines))


def test_a_cell_that_another_process_computes_is_left_to_it(grid, tmp_path):
    plan = make_plan(grid())
    store = Store(tmp_path / "out")
    cell = next(iter(plan.cells.values()))
    with store.claimed(cell.key) as mine:
        assert mine
        assert run_cell(cell, store, Stop()) == "busy"
        with store.claimed(cell.key) as again:
            assert not again
    assert run_cell(cell, store, Stop()) == "done"


def test_a_source_that_another_process_trains_is_waited_for(grid, tmp_path):
    some = grid(trained=True)
    plan, store = make_plan(some), Store(tmp_path / "out")
    (source,) = (cell.key for cell in plan.cells.values() if cell.purpose == "train a source")
    store.begin(plan.grid.model_dump(mode="json"))
    given_up = threading.Event()

    def hold() -> None:
        with store.claimed(source) as mine:
            assert mine
            held.set()
            given_up.wait(4)

    held, other = threading.Event(), threading.Thread(target=hold)
    other.start()
    held.wait()

    def tell_too_long(*_: object) -> None:
        raise TimeoutError("the grid waits for a source that nobody trains any more")

    before = signal.signal(signal.SIGALRM, tell_too_long)
    signal.alarm(90)
    try:
        evidence = mg.benchmark(some, tmp_path / "out")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        given_up.set()
        other.join()
    assert (evidence.tables["grid"]["state"] == "finished").all()


@pytest.mark.slow
def test_two_processes_share_a_grid(grid, plugin, tmp_path):
    some = grid(methods={"waits": {"method": "wait", "settings": {"seconds": 0.3}}}, seeds=[0, 1, 2])
    whole = mg.benchmark(some, tmp_path / "whole")
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    processes = [context.Process(target=compute, args=(some, str(tmp_path / "out"), told)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
        assert process.exitcode == 0
    assert_equal_evidence(whole, mg.load_evidence(tmp_path / "out" / "evidence"))
    assert not list((tmp_path / "out").glob(".evidence*")), "no half-written evidence"


def test_seconds_of_earlier_starts_count(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    Clock(folder)
    time.sleep(0.3)
    (folder / "checkpoint").touch()
    assert Clock(folder).seconds >= 0.3


def test_methods_get_source_rows_and_what_the_source_s_optimiser_remembered(grid, tmp_path):
    short = {"schedule": {"epochs": 2, "steps_per_epoch": 1, "batch_size": 8, "optimizer": "adam"}}
    settings = {**short, "augmentation": "none"}
    sources = {"net": {"model": "random/test_resnet", "train": {"method": "fine_tune", "settings": settings}}}
    methods = {name: {"method": name, "settings": settings} for name in ("mmtl", "octl")}
    evidence = mg.benchmark(grid(sources=sources, methods=methods), tmp_path / "out")
    assert not [warning for warning in evidence.warnings if "failed" in warning]
    subjects = set(evidence.facts["subject"])
    assert {"mmtl, 2 patients", "octl, 2 patients"} <= subjects
    forgotten = evidence.facts[evidence.facts["cohort"] == "discs at A"]
    assert {"mmtl, 2 patients", "octl, 2 patients"} <= set(forgotten["subject"])


def test_a_method_that_sees_nothing_of_the_target_is_trained_once_for_all_targets(
    grid, tmp_path, monkeypatch
):
    """Its scores are those of training for each target by itself, its costs too; the models go in the end."""
    short = {"augmentation": "none", "schedule": {"epochs": 2, "steps_per_epoch": 2, "batch_size": 8}}
    net = {"model": "random/test_resnet", "train": {"method": "fine_tune", "settings": short}}
    data = str(write_sites(tmp_path / "three", "classify", sites="ABC"))
    cohorts = {"discs": {"data": data, "source": ["A"], "targets": ["B", "C"]}}
    plan = {
        "sources": {"net": net},
        "methods": {"erm": {"method": "erm", "settings": short}},
        "cohorts": cohorts,
    }
    trained = []
    fit = loop._Training.run_to_end
    monkeypatch.setattr(
        loop._Training, "run_to_end", lambda self: trained.append(self.run.folder) or fit(self)
    )
    evidence = mg.benchmark(grid(**plan), tmp_path / "out")
    assert sum("shared" in str(folder) for folder in trained) == len(grid()["seeds"])
    assert not list((tmp_path / "out" / "shared").glob("*"))
    one = {"discs": {**cohorts["discs"], "targets": ["C"]}}
    alone = mg.benchmark(grid(**{**plan, "cohorts": one}), tmp_path / "alone")

    def scores(found: Evidence) -> pd.DataFrame:
        here = found.facts[(found.facts["subject"] == "erm") & (found.facts["cohort"] == "discs at C")]
        return here.sort_values(["metric", "part", "seed", "split"]).reset_index(drop=True)

    pd.testing.assert_frame_equal(scores(evidence), scores(alone), check_exact=True)
    cells = evidence.tables["grid"]
    seconds = cells[cells["method"] == "erm"].set_index("cohort")["seconds"].astype(float)
    assert seconds["discs at C"].min() > 0.5 * seconds["discs at B"].min()


def test_what_a_method_warns_of_stands_in_the_evidence_once(grid, plugin, tmp_path) -> None:
    told = {"method": "wait", "settings": {"warning": "it has not converged"}}
    evidence = mg.benchmark(grid(methods={"waits": told}, seeds=[0, 1]), tmp_path / "out")
    found = [warning for warning in evidence.warnings if "converged" in warning]
    assert found == ["waits, 2 patients on discs at B: it has not converged"]
