"""The commands of docs/layouts.md, run as they stand there on made sets, with short trainings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.data.layouts.test_camelyon17 import camelyon17, hospitals
from tests.data.layouts.test_chestxray14 import chestxray14
from tests.data.layouts.test_chexpert import chexpert
from tests.data.layouts.test_decathlon import decathlon
from tests.data.layouts.test_fets2021 import fets2021
from tests.data.layouts.test_fitzpatrick17k import ROWS, fitzpatrick17k
from tests.data.layouts.test_medmnist import stored
from tests.data.layouts.test_prostate import prostate
from typer.testing import CliRunner

from medgraft.cli.main import app

PAGE = (Path(__file__).parents[3] / "docs" / "layouts.md").read_text(encoding="utf-8")
SHORT = ["--limit-epochs", "1", "--limit-steps", "1", "--threads", "1", "--device", "cpu"]


@pytest.mark.slow
def test_the_commands_of_the_page_work_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decathlon(tmp_path / "Task04_Hippocampus")
    decathlon(tmp_path / "Task01_BrainTumour", channels=4)
    chexpert(tmp_path / "CheXpert-v1.0-small")
    chestxray14(tmp_path / "ChestX-ray14")
    stored(tmp_path / "pathmnist_64.npz", (64, 64, 3), classes=9)
    prostate(tmp_path / "prostate", cases=4)
    fets2021(tmp_path / "FeTS2021")
    camelyon17(tmp_path / "camelyon17_v1.0", hospitals())
    photographs = tuple(f"{number:032x}{ROWS[number % 6][32:]}" for number in range(48))
    fitzpatrick17k(tmp_path / "fitzpatrick17k", photographs)
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^medgraft .*$", PAGE, flags=re.MULTILINE)
    expected = (
        "check adapt adapt adapt adapt evaluate adapt predict adapt adapt adapt adapt evaluate adapt evaluate"
    )
    assert [command.split()[1] for command in commands] == expected.split()
    for command in commands:
        words = shlex.split(command)[1:]
        result = CliRunner().invoke(app, words + (SHORT if words[0] == "adapt" else []))
        assert result.exit_code == 0, f"{command}: {result.output}"
