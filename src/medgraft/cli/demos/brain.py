"""The demo of segmentation: the brain in MR slices, from one real site to another and back.

Settings were chosen by the time they take and by common practice, before anything was measured with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from medgraft.data.cohort import Cohort
    from medgraft.evidence import Evidence
    from medgraft.methods import FineTune
    from medgraft.models.model import Model

TITLE = "medgraft demo: the brain in MR slices of two sites"
SITES = {"colin27": "Colin27", "robex": "ROBEX"}
SIZE = (96, 80)  # about 2.3 mm; both sites then see the head at the same scale
WIDTH, DEPTH = 8, 3
STEPS = 10  # per epoch
SCRATCH_EPOCHS, QUICK_SCRATCH_EPOCHS = 12, 8
TUNING_EPOCHS, QUICK_TUNING_EPOCHS = 5, 2
FEW = (4, 16)
TOLERANCE_MM = 2.0
METRIC = "surface_dice_2mm"
SHOWN = {METRIC: "surface Dice, 2 mm", "dice": "Dice"}
TRAINED_ON = "brain masks"
UNADAPTED = "no adaptation"


class Subject(NamedTuple):
    """A model to be tested at a site.

    slices: labelled slices of that site; None for all.
    grafted: True if it starts from the other site's model.
    """

    name: str
    slices: int | None
    grafted: bool


def run_brain(runs: Path, seeds: Iterable[int], quick: bool) -> Evidence:
    """Train at each site, test at the other before and after fine-tuning; what is finished in `runs` is kept."""
    import medgraft as mg
    from medgraft.engine.progress import progress_bar

    seeds = list(seeds)
    evidence = mg.Evidence(warnings=caveats(quick))
    with progress_bar("brain", 2 * len(seeds) * len(subjects(quick))) as advance:
        for target, source in (("robex", "colin27"), ("colin27", "robex")):
            test = brain_at(target).split("test")
            for subject in subjects(quick):
                for seed in seeds:
                    run = train(subject, source, target, runs, seed, quick)
                    evidence += mg.evaluate(
                        run, test, subject=subject.name, seed=seed, split="test", tolerance_mm=TOLERANCE_MM
                    )
                    advance(f"{SITES[target]}: {subject.name}")
            for subject_name, reference in comparisons(quick):
                # of this target only: the other one's are in the evidence already
                evidence += compare_at(evidence, test.name, subject_name, reference)
    return evidence


def subjects(quick: bool) -> list[Subject]:
    """What is tested at each site; a quick demo leaves out training from scratch on few slices."""
    few, many = FEW
    found = [
        Subject(UNADAPTED, 0, grafted=True),
        Subject(f"fine-tuning with {few} slices", few, grafted=True),
        Subject(f"fine-tuning with {many} slices", many, grafted=True),
        Subject(f"from scratch with {few} slices", few, grafted=False),
        Subject("from scratch with all 20 slices", None, grafted=False),
    ]
    return [subject for subject in found if not (quick and subject.slices == few and not subject.grafted)]


def comparisons(quick: bool) -> Iterator[tuple[str, str]]:
    """Everything against the model as it came, and each graft against a start from scratch."""
    names = [subject.name for subject in subjects(quick)]
    unadapted, few, many, *scratch = names
    yield from ((name, unadapted) for name in names if name != unadapted)
    if not quick:
        yield few, scratch[0]
    yield many, scratch[-1]


def caveats(quick: bool) -> tuple[str, ...]:
    """What a reader must know beside what the samples say of themselves."""
    scratch, tuning = (
        (QUICK_SCRATCH_EPOCHS, QUICK_TUNING_EPOCHS) if quick else (SCRATCH_EPOCHS, TUNING_EPOCHS)
    )
    told = (
        f"Networks from scratch were trained for {scratch * STEPS} steps, the source models too, and fine-tuned for "
        f"{tuning * STEPS}, which is little."
    )
    return (
        f"The demo ran with --quick, on one seed. {told}" if quick else told,
        "The two sites' masks were made by different programs, which draw the edge of the brain differently. A part of "
        "what labels of the target site teach is where its program draws it.",
        "Each site is one scan of one head, an average or an atlas: nothing follows for patients.",
    )


def brain_at(site: str) -> Cohort:
    """One site's slices: every second slab is for testing, so that four or three slabs can be resampled."""
    from medgraft.data.samples import load_samples

    whole = load_samples("brain").at(site)
    # slabs lie 6 mm apart, whichever side of the split they are on
    cohort = whole.with_splits(["test" if int(unit[-1]) % 2 else "train" for unit in whole.units.tolist()])
    other = next(name for key, name in SITES.items() if key != site)
    cohort.name = f"{other} to {SITES[site]}"
    return cohort


def train(subject: Subject, source: str, target: str, runs: Path, seed: int, quick: bool) -> Path:
    """Adapt as the subject says, or find that done; returns the run's folder."""
    import medgraft as mg

    if subject.slices == 0:
        return train(subjects(quick)[-1], target, source, runs, seed, quick)
    start: Path | Model = untrained()
    if subject.grafted:
        start = train(subjects(quick)[-1], target, source, runs, seed, quick)
    cohort = brain_at(target)
    if subject.slices is not None:
        cohort = cohort.few(subject.slices, seed=seed)
    count = "all" if subject.slices is None else str(subject.slices)
    folder = runs / target / f"{'grafted' if subject.grafted else 'scratch'}-{count}" / f"seed-{seed}"
    run = mg.Run(folder, seed=seed, select="last", device="cpu")
    mg.adapt(start, mg.Task(target=cohort), method(subject, quick), run)
    return folder


def untrained() -> Model:
    """The small U-Net that every training from scratch starts from; its weights are drawn anew for each seed."""
    from medgraft.engine.randomness import seeded
    from medgraft.models.spec import ModelSpec
    from medgraft.models.unet import UNet
    from medgraft.types import Preparation

    spec = ModelSpec(
        kind="segment",
        classes=("background", "brain"),
        channels=1,
        preparation=Preparation(size=SIZE, channels=1, intensity="zscore"),
    )
    with seeded("brain demo"):
        return UNet(spec, width=WIDTH, depth=DEPTH)


def method(subject: Subject, quick: bool) -> FineTune:
    """Everything is trained, with flips and small rotations."""
    from medgraft.engine.schedule import Schedule
    from medgraft.methods import FineTune

    if subject.grafted:
        epochs, lr = QUICK_TUNING_EPOCHS if quick else TUNING_EPOCHS, 1e-3
    else:
        epochs, lr = QUICK_SCRATCH_EPOCHS if quick else SCRATCH_EPOCHS, 3e-3
    return FineTune(
        scope="all" if subject.grafted else "from_scratch",
        schedule=Schedule(epochs=epochs, steps_per_epoch=STEPS, batch_size=8, lr=lr),
        estimate_batch_stats=True,
    )


def compare_at(evidence: Evidence, cohort: str, subject: str, reference: str) -> Evidence:
    """The paired difference at one site."""
    import medgraft as mg

    found = mg.compare(evidence, subject, reference, METRIC)
    table = found.tables["comparisons"]
    return mg.Evidence(tables={"comparisons": table[table["cohort"] == cohort].reset_index(drop=True)})
