"""The demo of classification: a pre-trained network grafted onto real H&E nuclei, beside baselines to beat."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from medgraft.data.cohort import Cohort
    from medgraft.engine.method import Method
    from medgraft.evidence import Evidence

TITLE = "medgraft demo: H&E nuclei"
EPOCHS, QUICK_EPOCHS = 7, 1
SOURCE = "packaged/efficientnet_lite0"
LABELLED_PER_CLASS = 40
SIZE = (96, 96)
METRIC = "balanced_accuracy"
SHOWN = {"balanced_accuracy": "balanced accuracy", "auroc": "AUROC"}
TRAINED_ON = f"{LABELLED_PER_CLASS} labelled crops per class"
PIXELS, SCRATCH = "12x12 pixels", "from scratch"
GREY = " (grey)"
PRETRAINED = ("linear probe", "head then all", "full fine-tuning")


class Panel(NamedTuple):
    """One cohort and the methods compared on it; `folder` is its part of the runs' folder."""

    folder: str
    cohort: Cohort
    methods: dict[str, Method]


def run_nuclei(runs: Path, seeds: Iterable[int], quick: bool) -> Evidence:
    """Adapt, evaluate and compare every method of both panels; what is finished in `runs` is not trained again."""
    import medgraft as mg

    evidence = mg.Evidence.empty()
    for panel in make_panels(quick):
        evidence += run_panel(panel, runs / panel.folder, list(seeds))
    return evidence + mg.Evidence(warnings=(budget(quick),))


def budget(quick: bool) -> str:
    """What a reader must know about how long networks were trained."""
    epochs = QUICK_EPOCHS if quick else EPOCHS
    length = f"{epochs} epoch{'s' * (epochs > 1)}"
    told = f"Every network trained for {length}, which is little, most of all for one from scratch."
    return f"The demo ran with --quick, on one seed. {told}" if quick else told


def make_panels(quick: bool) -> list[Panel]:
    """Colour crops with every method; grey, standardised crops with the probe and the baselines."""
    from medgraft.data.samples import load_samples
    from medgraft.engine.schedule import Schedule
    from medgraft.images.augmentation import Augmentation
    from medgraft.methods import FineTune, SimpleBaseline

    schedule = Schedule(
        epochs=QUICK_EPOCHS if quick else EPOCHS, batch_size=32, lr=1e-3, warmup_epochs=0 if quick else 1
    )
    head = Schedule(epochs=30 if quick else 100, batch_size=32, lr=1e-2, weight_decay=1e-4)
    shared = {
        "size": SIZE,
        "schedule": schedule,
        "head_schedule": head,
        "augmentation": Augmentation.preset("dihedral"),
        "estimate_batch_stats": True,
    }
    probe = {"linear probe": FineTune(scope="head", **shared)}  # type: ignore[arg-type]
    networks: dict[str, Method] = {
        SCRATCH: FineTune(scope="from_scratch", **shared),  # type: ignore[arg-type]
        **probe,
        "head then all": FineTune(scope="head_then_all", **shared),  # type: ignore[arg-type]
        "full fine-tuning": FineTune(scope="all", **shared),  # type: ignore[arg-type]
    }
    if quick:
        del networks["head then all"]
    baselines: dict[str, Method] = {
        "majority class": SimpleBaseline(statistics="majority"),
        "colour statistics": SimpleBaseline(statistics="colour"),
        PIXELS: SimpleBaseline(statistics="pixels", side=12),
    }
    nuclei = load_samples("nuclei").at("nest")
    return [
        Panel("colour", nuclei, {**baselines, **networks}),
        Panel(
            "grey",
            grey_crops(nuclei),
            {f"{name}{GREY}": method for name, method in (baselines | probe).items()},
        ),
    ]


def grey_crops(cohort: Cohort) -> Cohort:
    """The same crops without what solves them at a glance: grey, each standardised to the same mean and contrast."""
    import numpy as np

    from medgraft.data.cohort import Cohort

    images = np.stack([standardised_grey(cohort.picture(row).array) for row in range(len(cohort))])
    return Cohort.from_arrays(
        images,
        cohort.labels,
        kind="classify",
        classes=cohort.classes,
        patients=cohort.patients.tolist(),
        sites=cohort.sites.tolist(),
        split=cohort.table["split"].tolist(),
        units=cohort.units.tolist(),
        name=f"{cohort.name}, grey",
        notes=cohort.notes,
    )


def standardised_grey(array: np.ndarray) -> np.ndarray:
    """Luminance with mean 128 and standard deviation 40: (H, W, 3) uint8 to (H, W, 1) uint8."""
    import numpy as np

    grey = array.astype(np.float64) @ (0.299, 0.587, 0.114)
    scaled = 128 + 40 * (grey - grey.mean()) / max(grey.std(), 1e-6)
    whole: np.ndarray = scaled.round().clip(0, 255).astype(np.uint8)
    return whole[..., None]


def run_panel(panel: Panel, runs: Path, seeds: list[int]) -> Evidence:
    """Adapt and evaluate every method of a panel for every seed, and compare what a user should see compared."""
    import medgraft as mg
    from medgraft.engine.progress import progress_bar

    evidence = mg.Evidence.empty()
    test = panel.cohort.split("test")
    with progress_bar(panel.cohort.name, len(panel.methods) * len(seeds)) as advance:
        for subject, method in panel.methods.items():
            for seed in seeds:
                folder = runs / re.sub(r"\W+", "-", subject).strip("-") / f"seed-{seed}"
                task = mg.Task(target=panel.cohort.few(LABELLED_PER_CLASS, seed=seed))
                mg.adapt(SOURCE, task, method, mg.Run(folder, seed=seed, select="last", device="cpu"))
                evidence += mg.evaluate(folder, test, subject=subject, seed=seed, split="test")
                advance(subject)
    for subject, reference in comparisons(panel):
        evidence += mg.compare(evidence, subject, reference, METRIC)
    return evidence


def comparisons(panel: Panel) -> list[tuple[str, str]]:
    """Every method against the pixel baseline, and pre-trained against untrained."""
    pixels = next(name for name in panel.methods if name.startswith(PIXELS))
    pairs = [(subject, pixels) for subject in panel.methods if subject != pixels]
    if SCRATCH in panel.methods:
        pairs += [(subject, SCRATCH) for subject in PRETRAINED if subject in panel.methods]
    return pairs
