"""Every kind of page in a real browser, on a desk and on a phone; skipped where Chromium is not installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.reports.bias_evidence import audited
from tests.reports.chromium import CHROMIUM, Chromium, Shot
from tests.reports.grid_evidence import grid_evidence
from tests.reports.ranking_evidence import ranking_evidence
from tests.reports.saved_models import evaluated, saved_model
from tests.reports.selection_evidence import selection_evidence

from medgraft.evidence import Evidence
from medgraft.reports import model_card, report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: no page was looked at"),
]
DESK, PHONE = 1280, 390
PAGES = ("plain", "grid", "sites", "lonely", "ranking", "leaders", "selection", "one_seed", "bias", "card")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, evidence: Evidence) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    model = saved_model(folder / "runs" / "porto")
    sources = (("unet Basel", "Basel"), ("unet Genoa", "Genoa"))
    made = {
        "plain": evidence,
        "grid": grid_evidence(),
        "sites": grid_evidence(sources=sources, gpu=True, intervals=False),
        "lonely": grid_evidence(seeds=1, targets=("Porto",), forgetting=False, failures=False),
        "ranking": ranking_evidence(regret=True, cohorts=("H&E nuclei", "simulated tissue")),
        "leaders": ranking_evidence(
            fine_tuned=4,
            regret=True,
            tunings=5,
            noise=0.2,
            stages={"before": 1280, "after": 1280, "nca": 50, "lda": 1},
            classes=("benign", "malignant"),
        ),
        "selection": grid_evidence(seeds=1, targets=("Porto",)) + selection_evidence(),
        "bias": audited(("plain", "blunted", "helped")),
        "one_seed": selection_evidence(seeds=1, targets=("nuclei", "zones"), names=("log_me", "sfda")),
    }
    paths = {
        name: report(one, folder / f"{name}.html", title=f"A {name} report") for name, one in made.items()
    }
    return paths | {"card": model_card(model, folder / "card.html", evaluated(model))}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    opened = Chromium(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shots(pages: dict[str, Path], browser: Chromium) -> dict[tuple[str, int], Shot]:
    taken = {
        (name, width): browser.shoot(
            pages[name], width, dark=name in ("sites", "leaders", "one_seed"), unfold=True
        )
        for name in PAGES
        for width in (DESK, PHONE)
    }
    for (name, width), shot in taken.items():  # beside the pages, to look at with `pytest --basetemp=FOLDER`
        Image.fromarray(shot.picture).save(pages[name].with_name(f"{name}-{width}.png"))
    return taken


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_without_errors_requests_or_overflow(
    name: str, width: int, shots: dict[tuple[str, int], Shot]
) -> None:
    shot = shots[name, width]
    assert shot.complaints == []
    assert shot.requests == []
    assert shot.measured["width"] <= width, shot.measured["wide"]
    assert shot.measured["wide"] == []
    assert shot.measured["overlapping"] == []
    assert shot.measured["smallest"] >= 9
    assert shot.picture.shape[1] == width and shot.picture.shape[0] > 600
    screens = np.array_split(shot.picture, max(1, shot.picture.shape[0] // 1600))
    colours = [len(np.unique(screen[::3, ::3].astype(np.uint32) @ (1, 256, 65536))) for screen in screens]
    assert min(colours) > 8


def test_the_check_sees_what_it_looks_for(tmp_path: Path, browser: Chromium) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<p style='width: 900px'>wide</p><img src='https://example.org/x.png'><script>console.error('x')</script>"
        "<svg><text x='0' y='20'>one</text><text x='5' y='20'>two</text></svg>"
    )
    shot = browser.shoot(bad, PHONE)
    assert any("example.org" in address for address in shot.requests)
    assert len(shot.complaints) >= 2  # the console, and the picture that did not load
    assert shot.measured["width"] >= 900 and shot.measured["wide"]
    assert shot.measured["overlapping"] == ["one / two"]


def test_dark_pages_are_dark(shots: dict[tuple[str, int], Shot]) -> None:
    assert np.median(shots["sites", DESK].picture) < 60 < 200 < np.median(shots["grid", DESK].picture)


def test_a_policy_forbids_whatever_a_name_could_smuggle_in(tmp_path: Path, browser: Chromium) -> None:
    hostile = grid_evidence(
        targets=("<img src=https://example.org/x.png>",), sources=(("<script>x</script>", "B"),)
    )
    page = report(hostile, tmp_path / "hostile.html")
    shot = browser.shoot(page, DESK, unfold=True)
    assert shot.requests == [] and shot.complaints == []
    assert json.dumps(shot.measured["wide"]) == "[]"
