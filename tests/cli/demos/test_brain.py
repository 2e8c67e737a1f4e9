"""What the brain demo trains and tests on, and what it says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from medgraft.cli.demos import brain


@pytest.mark.parametrize(("site", "blocks"), [("colin27", 4), ("robex", 3)])
def test_slabs_are_either_for_training_or_for_testing(site: str, blocks: int) -> None:
    cohort = brain.brain_at(site)
    test, training = cohort.split("test"), cohort.split("train")
    assert len(set(test.units)) == blocks and not set(test.units) & set(training.units)
    assert len(training) == 20 and len(test) == 5 * blocks
    assert cohort.unit_name == "slabs of one head"
    for count in brain.FEW:
        few = [set(cohort.few(count, seed=seed).split("train").table.index) for seed in range(3)]
        assert all(len(rows) == count for rows in few) and len(set(map(frozenset, few))) == 3


def test_the_same_splits_are_made_again_from_the_recipe() -> None:
    from medgraft.data.cohort import Cohort

    few = brain.brain_at("robex").few(4, seed=1)
    assert Cohort.from_recipe(few.recipe).fingerprint() == few.fingerprint()


@pytest.mark.parametrize("quick", [False, True])
def test_every_graft_is_compared_with_no_adaptation_and_with_a_start_from_scratch(quick: bool) -> None:
    names = [subject.name for subject in brain.subjects(quick)]
    pairs = set(brain.comparisons(quick))
    assert {(name, brain.UNADAPTED) for name in names[1:]} <= pairs
    assert ("fine-tuning with 16 slices", "from scratch with all 20 slices") in pairs
    assert (("fine-tuning with 4 slices", "from scratch with 4 slices") in pairs) == (not quick)
    assert {name for pair in pairs for name in pair} == set(names)


def test_a_reader_learns_what_the_demo_cannot_show() -> None:
    told = " ".join(brain.caveats(quick=True))
    assert "--quick, on one seed" in told and "80 steps" in told and "fine-tuned for 20" in told
    assert "one scan of one head" in told and "different programs" in told


def test_every_start_from_scratch_has_the_same_network_and_weights_of_its_own() -> None:
    one, other = brain.untrained(), brain.untrained()
    assert all((a == b).all() for a, b in zip(one.parameters(), other.parameters(), strict=True))
    scopes = [brain.method(subject, quick=False).scope for subject in brain.subjects(quick=False)]
    assert scopes == ["all"] * 3 + ["from_scratch"] * 2


@pytest.mark.slow
def test_the_demo_writes_its_report_and_trains_nothing_twice(
    medgraft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STEPS", "QUICK_SCRATCH_EPOCHS", "QUICK_TUNING_EPOCHS"):
        monkeypatch.setattr(brain, name, 1)
    words = ("demo", "--task", "segmentation", "--quick", "--out", tmp_path / "demo")
    first = medgraft(*words)
    assert first.exit_code == 0, first.output
    for told in ("Colin27 to ROBEX", "ROBEX to Colin27", "surface Dice, 2 mm", "no adaptation", "s in all"):
        assert told in first.output
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    for told in (
        "surface Dice at 2 mm", "HD95 (mm)", "slabs of one head are too few to show a difference",
        "intervals are over 3 slabs of one head, not patients", "Outlines: the truth green",
    ):  # fmt: skip
        assert told in page, told
    assert page.count('class="gallery outlined"') == 8
    models = sorted((tmp_path / "demo" / "runs").rglob("*.safetensors"))
    assert len(models) == 6
    before = [model.stat().st_mtime_ns for model in models]
    again = medgraft(*words)
    assert [model.stat().st_mtime_ns for model in models] == before
    tables = [result.output.partition("\nreport ")[0] for result in (first, again)]
    assert tables[0][-800:] == tables[1][-800:]
