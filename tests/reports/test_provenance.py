from __future__ import annotations

import pandas as pd

from medgraft.evidence import Evidence, fact
from medgraft.reports.provenance import make_account


def entry(subject: str, seed: int, lr: float = 0.1) -> dict:
    return {
        "what": "adapt", "subject": subject, "cohort": "Porto", "seed": seed, "settings": {"lr": lr},
        "versions": {"torch": "2.10"}, "seconds": 30 + seed,
    }  # fmt: skip


def account(*entries: dict):
    row = fact(subject="a", cohort="Porto", metric="auroc", value=0.8)
    return make_account(Evidence(pd.DataFrame([row]), entries))


def test_what_is_the_same_everywhere_is_said_once() -> None:
    made = account(entry("a", 0), entry("a", 1), entry("b", 0, lr=0.2))
    assert made is not None
    assert [(field.name, field.lines) for field in made.common] == [("versions", ["torch 2.10"])]
    assert made.seconds == "1 min 31 s"
    first, second = made.deeds
    assert first.title == "a · adapt"
    assert {field.name: field.lines for field in first.fields} == {
        "seed": ["0, 1"], "settings.lr": ["0.1"], "seconds": ["seed 0: 30 s", "seed 1: 31 s"],
    }  # fmt: skip
    assert {field.name: field.lines for field in second.fields}["settings.lr"] == ["0.2"]


def test_one_entry_is_told_in_full() -> None:
    made = account({"what": "evaluate", "anything": {"deep": {"est": [1, None, {"x": True}]}}, "empty": {}})
    assert made is not None and made.common == []
    assert {field.name: field.lines for field in made.deeds[0].fields} == {
        "anything.deep.est": ["1, none, x yes"], "empty": ["none"],
    }  # fmt: skip


def test_fields_that_only_some_seeds_have_are_not_dropped() -> None:
    made = account(entry("a", 0), entry("a", 1) | {"note": "interrupted"})
    assert made is not None
    fields = {field.name: field.lines for field in made.deeds[0].fields}
    assert fields["note"] == ["seed 0: none", "seed 1: interrupted"]


def test_no_provenance_makes_no_account() -> None:
    assert account() is None
