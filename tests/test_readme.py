"""What README.md shows is run here as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from medgraft.cli.main import app
from medgraft.testing import make_model

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def lungs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The README's table, with more rows of the same columns."""
    header = blocks("csv")[0].splitlines()[0].split(",")
    generator = np.random.default_rng(0)
    rows = []
    for patient, split in enumerate(("train",) * 6 + ("validation",) * 2 + ("test",) * 4):
        for label in ("benign", "malignant"):
            image = f"scans/{patient}-{label}.png"
            rows.append((image, label, f"P{patient:02}", "Porto", split))
            pixels = generator.normal(90 + 60 * (label == "malignant"), 20, (40, 40)).clip(0, 255)
            (tmp_path / "scans").mkdir(exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / image)
    pd.DataFrame(rows, columns=header).to_csv(tmp_path / "lungs.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands() -> list[str]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    inline = re.findall(r"`(medgraft methods[^`]*)`", README)
    return [line for line in lines + inline if line.startswith("medgraft ")]


@pytest.mark.slow
def test_the_commands_of_the_readme_work_one_after_another(lungs: Path) -> None:
    make_model("classify").save(lungs / "models" / "earlier")
    found = commands()
    assert [command.split()[1] for command in found] == [
        "check",
        "rank",
        "adapt",
        "evaluate",
        "methods",
        "methods",
    ]
    for command in found:
        result = CliRunner().invoke(app, shlex.split(command)[1:])
        assert result.exit_code == 0, f"{command}: {result.output}"
    assert "models/earlier" in (lungs / "results/rank/report.html").read_text(encoding="utf-8")
    assert (lungs / "runs/porto/model/model.json").exists()
    assert (lungs / "results/porto/report.html").exists()


@pytest.mark.slow
def test_the_python_of_the_readme_works(lungs: Path) -> None:
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    assert "Porto" in (lungs / "porto.html").read_text(encoding="utf-8")


def test_every_file_the_readme_points_to_exists() -> None:
    root = Path(__file__).parents[1]
    named = set(re.findall(r"`((?:docs|tests|benchmarks)/[\w./]+|CONTRIBUTING\.md|\.ci/run)`", README))
    assert named
    assert all((root / name).exists() for name in named)
