"""The page of claims tells what the trainings of a grid's sources logged last."""

from __future__ import annotations

import runpy
from pathlib import Path

import pandas as pd

from medgraft.evidence import Evidence

TOOL = Path(__file__).resolve().parents[2] / "tools" / "write_claims.py"


def test_sources_are_told_by_their_last_epochs_and_guessing_beside_them() -> None:
    logged = [
        ("POPAR", 0, "accuracy_permuted", 0.29), ("POPAR", 1, "accuracy_permuted", 0.33), ("twins", 0, "loss", 2.0),
    ]  # fmt: skip
    table = pd.DataFrame(logged, columns=["source", "seed", "name", "value"])
    evidence = Evidence(
        tables={"source_trainings": table.assign(source_cohort="chests at clinic", part="", epochs=100)}
    )
    trainings = runpy.run_path(str(TOOL))["trainings"]
    title, head, _, first, second, _ = trainings(evidence)
    assert "by guessing one in as many as there are patches" in title
    assert head == "| source | accuracy_permuted | loss |"
    assert first == "| POPAR | 0.31 (0.29 to 0.33) |  |" and second == "| twins |  | 2 (2 to 2) |"
    assert not list(trainings(Evidence()))


def test_what_the_page_says_of_other_grids_stays() -> None:
    tool = runpy.run_path(str(TOOL))
    grids = sorted(tool["GRIDS"].glob("*.toml"))[:2]
    tool["section"].__globals__["RESULTS"] = Path("nowhere")  # none is measured
    texts = {tool["read_grid"](path).name: "\n".join(tool["section"](path)) for path in grids}
    page = "\n".join([tool["HEAD"], *texts.values()])
    assert tool["sections"](page) == texts and len(texts) == 2


def test_gains_that_are_compared_are_named_and_signed() -> None:
    from medgraft.benchmarks.claims import Judged
    from medgraft.benchmarks.grid import ClaimTable

    claim = ClaimTable(
        sentence="s", source="p", published="larger", method="ViT", reference="ViT, blank",
        more_than=("ResNet", "ResNet, blank"),
    )  # fmt: skip
    one = Judged("chests", "film", 100, "100 images", 0.12, 0.05, 0.07, 0.02, 0.11, 40, 5, "reproduced")
    head, _, line, _ = runpy.run_path(str(TOOL))["table"]([one], claim, "auroc")
    assert head.startswith(
        "| target | labels | ViT above ViT, blank | ResNet above ResNet, blank | difference in auroc"
    )
    assert line == "| film | 100 images | +0.120 | +0.050 | +0.070 (+0.020 to +0.110) | 5, 40 | reproduced |"
