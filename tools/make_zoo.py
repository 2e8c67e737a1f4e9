"""Make the targets and the source models that the two grids `claims/*_selection.toml` rank and fine-tune.

    python tools/make_zoo.py runs/zoo

All images are those of the samples and phantoms, grey or recoloured, 24 to 48 pixels wide. What is there is kept, so a
repeated call continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import medgraft as mg
from medgraft.data.cohort import Cohort
from medgraft.data.manifest import read_manifest
from medgraft.data.samples import load_samples
from medgraft.engine.randomness import seeded
from medgraft.engine.run import Run
from medgraft.models.model import Model
from medgraft.models.sources import open_source
from medgraft.models.storage import save_model
from medgraft.phantoms import load_phantom
from medgraft.phantoms.fields import generator_for

SIDE = (64, 64)
"""Every network sees all images at this size."""
IMAGENET = "packaged/efficientnet_lite0"
NETWORK = "random/tf_efficientnet_lite0"
ARCHITECTURES = (
    "tf_efficientnet_lite0",
    "resnet10t",
    "regnetx_002",
    "convnext_atto",
    "mobilenetv3_small_050",
)
"""Of the second scenario: the same pre-training for all."""
SETTINGS = {"size": SIDE, "augmentation": "dihedral", "estimate_batch_stats": True}


# Targets and what sources are trained on


def patches(cohort: Cohort, side: int, per_class: int, classes: Sequence[str] = ()) -> Cohort:
    """Cut patches from images with masks; the label is the class of the pixel in the middle.

    Args:
        side: of a patch, pixels.
        per_class: of every image, at most; it has fewer where it shows fewer such pixels.
        classes: of the masks; empty takes all.
    """
    classes = tuple(classes) or cohort.classes
    found, lines = [], []
    half = side // 2
    for row in range(len(cohort)):
        generator = generator_for("patches", 0, cohort.name, str(row))
        image, mask = cohort.picture(row).array, cohort.mask(row).array[:, :, 0]
        inside = np.zeros_like(mask, dtype=bool)
        inside[half : mask.shape[0] - half + 1, half : mask.shape[1] - half + 1] = True
        for label, name in enumerate(classes):
            places = np.argwhere(inside & (mask == cohort.classes.index(name)))
            for y, x in generator.permutation(places)[:per_class]:
                found.append(image[y - half : y - half + side, x - half : x - half + side])
                lines.append((label, row))
    labels, rows = (np.asarray(column) for column in zip(*lines))
    return _cohort(cohort, np.stack(found), labels, classes, rows)


def grey(cohort: Cohort) -> Cohort:
    """Luminance, with mean and contrast of every crop made equal."""
    images = []
    for row in range(len(cohort)):
        values = cohort.picture(row).array.astype(float) @ np.asarray([0.299, 0.587, 0.114])
        values = (values - values.mean()) / max(float(values.std()), 1e-6)
        images.append(np.clip(128 + 42 * values, 0, 255).astype(np.uint8)[..., None])
    return _cohort(cohort, np.stack(images), cohort.labels, cohort.classes, np.arange(len(cohort)))


def stained(cohort: Cohort, laboratories: int = 4) -> Cohort:
    """Each image as several laboratories might have stained it: concentrations of two dyes, dyes and amounts changed.

    Optical densities add up (Beer and Lambert); the vectors of haematoxylin and eosin are those of Ruifrok and
    Johnston 2001, turned by some degrees for every laboratory.
    """
    dyes = np.asarray([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    dyes /= np.linalg.norm(dyes, axis=1, keepdims=True)
    images, lines = [], []
    for laboratory in range(laboratories):
        generator = generator_for("stains", 0, str(laboratory))
        turned = np.abs(dyes + generator.normal(0, 0.12, dyes.shape))
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        amounts = np.exp(generator.normal(0, 0.25, 2))
        for row in range(len(cohort)):
            density = -np.log((cohort.picture(row).array.astype(float) + 1) / 256)
            contents = np.maximum(density @ np.linalg.pinv(dyes), 0) * amounts
            images.append((256 * np.exp(-contents @ turned) - 1).clip(0, 255).astype(np.uint8))
            lines.append(row)
    rows = np.asarray(lines)
    return _cohort(cohort, np.stack(images), cohort.labels[rows], cohort.classes, rows)


def other_way_round(cohort: Cohort) -> Cohort:
    """Training and test rows exchanged."""
    exchanged = {"train": "test", "test": "train"}
    return cohort.with_splits([exchanged.get(name, name) for name in cohort.table["split"]])


def _cohort(
    cohort: Cohort, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], rows: np.ndarray
) -> Cohort:
    """Images in memory that keep patient, site, split and unit of the rows they come from."""
    table = cohort.table.iloc[rows]
    columns = {
        name: table[column].tolist()
        for name, column in (("patients", "patient"), ("sites", "site"), ("split", "split"), ("units", "split_unit"))
        if column in table
    }  # fmt: skip
    return Cohort.from_arrays(
        images, labels, kind="classify", classes=classes, name=cohort.name, notes=cohort.notes, **columns
    )


def _phantom(name: str, task: str, site: str, subjects: int) -> Cohort:
    return load_phantom(name, subjects=subjects, slices=6, side=96, sites=[site], task=task)


TISSUES = ("csf", "grey matter", "white matter")
TARGETS: Mapping[str, Callable[[], Cohort]] = {
    "nuclei": lambda: grey(load_samples("nuclei").at("nest")),
    "nuclei_other_half": lambda: other_way_round(grey(load_samples("nuclei").at("nest"))),
    "tissue": lambda: patches(_phantom("mr_brain", "tissue", "low_field", 40), 24, 3, TISSUES),
    "zones": lambda: patches(_phantom("mr_prostate", "zones", "t1", 40), 24, 3),
}
OTHERS: Mapping[str, Callable[[], Cohort]] = {
    "fluorescence": lambda: patches(load_samples("fluorescence"), 24, 20),
    "brain": lambda: patches(load_samples("brain"), 24, 8),
    "simulated_mr": lambda: patches(_phantom("mr_brain", "tissue", "reference", 40), 24, 3, TISSUES),
    "simulated_stain": lambda: stained(load_samples("nuclei").at("stroma")),
}
COMMON = ("fluorescence", "brain", "simulated_mr", "simulated_stain")


def pooled(cohorts: Mapping[str, Cohort], per_class: int) -> Cohort:
    """Several sets as one whose classes tell the set as well; as many training images of every class."""
    images, labels, classes = [], [], []
    for name, cohort in cohorts.items():
        rows, own = cohort.split("train"), cohort.split("train").labels
        for label, title in enumerate(cohort.classes):
            places = np.flatnonzero(own == label)
            if not len(places):
                continue
            for place in generator_for("pool", 0, name, title).permutation(places)[:per_class]:
                images.append(_at_48(rows.picture(int(place)).array))
                labels.append(len(classes))
            classes.append(f"{name}: {title}")
    return Cohort.from_arrays(
        np.stack(images), np.asarray(labels), kind="classify", classes=classes,
        split=["train"] * len(images), name="pooled",
    )  # fmt: skip


def _at_48(array: np.ndarray) -> np.ndarray:
    values = torch.from_numpy(np.array(array)).permute(2, 0, 1)[None].float()
    sized = torch.nn.functional.interpolate(values, (48, 48), mode="bilinear", antialias=True)
    return sized[0].round().byte().expand(3, 48, 48).permute(1, 2, 0).numpy()


# Sources


def fresh(name: str = NETWORK) -> Model:
    """A network that was never trained, the same at every call."""
    with seeded(0, "zoo"):
        return open_source(name, kind="encode", size=SIDE)


def imagenet() -> Model:
    """The packaged weights, for images of `SIDE`."""
    return open_source(IMAGENET, size=SIDE)


def with_reset(model: Model, blocks: Sequence[str]) -> Model:
    """The same model with some blocks, and their statistics, as they were before any training."""
    other = fresh().state_dict()
    begins = {name.rpartition(".")[0] + "." for block in blocks for name in model.blocks()[block]}
    state = model.state_dict()
    state.update({name: other[name] for name in state if name.startswith(tuple(begins))})
    model.load_state_dict(state)
    model.spec = model.spec.changed(provenance={**model.spec.provenance, "reset": list(blocks)})
    return model


def trained(model: Model, cohort: Cohort, epochs: int, *, lr: float = 1e-3, **settings: object) -> Model:
    """All of a model trained on the training rows of a cohort."""
    schedule = {"epochs": epochs, "batch_size": 16, "lr": lr, "warmup_epochs": 1}
    method = {"method": "fine_tune", "settings": {**SETTINGS, "schedule": schedule, **settings}}
    rows = cohort.split("train")
    return mg.adapt(model, mg.Task(target=rows), method, Run(seed=0, select="last", progress=False))


def few_of(cohort: Cohort) -> Cohort:
    """Eight training rows of every class: enough to learn by heart."""
    return cohort.few(8, "image", 0)


def sources(cohorts: Mapping[str, Cohort]) -> dict[str, Callable[[], Model]]:
    """How to make every source, by name."""
    common = {name: cohorts[name] for name in COMMON}

    def pool_without(*names: str) -> Model:
        return trained(imagenet(), pooled({k: v for k, v in cohorts.items() if k not in names}, 60), 4)

    made: dict[str, Callable[[], Model]] = {
        "imagenet": imagenet,
        "random": fresh,
        "imagenet_last_reset": lambda: with_reset(imagenet(), ("stage5", "stage6", "stage7")),
        "imagenet_first_reset": lambda: with_reset(imagenet(), ("stem", "stage1", "stage2")),
        "imagenet_overfitted": lambda: trained(
            imagenet(), few_of(cohorts["brain"]), 100, lr=3e-3, augmentation=None
        ),
        "imagenet_simulated_mr": lambda: trained(imagenet(), cohorts["simulated_mr"], 3),
        "imagenet_simulated_stain": lambda: trained(imagenet(), cohorts["simulated_stain"], 5, balanced=True),
        "fluorescence": lambda: trained(fresh(), cohorts["fluorescence"], 10),
        "brain": lambda: trained(fresh(), cohorts["brain"], 6),
        "simulated_mr": lambda: trained(fresh(), cohorts["simulated_mr"], 6),
        "pooled_without_nuclei": lambda: pool_without("nuclei", "nuclei_other_half"),
        "pooled_without_tissue": lambda: pool_without("tissue", "nuclei_other_half"),
        "pooled_without_zones": lambda: pool_without("zones", "nuclei_other_half"),
    }
    for name in TARGETS:
        made[f"{name}_itself"] = lambda name=name: trained(fresh(), cohorts[name], 10)  # type: ignore[misc]
    for name in ARCHITECTURES:
        made[name] = lambda name=name: trained(fresh(f"random/{name}"), pooled(common, 150), 5)  # type: ignore[misc]
    return made


# Files


def write_cohort(cohort: Cohort, folder: Path, name: str) -> None:
    """A manifest with the images in one file beside it."""
    table: pd.DataFrame = cohort.table.drop(columns="image")
    table.insert(0, "image", [f"{name}.npz#images:{row}" for row in range(len(cohort))])
    images = np.stack([cohort.picture(row).array for row in range(len(cohort))])
    np.savez_compressed(folder / f"{name}.npz", images=images)
    lines = [
        f'kind = "classify"\nname = "{name}"\nclasses = {list(cohort.classes)}\n\n[notes]'.replace("'", '"')
    ]
    lines += [f'{key} = "{value}"' for key, value in cohort.notes.items() if isinstance(value, str)]
    (folder / f"{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    table.to_csv(folder / f"{name}.csv", index=False)


def main() -> None:
    """Make what is not there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=(), help="sources to make; without it all")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data, models = given.folder / "cohorts", given.folder / "models"
    data.mkdir(parents=True, exist_ok=True)
    models.mkdir(exist_ok=True)
    for name, make in {**TARGETS, **OTHERS}.items():
        if not (data / f"{name}.csv").exists():
            write_cohort(make(), data, name)
            print(data / f"{name}.csv", flush=True)
    cohorts = {name: read_manifest(data / f"{name}.csv") for name in (*TARGETS, *OTHERS)}
    for name, source in sources(cohorts).items():
        if not (models / name).is_dir() and (not given.only or name in given.only):
            save_model(source(), models / name)
            print(models / name, flush=True)


if __name__ == "__main__":
    main()
