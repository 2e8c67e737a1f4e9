"""Files that are there whole, or as they were before."""

from __future__ import annotations

from pathlib import Path

from medgraft.errors import DataError, cannot_write


def write_whole(path: Path, text: str, what: str) -> Path:
    """Write a text file under another name and rename it, making folders on the way.

    Args:
        path: the file; one that is there is replaced.
        text: its content.
        what: what it is called in an error, as "an HTML file".

    Raises:
        DataError: the path is a folder.
        RunError: no room or no permission; what was there before stays.
    """
    if path.is_dir():
        raise DataError("report", f"the name of {what}", f"{path} is a folder", "Add a name to it.")
    # one name, so that what a killed writer left is replaced
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
