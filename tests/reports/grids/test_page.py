from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from tests.reports.grid_evidence import ERROR, grid_evidence
from tests.reports.test_report import Page

from medgraft.reports.report import make_page

SOURCES = (("unet", "Basel"), ("vit", "Genoa"))


def text_of(evidence) -> str:
    return Page(make_page(evidence, images=True, title="A grid")).text


@pytest.fixture(scope="module")
def page() -> str:
    return make_page(grid_evidence(), images=True, title="A grid")


def test_a_grid_has_every_part(page: str) -> None:
    text = Page(page).text
    for words in (
        "79 cells of 80 finished, 1 failed.",
        "For every method 4 settings were tried.", "The grid", "Failed cells", ERROR, "From site to site",
        "first_blocks, 64 patients, 384 labelled images",
        "What is forgotten of Basel (test after Lyon)", "Time and memory", "Every cell",
        "Ranking", "chosen by", "target_validation", "of 4 settings", "oracle", "2 of 3 seeds", "Critical difference",
        "Paired tests", "What labels and time bring", "labelled images at the target",
        "Bands: the 95 % interval over 24 patients", "Hard for every method", "all 14", "Friedman test",
        "Would another training say the same?", "Best of all layers", "0.812 ± 0.011", "0.702 ± 0.000",
        "Over 3 runs p = 0.012 (independent t-test), – (paired), 0.021 (paired, after Holm)",
        "Porto, Lyon: the images are simulated.", "No GPU time was recorded.",
    ):  # fmt: skip
        assert words in text, words


def test_the_page_is_one_file_that_nests_and_repeats(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids)) and set(parsed.targets) <= set(parsed.ids)
    assert "http:" not in page and "https:" not in page and "script" not in parsed.tags
    assert make_page(grid_evidence.__wrapped__(), images=True, title="A grid") == page
    assert len(page) < 1_000_000


def test_the_oracle_is_grey_and_stands_in_no_other_place(page: str) -> None:
    oracle = re.findall(r'<td class="oracle">([^<]*)</td>', page)
    assert len(oracle) == 28 and sum(cell != "–" for cell in oracle) == 18
    plain = replace(grid_evidence(), facts=grid_evidence().facts.query("selection != 'oracle'"))
    without = make_page(plain, images=True, title="A grid")

    def numbers(text: str) -> str:
        return re.sub(
            r'<td class="oracle">.*?</td>|<th scope="col">oracle</th>| The grey column.*?have them\.',
            "",
            text,
        )

    assert numbers(page) == numbers(without)


def test_one_seed_one_target_and_nothing_measured_at_the_source_are_said() -> None:
    text = text_of(grid_evidence(seeds=1, targets=("Porto",), forgetting=False, failures=False))
    assert "There is one seed only" in text and "Failed cells" not in text
    assert "Left out here: the map of sites (one source and one target); forgetting" in text
    assert "seeds ±" not in text


def test_several_sources_are_told_apart_everywhere() -> None:
    text = text_of(grid_evidence(sources=SOURCES, gpu=True, intervals=False))
    assert "first_blocks from vit" in text and "What is forgotten of Genoa" in text
    assert "Bands: lowest to highest seed." in text and "GPU time" in text


def test_headlines_leave_out_the_upper_bound_and_compare_with_no_adaptation_only() -> None:
    evidence = grid_evidence()
    comparisons = pd.DataFrame(
        [
            {"subject": subject, "reference": reference, "cohort": "Porto", "split": "test", "metric": "dice",
             "difference": 0.2, "low": 0.1, "high": 0.3, "n": 24, "seeds": 3}
            for subject in ("full fine-tuning, all patients", "first_blocks, 4 patients")
            for reference in ("no adaptation", "full fine-tuning, 4 patients")
        ]
    )  # fmt: skip
    evidence = replace(evidence, tables=evidence.tables | {"comparisons": comparisons})
    text = text_of(evidence)
    assert "Porto. The highest Dice is that of head_then_all, 64 patients" in text
    assert (
        "Compared with no adaptation on the same rows: first_blocks, 4 patients shown to be better." in text
    )
    assert "Compared with full" not in text
    assert text.count("full fine-tuning, all patients minus") == 2


def test_errors_of_cells_stand_in_one_place(page: str) -> None:
    assert Page(page).text.count(ERROR) == 1


def test_a_grid_where_everything_failed_at_one_target_still_has_a_page() -> None:
    evidence = grid_evidence()
    facts = evidence.facts[evidence.facts["cohort"] != "Lyon"]
    grid = evidence.tables["grid"]
    lost = grid["cohort"] == "Lyon"
    grid = grid.assign(state=grid["state"].mask(lost, "failed"), error=grid["error"].mask(lost, ERROR))
    text = text_of(replace(evidence, facts=facts, tables=evidence.tables | {"grid": grid}))
    assert ERROR in text and "Ranking" in text
    nothing = replace(evidence, facts=evidence.facts.head(0), tables={"grid": grid.assign(state="failed")})
    assert ERROR in text_of(nothing) and "Ranking" not in text_of(nothing)


def test_a_grid_needs_no_torch(tmp_path: Path) -> None:
    grid_evidence(seeds=1, targets=("Porto",)).save(tmp_path / "evidence")
    code = (
        "import sys; from medgraft.reports import report, write_numbers; "
        f"report({str(tmp_path / 'evidence')!r}, {str(tmp_path / 'r.html')!r}); "
        f"write_numbers({str(tmp_path / 'evidence')!r}, {str(tmp_path / 'r.json')!r}); "
        "heavy = {'torch', 'timm', 'sklearn', 'scipy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "r.html").exists() and (tmp_path / "r.json").exists()
