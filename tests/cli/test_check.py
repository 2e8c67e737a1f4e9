"""`medgraft check`: one line per problem, and an exit status that scripts can trust."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgraft.data.samples import FOLDER


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """now.csv and before.csv: eight tiles of a slide each, none in both."""
    slide = Image.open(FOLDER / "nest.jpg")
    for one in range(16):
        left, top = 120 * (one % 8), 120 * (one // 8)
        slide.crop((left, top, left + 96, top + 96)).save(tmp_path / f"{one}.png")
    rows = [f"{one}.png,{'ab'[one % 2]},SECRET{one},{'train' if one < 4 else 'test'}" for one in range(16)]
    (tmp_path / "now.csv").write_text("\n".join(["image,label,patient,split", *rows[:8]]))
    (tmp_path / "before.csv").write_text("\n".join(["image,label,patient,split", *rows[8:]]))
    return tmp_path


def mirror(folder: Path, one: int, into: int) -> None:
    Image.fromarray(np.asarray(Image.open(folder / f"{one}.png"))[:, ::-1]).save(folder / f"{into}.png")


def test_data_without_overlap_have_no_problems(medgraft, tables: Path) -> None:
    result = medgraft("check", tables / "now.csv", "--pretraining", tables / "before.csv")
    assert (result.exit_code, result.stdout) == (0, f"{tables / 'now.csv'}: no problems found.\n")


def test_test_images_seen_in_pretraining_fail(medgraft, tables: Path) -> None:
    mirror(tables, 6, into=11)
    result = medgraft("check", tables / "now.csv", "--pretraining", tables / "before.csv")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "error  row 7  6.png  The image looks like a copy of row 4 of the pre-training data (before) (mirrored left to "
        "right): leave it out of validation and test."
    )
    assert lines[2] == f"{tables / 'now.csv'}: 1 error, 0 warnings. Rows are counted from 1 below the header."
    assert len(lines) == 3 and "SECRET" not in result.output
    assert medgraft("check", tables / "now.csv").exit_code == 0


def test_training_images_seen_in_pretraining_only_warn(medgraft, tables: Path) -> None:
    mirror(tables, 2, into=11)
    result = medgraft("check", tables / "now.csv", "--pretraining", tables / "before.csv")
    assert result.exit_code == 0
    assert result.stdout.startswith("warning  row 3  2.png  The image looks like a copy of row 4")
    assert "0 errors, 1 warning." in result.stdout


def test_pretraining_data_that_do_not_exist_fail_with_one_sentence(medgraft, tables: Path) -> None:
    result = medgraft("check", tables / "now.csv", "--pretraining", tables / "none.csv")
    assert result.exit_code == 1
    (line,) = [line for line in result.stdout.splitlines() if line.startswith(("error", "warning"))]
    assert (
        line.startswith("error  table")
        and "none.csv does not exist" in line
        and "Traceback" not in result.output
    )


def test_a_lost_image_is_one_line_beside_the_overlap_of_others(medgraft, tables: Path) -> None:
    (tables / "7.png").unlink()
    (tables / "9.png").unlink()
    mirror(tables, 5, into=8)
    result = medgraft("check", tables / "now.csv", "--pretraining", tables / "before.csv")
    lines = result.stdout.splitlines()
    assert result.exit_code == 1 and len(lines) == 5
    assert "copy of row 1" in lines[0] and "7.png does not exist" in lines[1]
    assert "1 of 8 images of the pre-training data (before) cannot be read, the first in row 2" in lines[2]
