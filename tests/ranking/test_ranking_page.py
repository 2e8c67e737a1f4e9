"""docs/ranking.md: its code runs, and its tables are what the script computes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.statistics.test_published_rankings import GOLDEN
from tools import published_regret

PAGE = (Path(__file__).parents[2] / "docs" / "ranking.md").read_text("utf-8")


def between(name: str) -> list[str]:
    begin, end = (mark.format(name) for mark in published_regret.MARKS)
    return PAGE.split(begin, 1)[1].split(end, 1)[0].strip("\n").split("\n")


def test_printed_and_recomputed_statistics_of_the_page_are_what_the_script_computes() -> None:
    assert between("statistics") == published_regret.printed_statistics()


@pytest.mark.slow
def test_tables_of_regret_on_the_page_are_what_the_script_computes() -> None:
    assert between("always") == published_regret.always()
    assert between("expected") == published_regret.expected()


@pytest.mark.slow
@pytest.mark.skipif(not GOLDEN.is_file(), reason="the authors' result tables are not here")
def test_the_authors_scores_cost_what_the_page_says() -> None:
    assert between("first choices") == published_regret.first_choices(GOLDEN)


def test_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})
    assert "always ImageNet" in capsys.readouterr().out
