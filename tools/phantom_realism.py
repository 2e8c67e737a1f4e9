"""Measure how far simulated MR sites are from one another and from real scans; write it into docs/phantoms.md.

    OMP_NUM_THREADS=1 python tools/phantom_realism.py looks                  # plots, histogram, spectrum: seconds
    OMP_NUM_THREADS=1 python tools/phantom_realism.py severity --task brain  # one task at a time: minutes
    OMP_NUM_THREADS=1 python tools/phantom_realism.py transfer               # simulation to real slices: minutes
    python tools/phantom_realism.py write                                    # puts the tables into the page

Results are kept in --work between the steps. Real slices are those of `load_samples("brain")`; the simulator knows
neither head.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from PIL import Image

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.engine.randomness import seeded
from medgraft.images.augmentation import Augmentation
from medgraft.images.preparation import Preparer
from medgraft.methods import FineTune
from medgraft.models.model import Model
from medgraft.models.spec import ModelSpec
from medgraft.models.unet import UNet
from medgraft.phantoms import BRAIN_SITES, PROSTATE_SITES, STAIN_SITES, XRAY_SITES, load_phantom
from medgraft.phantoms.chest_films import take_film
from medgraft.phantoms.cohort import PHANTOMS
from medgraft.phantoms.fields import generator_for
from medgraft.phantoms.findings import FINDINGS, Drawn
from medgraft.phantoms.mr_slices import VIEWS
from medgraft.phantoms.thorax import Thorax
from medgraft.types import Preparation

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

PAGE, IMAGES = Path("docs/phantoms.md"), Path("docs/images")
FIELD_MM = 240.0
SUBJECTS, SLICES, SIDE, WIDTH, DEPTH = 40, 8, 64, 8, 3
STEPS_PER_EPOCH, BATCH = 30, 16
EPOCHS = {"brain": 10, "tissue": 30, "hippocampus": 20, "gland": 10, "zones": 20}
TRANSFER_EPOCHS = 20
STRONG = Augmentation(
    gamma=(0.6, 1.6), noise_chance=0.5, noise=0.1, blur_chance=0.3, contrast=0.3, brightness=0.2
)
BIAS = 0.3
"""Of the sites that the augmented network is trained at."""


# Real slices


def real_slices(site: str) -> Cohort:
    """All real slices of a head, in the middle of a square of 240 mm, so that pixels are square after resizing."""
    cohort = mg.load_samples("brain").at(site)
    spacing = float(cohort.table["spacing_mm"].iloc[0])
    side = round(FIELD_MM / spacing)
    images = np.stack([in_the_middle(cohort.picture(row).array, side) for row in range(len(cohort))])
    masks = np.stack([in_the_middle(cohort.mask(row).array, side) for row in range(len(cohort))])[..., 0]
    return Cohort.from_arrays(
        images,
        masks,
        kind="segment",
        classes=cohort.classes,
        patients=cohort.patients.tolist(),
        units=cohort.units.tolist(),
        attributes=pd.DataFrame({"spacing_mm": [f"{spacing:g}"] * len(cohort)}),
        name=f"{site}, real",
        notes={"silver_labels": True, "unit_name": "slabs of one head"},
    )


def with_much_brain(cohort: Cohort) -> Cohort:
    """The slices that show at least half as much brain as the one that shows most of it."""
    areas = np.array([cohort.mask(row).array.sum() for row in range(len(cohort))])
    view = cohort.take(np.flatnonzero(areas >= areas.max() / 2))
    view.name = f"{cohort.name}, much brain"
    return view


def in_the_middle(image: np.ndarray, side: int) -> np.ndarray:
    before = [(side - length) // 2 for length in image.shape[:2]]
    pads = [(start, side - length - start) for start, length in zip(before, image.shape[:2])]
    return np.pad(image, [*pads, (0, 0)])


# Looks: examples, histogram, spectrum


def measure_looks(work: Path) -> None:
    IMAGES.mkdir(exist_ok=True)
    examples("mr_brain", "brain", list(BRAIN_SITES), IMAGES / "phantom_brain_sites.png")
    examples("mr_prostate", "zones", list(PROSTATE_SITES), IMAGES / "phantom_prostate_sites.png")
    chest_examples(IMAGES / "phantom_chest_sites.png")
    stain_examples(IMAGES / "phantom_stain_sites.png")
    side = 96
    real = shrunk(real_slices("colin27"), side)
    made = shrunk(load_phantom(subjects=8, slices=10, side=side, sites=["reference"], task="brain"), side)
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    percentiles, spectra = {}, {}
    for name, (images, masks) in {"Colin27, real": real, "reference, simulated": made}.items():
        values = images[masks > 0] / np.median(images[masks > 0])
        percentiles[name] = [round(float(value), 3) for value in np.percentile(values, (5, 25, 50, 75, 95))]
        axes[0].hist(values, np.linspace(0, 2, 60), density=True, histtype="step", label=name)
        spectra[name] = spectrum(images, masks)
        frequency = np.arange(len(spectra[name])) / (side * FIELD_MM / side)
        axes[1].plot(frequency[1:], spectra[name][1:], label=name)
    axes[0].set(xlabel="intensity in the brain, median = 1", ylabel="density")
    axes[1].set(xlabel="cycles per mm", ylabel="power, dB")
    axes[0].legend(fontsize=7)
    save_figure(figure, IMAGES / "phantom_realism.png")
    first, second = spectra.values()
    apart = float(np.sqrt(((first - second)[2:] ** 2).mean()))
    save(work / "looks.json", {"percentiles": percentiles, "spectrum_rms_db": round(apart, 2)})


def save_figure(figure: Figure, path: Path, colours: int = 64) -> None:
    """As a small PNG: few colours are enough."""
    figure.savefig(path, dpi=90)
    Image.open(path).convert("RGB").quantize(colours).save(path, optimize=True)


def examples(name: str, task: str, sites: list[str], path: Path) -> None:
    """The same subject at every site, at three heights, and the truth."""
    cohort = load_phantom(
        name, subjects=1, slices=3, side=96, sites=sites, task=task, travelling=True, seed=3
    )  # type: ignore[arg-type]
    figure, axes = plt.subplots(
        3, len(sites) + 1, figsize=(1.15 * (len(sites) + 1), 3.7), layout="constrained"
    )
    for column, site in enumerate(sites):
        for row in range(3):
            axes[row, column].imshow(
                cohort.at(site).picture(row).array[..., 0], cmap="gray", vmin=0, vmax=255
            )
        axes[0, column].set_title(site.replace("_", " "), fontsize=6)
    for row in range(3):
        axes[row, -1].imshow(cohort.mask(row).array[..., 0], cmap="viridis", interpolation="nearest")
    axes[0, -1].set_title(f"truth: {task}", fontsize=6)
    for axis in axes.flat:
        axis.axis("off")
    save_figure(figure, path)


def chest_examples(path: Path) -> None:
    """The same films at every site, and each finding alone on one film of the reference site."""
    side, severity = 192, 0.75
    figure, axes = plt.subplots(3, 7, figsize=(12.0, 5.5), layout="constrained")
    cohort = load_phantom("chest_film", subjects=1, slices=3, side=side, travelling=True, seed=9)
    panels = [
        (axes[row, column], f"{name}, film {column + 1}", cohort.at(name).picture(column).array[..., 0])
        for row, name in enumerate(XRAY_SITES)
        for column in range(3)
    ]
    subjects = [Thorax(generator_for("examples", number)) for number in range(60)]
    usual, large = subjects[8], max(subjects, key=lambda subject: subject.cardiothoracic_ratio)
    shown: list[tuple[str, Thorax, dict[str, Drawn]]] = [
        ("no finding", usual, {}),
        ("cardiomegaly (another subject)", large, {}),
    ]
    shown += [(name, usual, {name: Drawn(severity, -1)}) for name in FINDINGS]
    for axis, (title, subject, findings) in zip(axes[:, 3:].flat, shown):
        film = take_film(subject, findings, XRAY_SITES["clinic"], side, ("examples", "film"), "clinic")
        panels.append((axis, title, film))
    for axis in axes.flat:
        axis.axis("off")
    for axis, title, film in panels:
        axis.imshow(film, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=7)
    save_figure(figure, path)


def stain_examples(path: Path) -> None:
    """The same nuclei, one of each class, at every laboratory."""
    cohort = load_phantom("stain_tiles", slices=2, side=96, seed=3)
    figure, axes = plt.subplots(3, len(STAIN_SITES), figsize=(10.0, 4.1), layout="constrained")
    for column, site in enumerate(STAIN_SITES):
        here = cohort.at(site)
        for row in range(3):
            axes[row, column].imshow(here.picture(int(np.argmax(here.labels == row))).array)
            axes[row, column].set(xticks=[], yticks=[])
        axes[0, column].set_title(site.replace("_", " "), fontsize=8)
    for row, name in enumerate(cohort.classes):
        axes[row, 0].set_ylabel(name, fontsize=8)
    save_figure(figure, path, 256)


def shrunk(cohort: Cohort, side: int) -> tuple[np.ndarray, np.ndarray]:
    prepare = Preparer(Preparation(size=(side, side), channels=1, intensity="none"))
    rows = range(len(cohort))
    images = np.stack([prepare.image(cohort.picture(row).array)[0].numpy() for row in rows])
    return images, np.stack([prepare.mask(cohort.mask(row).array).numpy() for row in rows])


def spectrum(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Power of the brain over rings of equal frequency, dB, its sum being 1, mean over slices."""
    side = images.shape[1]
    rings = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side) * side] * 2)).round().astype(int)
    found = []
    for image, mask in zip(images, masks):
        if mask.sum() < 0.05 * mask.size:
            continue
        inner = np.where(mask > 0, image - image[mask > 0].mean(), 0)
        power = np.abs(np.fft.fft2(inner)) ** 2
        rows = np.bincount(rings.ravel(), power.ravel()) / np.bincount(rings.ravel())
        found.append(rows[: side // 2] / power.sum())
    return 10 * np.log10(np.mean(found, axis=0))


# Training


def untrained(classes: tuple[str, ...]) -> Model:
    preparation = Preparation(size=(SIDE, SIDE), channels=1, intensity="zscore")
    spec = ModelSpec(kind="segment", classes=classes, channels=1, preparation=preparation)
    with seeded("phantom realism"):
        return UNet(spec, width=WIDTH, depth=DEPTH)


def train(cohort: Cohort, epochs: int, seed: int, augmentation: Augmentation | None) -> Model:
    schedule = mg.Schedule(epochs=epochs, steps_per_epoch=STEPS_PER_EPOCH, batch_size=BATCH, lr=3e-3)
    method = FineTune(
        scope="from_scratch", schedule=schedule, augmentation=augmentation, estimate_batch_stats=True
    )
    run = mg.Run(seed=seed, select="last", device="cpu", progress=False)
    return mg.adapt(untrained(cohort.classes), mg.Task(target=cohort), method, run)


def scores(model: Model, cohort: Cohort, tolerance_mm: float) -> dict[str, float]:
    """Means over patients of Dice and surface Dice, over the foreground."""
    evidence = mg.evaluate(model, cohort, repeats=10, examples=0, tolerance_mm=tolerance_mm)
    facts = evidence.facts[evidence.facts["part"].isin(["all", ""])].set_index("metric")["value"]
    surface = next(name for name in facts.index if name.startswith("surface_dice"))
    return {"dice": float(facts["dice"]), "surface_dice": float(facts[surface])}


def measure_severity(work: Path, task: str, seeds: int) -> None:
    """Train at the first site, test the same unseen subjects at every site; seeds that are done are kept."""
    name = next(name for name, phantom in PHANTOMS.items() if task in phantom.tasks)
    path = work / f"severity_{task}.json"
    done = load(path) if path.exists() else {"sites": {}, "pixel_mm": 0.0, "minutes": 0.0}
    started = time.monotonic() - 60 * done["minutes"]
    cohort = load_phantom(name, subjects=SUBJECTS, slices=SLICES, side=SIDE, task=task, travelling=True)  # type: ignore[arg-type]
    first, *_ = PHANTOMS[name].sites
    done["pixel_mm"] = VIEWS[name][task].width_mm / SIDE
    found: dict[str, list[dict[str, float]]] = done["sites"]
    for seed in range(len(found.get(first, [])), seeds):
        model = train(cohort.at(first), EPOCHS[task], seed, Augmentation())
        for site in PHANTOMS[name].sites:
            test = cohort.at(site).split("test")
            found.setdefault(site, []).append(scores(model, test, done["pixel_mm"]))
        print(task, seed, {site: round(values[-1]["dice"], 3) for site, values in found.items()}, flush=True)
        done["minutes"] = round((time.monotonic() - started) / 60, 1)
        save(path, done)


def measure_transfer(work: Path, seeds: int) -> None:
    """Train on simulation alone, test on real slices; seeds that are done are kept."""
    path = work / "transfer.json"
    done = load(path) if path.exists() else {"ways": {}, "minutes": 0.0}
    started = time.monotonic() - 60 * done["minutes"]
    strong_bias = {"reference": BRAIN_SITES["reference"].model_copy(update={"bias": BIAS})}
    ways: dict[str, tuple[Any, Augmentation]] = {
        "reference site": (["reference"], Augmentation()),
        "reference site, intensity augmentation": (strong_bias, STRONG),
        "all seven sites": (None, Augmentation()),
    }
    held_out = load_phantom(subjects=20, slices=SLICES, side=SIDE, sites=["reference"], seed=1).split("test")
    heads = {name: real_slices(site) for name, site in (("Colin27", "colin27"), ("ROBEX", "robex"))}
    tests = {"simulated, unseen subjects": held_out} | heads
    tests |= {f"{name}, much brain": with_much_brain(slices) for name, slices in heads.items()}
    for seed in range(seeds):
        for way, (sites, augmentation) in ways.items():
            found = done["ways"].setdefault(way, {})
            if len(found.get("ROBEX", [])) > seed:
                continue
            subjects = 12 if sites is None else 80
            cohort = load_phantom(subjects=subjects, slices=SLICES, side=SIDE, sites=sites, task="brain")
            model = train(cohort, TRANSFER_EPOCHS, seed, augmentation)
            for site, slices in tests.items():
                found.setdefault(site, []).append(scores(model, slices, FIELD_MM / SIDE))
            print(
                way, seed, {site: round(values[-1]["dice"], 3) for site, values in found.items()}, flush=True
            )
            done["minutes"] = round((time.monotonic() - started) / 60, 1)
            save(path, done)


# The page


def write_page(work: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    looks = load(work / "looks.json")
    page = between(page, "looks", table_of_looks(looks))
    for name in PHANTOMS:
        tasks = [task for task in PHANTOMS[name].tasks if (work / f"severity_{task}.json").exists()]
        if tasks:
            page = between(page, f"severity {name}", table_of_severity(name, tasks, work))
    page = between(page, "transfer", table_of_transfer(load(work / "transfer.json")))
    PAGE.write_text(page, encoding="utf-8")


def between(page: str, name: str, text: str) -> str:
    """The page with the text between the two marks of this name."""
    pattern = re.compile(rf"(<!-- measured: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    assert pattern.search(page), f"{PAGE} has no place for {name}"
    return pattern.sub(lambda marks: f"{marks[1]}{text}\n{marks[2]}", page)


def table_of_looks(looks: dict[str, Any]) -> str:
    lines = ["| brain, median = 1 | 5 % | 25 % | 50 % | 75 % | 95 % |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |"
        for name, values in looks["percentiles"].items()
    ]
    return (
        "\n".join(lines)
        + f"\n\nThe two spectra are {looks['spectrum_rms_db']:.1f} dB apart (root mean square)."
    )


def table_of_severity(name: str, tasks: list[str], work: Path) -> str:
    results = {task: load(work / f"severity_{task}.json") for task in tasks}
    lines = ["| site | " + " | ".join(f"{task}: Dice | surface Dice" for task in tasks) + " |"]
    lines.append("|---" * (2 * len(tasks) + 1) + "|")
    for site in PHANTOMS[name].sites:
        cells = [
            f"{spread(results[task]['sites'][site], metric)}"
            for task in tasks
            for metric in ("dice", "surface_dice")
        ]
        lines.append(f"| {site} | " + " | ".join(cells) + " |")
    minutes = ", ".join(f"{task} {results[task]['minutes']:g}" for task in tasks)
    return "\n".join(lines) + f"\n\nMinutes on one core that others used too: {minutes}."


def table_of_transfer(transfer: dict[str, Any]) -> str:
    lines = ["| trained on | tested on | Dice | surface Dice |", "|---|---|---|---|"]
    for way, by_test in transfer["ways"].items():
        for test, values in by_test.items():
            lines.append(f"| {way} | {test} | {spread(values, 'dice')} | {spread(values, 'surface_dice')} |")
    return "\n".join(lines) + f"\n\n{transfer['minutes']:g} minutes on one core that others used too."


def spread(values: list[dict[str, float]], metric: str) -> str:
    """Mean over seeds, and the lowest and highest of them."""
    numbers = [value[metric] for value in values]
    return f"{np.mean(numbers):.3f} ({min(numbers):.3f}-{max(numbers):.3f})"


def save(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=("looks", "severity", "transfer", "write"))
    parser.add_argument("--work", type=Path, default=Path("runs/phantoms"))
    parser.add_argument("--task", default="brain")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.step == "looks":
        measure_looks(arguments.work)
    elif arguments.step == "severity":
        measure_severity(arguments.work, arguments.task, arguments.seeds)
    elif arguments.step == "transfer":
        measure_transfer(arguments.work, arguments.seeds)
    else:
        write_page(arguments.work)


if __name__ == "__main__":
    main()
