"""Who may import whom, read from the source with `ast`; see docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "medgraft"

NOUNS = {"types", "errors", "evidence", "whole_files"}
LEAVES = {"data", "images", "models", "metrics", "statistics"}
USES_ENGINE = {"pretraining", "ranking", "methods", "evaluation", "analysis"}
ORDER: list[set[str]] = [
    NOUNS,
    LEAVES,
    {"phantoms"},
    {"engine"},
    USES_ENGINE,
    {"plugins"},
    {"api"},
    {"benchmarks"},
    {"cli", "testing"},
]
APART = [LEAVES, USES_ENGINE]  # layers whose members do not import one another
REPORTS_MAY = {"evidence", "errors"}


def imports_of(path: Path) -> set[str]:
    """Parts of medgraft that a file imports, `TYPE_CHECKING` blocks left out."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "medgraft"
                else [node.module or ""]
            )
        else:
            names = []
        found.update(name.split(".")[1] for name in names if name.startswith("medgraft."))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def level(part: str) -> int:
    return next(index for index, parts in enumerate(ORDER) if part in parts)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_imports_follow_the_house_plan(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    part = relative.parts[0].removesuffix(".py")
    if part == "__init__":
        return
    for other in imports_of(path) - {part}:
        if part == "reports":
            assert other in REPORTS_MAY, f"{relative}: reports see only evidence, not {other}"
            continue
        if other == "reports":
            assert level(part) >= level("api"), f"{relative}: only api, cli and testing make reports"
            continue
        assert level(other) <= level(part), f"{relative} imports {other}, which lies above it"
        for layer in APART:
            assert not {part, other} <= layer, f"{relative} imports {other}; these do not import one another"


def test_shared_code_names_no_method() -> None:
    names = [path.stem for path in (PACKAGE / "methods").rglob("*.py") if path.stem != "__init__"]
    assert names
    for path in (PACKAGE / "engine").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        identifiers = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not identifiers & set(names), f"{path.name} names a method"


def test_only_randomness_touches_the_global_generators() -> None:
    touching = ("torch.manual_seed", "np.random.seed", "random.seed")
    for path in PACKAGE.rglob("*.py"):
        if path.name == "randomness.py":
            continue
        calls = {
            ast.unparse(node.func)
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.Call)
        }
        assert not calls & set(touching), f"{path.relative_to(PACKAGE)} seeds a global generator"
