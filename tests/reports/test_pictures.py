from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medgraft.evidence import Evidence, fact
from medgraft.reports.panels import make_panels
from medgraft.reports.pictures import data_uri, galleries, recorded_pictures


def decode(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def test_small_pictures_are_shown_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    uri = data_uri(image)
    assert uri.startswith("data:image/png;base64,")
    np.testing.assert_array_equal(decode(uri), image)


@pytest.mark.parametrize("shape", [(1000, 500, 3), (500, 1000, 3)])
def test_large_pictures_shrink_and_keep_their_shape(shape: tuple[int, int, int]) -> None:
    uri = data_uri(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    small = decode(uri)
    assert max(small.shape) == 320 and min(small.shape[:2]) == 160
    assert len(uri) < 120_000


def evidence(wrong: int, right: int) -> Evidence:
    names = [f"examples/probe/0/{k}" for k in range(wrong + right)]
    lines = [
        {"image": name, "subject": "probe", "cohort": "Porto", "row": k, "truth": "a", "predicted": "b",
         "confidence": 0.9, "worst": k >= right}
        for k, name in enumerate(names)
    ]  # fmt: skip
    predictions = pd.DataFrame({"row": [0], "truth": [0], "predicted": [0], "p_0": [0.9], "p_1": [0.1]})
    return Evidence(
        pd.DataFrame([fact(subject="probe", cohort="Porto", metric="auroc", value=0.8)]),
        tables={"examples": pd.DataFrame(lines), "predictions/probe/0": predictions},
        images={name: np.full((4, 4, 3), k, np.uint8) for k, name in enumerate([*names, "overlay"])},
    )


def test_worst_cases_come_first_and_some_good_ones_are_kept() -> None:
    given = evidence(wrong=20, right=10)
    (gallery,) = galleries(given, make_panels(given)[0])
    assert [example.wrong for example in gallery.examples] == [True] * 8 + [False] * 4
    assert [example.row for example in gallery.examples] == [*map(str, range(10, 18)), "0", "1", "2", "3"]
    assert gallery.left_out == 18
    assert gallery.examples[0].confidence == "90\N{NO-BREAK SPACE}%"


@pytest.mark.parametrize(("wrong", "right"), [(20, 1), (1, 20), (20, 0), (0, 20), (2, 2)])
def test_a_gallery_is_filled_with_what_there_is(wrong: int, right: int) -> None:
    given = evidence(wrong, right)
    (gallery,) = galleries(given, make_panels(given)[0])
    assert len(gallery.examples) == min(12, wrong + right)
    assert len({example.row for example in gallery.examples}) == len(gallery.examples)


def test_the_same_row_of_another_seed_is_shown_once() -> None:
    given = evidence(2, 0)
    twice = pd.concat([given.tables["examples"]] * 2, ignore_index=True)
    given = Evidence(given.facts, tables={"examples": twice}, images=given.images)
    (gallery,) = galleries(given, make_panels(given)[0])
    assert len(gallery.examples) == 2 and gallery.left_out == 0


def test_pictures_that_are_no_examples_are_recorded_ones() -> None:
    assert [name for name, _ in recorded_pictures(evidence(1, 1))] == ["overlay"]


def test_examples_of_lost_pictures_or_without_columns_are_left_out() -> None:
    given = evidence(1, 1)
    lost = Evidence(given.facts, tables=given.tables)
    assert galleries(lost, make_panels(lost)[0]) == []
    odd = Evidence(given.facts, tables={"examples": pd.DataFrame({"row": [1]})}, images=given.images)
    assert galleries(odd, make_panels(odd)[0]) == []


def test_outlined_examples_are_shown_large_with_slice_and_scores() -> None:
    made = evidence(wrong=1, right=1)
    lines = made.tables["examples"].assign(slice=["3 of 40", ""], scores="Dice 0.50, surface Dice 0.25")
    (gallery,) = galleries(replace(made, tables={"examples": lines}), make_panels(made)[0])
    assert gallery.outlined
    assert {example.row for example in gallery.examples} == {"0, slice 3 of 40", "1"}
    assert gallery.examples[0].caption == ["Dice 0.50", "surface Dice 0.25"]


def test_plain_examples_tell_truth_and_answer() -> None:
    made = evidence(wrong=1, right=0)
    (gallery,) = galleries(made, make_panels(made)[0])
    assert not gallery.outlined
    assert gallery.examples[0].caption[0] == "true: a" and gallery.examples[0].caption[1].startswith(
        "said: b"
    )
