"""The command line, called in this process, and what it said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from medgraft.cli.main import app

SHORT = ["--limit-epochs", "1", "--limit-steps", "2", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def no_handlers():
    yield
    logging.getLogger().handlers.clear()


@pytest.fixture
def medgraft() -> Callable[..., Result]:
    """Run a command; what it did not expect is raised."""

    def call(*words: object) -> Result:
        result = CliRunner().invoke(app, [str(word) for word in words], prog_name="medgraft")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def refused(medgraft) -> Callable[..., str]:
    """Run a command that must fail with one line on stderr; returns that line."""

    def call(*words: object, notes: int = 0) -> str:
        result = medgraft(*words)
        lines = result.stderr.strip().splitlines()
        assert result.exit_code == 2, (result.exit_code, result.output)
        assert len(lines) == 1 + notes, lines
        assert lines[-1].startswith("medgraft: ") and "Traceback" not in result.output
        return lines[-1].removeprefix("medgraft: ")

    return call


@pytest.fixture
def trained(medgraft, on_disk, tmp_path) -> tuple[Path, Path]:
    """A finished baseline's folder, and the table it learned from."""
    table = on_disk("classify")
    words = ("--source", "random/test_resnet", "--method", "simple_baseline", "--device", "cpu", "--quiet")
    assert medgraft("adapt", table, *words, "--out", tmp_path / "run").exit_code == 0
    return tmp_path / "run", table
