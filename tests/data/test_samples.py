from __future__ import annotations

import hashlib
import json
from itertools import combinations

import numpy as np
import pytest

from medgraft.data.boxes import parse_boxes
from medgraft.data.checks import check
from medgraft.data.cohort import Cohort
from medgraft.data.leakage import find_leaks
from medgraft.data.readers import read_image, split_part
from medgraft.data.samples import FOLDER, SAMPLES, load_samples
from medgraft.errors import DataError

PROVENANCE = json.loads((FOLDER / "PROVENANCE.json").read_text(encoding="utf-8"))
GUARD = 24


@pytest.fixture(params=sorted(SAMPLES))
def cohort(request: pytest.FixtureRequest) -> Cohort:
    return load_samples(request.param)


def test_every_file_is_the_one_that_was_built_and_none_is_unaccounted_for() -> None:
    found = {
        str(path.relative_to(FOLDER)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FOLDER.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and path.name != "PROVENANCE.json"
    }
    assert found == PROVENANCE["written"]


def test_all_sets_together_stay_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 12e6


def test_every_set_opens_and_has_no_errors(cohort: Cohort) -> None:
    assert len(cohort) == PROVENANCE["sets"][cohort.name]["rows"]
    errors = [problem for problem in check(FOLDER / f"{cohort.name}.csv") if problem.severity == "error"]
    assert not errors, errors
    assert cohort.notes["licence"] and cohort.notes["source"] and cohort.notes["unit_name"]


def test_images_and_truth_fit_together(cohort: Cohort) -> None:
    for row in range(len(cohort)):
        height, width = cohort.picture(row).array.shape[:2]
        if cohort.kind == "segment":
            mask = cohort.mask(row).array
            assert mask.shape == (height, width, 1)
            assert mask.max() < len(cohort.classes)
        if cohort.kind == "detect":
            for box in parse_boxes(cohort.table["boxes"].iloc[row]):
                assert box.left >= 0 and box.top >= 0 and box.right <= width and box.bottom <= height
                assert box.label in cohort.classes


def test_splits_share_no_unit_and_no_pixels(cohort: Cohort) -> None:
    for first, second in combinations(("train", "validation", "test"), 2):
        assert find_leaks(cohort.split(first), cohort.split(second)) == []


def test_every_split_of_a_site_has_every_class(cohort: Cohort) -> None:
    for site in sorted(set(cohort.sites) - {"stroma"}):  # stroma has nine neoplastic nuclei in all
        for split in ("train", "validation", "test"):
            rows = cohort.at(site).split(split)
            assert len(rows) >= 5
            if cohort.kind == "classify":
                assert np.bincount(rows.labels, minlength=len(cohort.classes)).min() >= 30
            if cohort.kind == "segment":
                found = set().union(*(np.unique(rows.mask(row).array) for row in range(len(rows))))
                assert found == set(range(len(cohort.classes)))


@pytest.mark.parametrize("name", ["nuclei", "nuclei_tiles", "nuclei_boxes", "fluorescence"])
def test_regions_of_different_splits_lie_a_guard_band_apart(name: str) -> None:
    table = load_samples(name).table
    bands: dict[tuple[str, str], tuple[int, int]] = {}
    for image, split in zip(table["image"], table["split"]):
        file, part = split_part(image)
        assert part is not None
        _, top, _, height = map(int, part.split(","))
        low, high = bands.get((str(file), split), (top, top + height))
        bands[str(file), split] = min(low, top), max(high, top + height)
    for (file, first), (other_file, second) in combinations(bands, 2):
        if file == other_file and first != second:
            (low, high), (other_low, other_high) = bands[file, first], bands[file, second]
            assert low - other_high >= GUARD or other_low - high >= GUARD


def test_type_masks_agree_with_the_labels_of_nuclei() -> None:
    nuclei, types = load_samples("nuclei").at("nest"), read_image(FOLDER / "nest_types.png").array[..., 0]
    agree = 0
    for row, image in enumerate(nuclei.table["image"]):
        left, top, side, _ = map(int, image.partition("#")[2].split(","))
        agree += types[top + side // 2, left + side // 2] == nuclei.labels[row] + 1
    assert agree / len(nuclei) > 0.97  # a centre may fall just outside a bent nucleus


def test_slabs_of_different_splits_lie_a_slice_apart() -> None:
    table = load_samples("brain").table
    place = table["image"].str.rpartition(":")[2].astype(int)
    for _, rows in table.assign(place=place).groupby("site"):
        ordered = rows.sort_values("place")
        steps, changes = ordered["place"].diff(), ordered["split"] != ordered["split"].shift()
        assert (steps[changes].dropna() >= 2).all() and changes.sum() > 3


def test_every_nucleus_of_the_type_mask_has_an_instance_number() -> None:
    types, instances = (read_image(FOLDER / f"nest_{name}.png").array for name in ("types", "instances"))
    assert np.array_equal(types > 0, instances > 0)
    assert len(np.unique(instances)) == 1295 + 1


def test_the_record_counts_classes_as_they_are() -> None:
    counts = PROVENANCE["sets"]["nuclei"]["counts"]
    for (site, split), rows in load_samples("nuclei").table.groupby(["site", "split"]):
        assert counts[site][split] == rows["label"].value_counts().to_dict()


def test_a_recipe_names_the_set_and_not_where_it_is_installed(cohort: Cohort) -> None:
    view = cohort.split("test")
    assert str(FOLDER) not in json.dumps(view.recipe)
    assert Cohort.from_recipe(view.recipe).fingerprint() == view.fingerprint()


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(DataError, match="one of nuclei, nuclei_tiles"):
        load_samples("lungs")
