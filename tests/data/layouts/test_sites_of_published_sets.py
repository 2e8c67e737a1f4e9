"""What holds for every published set of several sites."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.layouts.test_camelyon17 import camelyon17
from tests.data.layouts.test_cc359 import cc359
from tests.data.layouts.test_fets2021 import fets2021
from tests.data.layouts.test_fitzpatrick17k import fitzpatrick17k
from tests.data.layouts.test_iseg2019 import iseg2019
from tests.data.layouts.test_isic import isic2019, isic2020
from tests.data.layouts.test_mnms import mnms
from tests.data.layouts.test_prostate import prostate
from tests.data.layouts.test_rsna_embolism import rsna_embolism
from tests.data.layouts.test_rsna_pneumonia import rsna_pneumonia
from tests.data.layouts.test_shenzhen import shenzhen
from tests.data.layouts.test_tupac import tupac
from tests.data.layouts.test_vindr_cxr import vindr_cxr

from medgraft.data.checks import check
from medgraft.data.cohort import Cohort
from medgraft.data.layouts import LAYOUTS, find_layout
from medgraft.data.manifest import read_manifest

EVERY = pytest.mark.parametrize("make", [cc359, prostate, mnms, fets2021, iseg2019])


@EVERY
def test_a_whole_set_has_no_problem_but_missing_splits(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    told = [problem.message for problem in check(make(tmp_path / "set"))]
    expected = [] if make is mnms else ["There is no column 'split': add it, or medgraft divides by patient."]
    assert told == expected


@EVERY
def test_a_recipe_opens_the_same_rows_of_sites_again(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    whole = read_manifest(make(tmp_path / "set"))
    cohort = whole.at(*sorted(set(whole.sites))[:2])
    again = Cohort.from_recipe(json.loads(json.dumps(cohort.recipe)))
    assert again.table.equals(cohort.table) and again.fingerprint() == cohort.fingerprint()


def test_each_set_is_told_from_the_others(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert find_layout(tmp_path / "empty") is None
    names = []
    patches = (camelyon17, tupac, fitzpatrick17k, isic2019, isic2020)
    films = (shenzhen, vindr_cxr, rsna_pneumonia, rsna_embolism)
    for make in (cc359, prostate, mnms, fets2021, iseg2019, *patches, *films):
        folder = make(tmp_path / make.__name__)
        assert [layout.name for layout in LAYOUTS if layout.recognises(folder)] == [find_layout(folder).name]
        names.append(find_layout(folder).name)
    assert names[:5] == ["CC359", "the six-site prostate set", "M&Ms", "FeTS 2021", "iSeg-2019"]
    assert names[5:10] == ["Camelyon17-WILDS", "TUPAC16 mitoses", "Fitzpatrick17k", "ISIC", "ISIC"]
    radiology = ["the Shenzhen chest films", "VinDr-CXR", "RSNA Pneumonia", "RSNA-STR Pulmonary Embolism"]
    assert names[10:] == radiology
