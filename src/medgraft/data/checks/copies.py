"""Images that occur more than once: in the data set, or in what the source model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from medgraft.data.checks.problem import Checked, Problem, Severity
from medgraft.data.cohort import Cohort
from medgraft.data.leakage import Leak, find_overlap, find_seen_patients
from medgraft.data.near_duplicates import Collector, find_pairs
from medgraft.errors import DataError


def check_copies(checked: Checked, pixels: Sequence[bytes | None], collected: Collector) -> Iterator[Problem]:
    """Exact copies and near ones: an error across splits, a warning within one.

    Args:
        pixels: hash of each image's values, None where it cannot be read.
        collected: signatures of all images; those of one patient make a group.
    """
    first: dict[bytes, int] = {}
    repeated = checked.table.duplicated().to_numpy()
    for position, digest in enumerate(pixels):
        if digest is None:
            continue
        earlier = first.setdefault(digest, position)
        if earlier != position and not repeated[position]:  # repeated rows are told with the table
            yield _exact(checked, earlier, position)
    read = checked.cohort.picture
    told: set[int] = set()
    found = [
        pair
        for signatures in collected.signatures()
        for pair in find_pairs(signatures, lambda position: read(position).array)
        if pixels[pair.first] != pixels[pair.second]
    ]
    pairs = [pair for pair in found if pair.stands_out]
    crowd = [pair for pair in found if not pair.stands_out]
    if crowd:
        number = len({position for pair in crowd for position in pair[:2]})
        example = min(crowd, key=lambda pair: (not _apart(checked, *pair[:2]), pair))
        rows = " and ".join(str(checked.rows[position]) for position in example[:2])
        apart = ", which are in different splits" if _apart(checked, *example[:2]) else ""
        yield checked.of_table(
            f"{number} images resemble several others so much that copies cannot be told among them (rows {rows}, for "
            f"example{apart}): where they are slices of a scan or frames of a recording, give them one patient."
        )
    for pair in sorted(
        pairs, key=lambda pair: (not _apart(checked, *pair[:2]), pair.second, -pair.similarity)
    ):
        if pair.second in told:
            continue
        told.add(pair.second)
        what = (
            f"The image looks like a copy of row {checked.rows[pair.first]} "
            f"({pair.reason}; similarity {pair.similarity:.2f})"
        )
        if _apart(checked, pair.first, pair.second):
            assert checked.splits is not None
            split = checked.splits[pair.first]
            told_split = f"{what}, which is in another split ('{split}'): look at both and keep one."
            yield checked.of_row(pair.second, told_split)
        else:
            yield checked.of_row(pair.second, f"{what}: look at both and keep one.", "warning")


def check_overlap(
    checked: Checked, pretraining: Cohort, advance: Callable[[], None] = lambda: None
) -> Iterator[Problem]:
    """Rows whose patient or image the source model has seen: errors where they test, warnings elsewhere.

    Of images that cannot be read only the patient is compared.
    """
    position_of = {row: position for position, row in enumerate(checked.rows)}
    readable, read_before = _readable(checked.cohort), _readable(pretraining)
    lost = sorted(set(range(len(pretraining))) - set(read_before))
    if lost:
        yield checked.of_table(
            f"{len(lost)} of {len(pretraining)} images of the pre-training data ({pretraining.name}) cannot be read, "
            f"the first in row {pretraining.table.index[lost[0]]}: only their patients were compared; correct their "
            "paths."
        )
    seen = find_overlap(checked.cohort.take(readable), pretraining.take(read_before), advance=advance)
    images = [leak for leak in seen if leak.kind != "patient"]
    for leak in [*find_seen_patients(checked.cohort, pretraining), *images]:
        position = position_of[leak.row]
        tests = checked.splits is None or checked.splits[position] != "train"
        severity: Severity = "error" if tests else "warning"
        do = "leave it out of validation and test" if tests else "keep its patient out of validation and test"
        yield checked.of_row(position, f"{_seen(leak, pretraining.name)}: {do}.", severity)


def _readable(cohort: Cohort) -> list[int]:
    """Positions of images that can be read; their hashes are remembered for what follows."""
    found = []
    for position in range(len(cohort)):
        try:
            cohort.take([position]).pixel_hashes()
        except DataError:
            continue
        found.append(position)
    return found


def _seen(leak: Leak, name: str) -> str:
    where = f"row {leak.other_row} of the pre-training data ({name})"
    if leak.kind == "patient":
        return f"The patient has the same name as in {where}"
    if leak.kind == "pixels":
        return f"The pixels are those of {where}"
    return f"The image looks like a copy of {where} ({leak.reason})"


def _exact(checked: Checked, first: int, position: int) -> Problem:
    where = f"The pixels are those of row {checked.rows[first]}"
    labels = checked.table["label"] if "label" in checked.columns else None
    if _apart(checked, first, position):
        assert checked.splits is not None
        what = f"which is in another split ('{checked.splits[first]}')"
        return checked.of_row(position, f"{where}, {what}: keep one of the two.")
    if labels is not None and labels.iloc[position] != labels.iloc[first]:
        what = f"which has another label ({labels.iloc[first]!r})"
        return checked.of_row(position, f"{where}, {what}: correct one.")
    return checked.of_row(position, f"{where}: remove one of the two.", "warning")


def _apart(checked: Checked, first: int, second: int) -> bool:
    return checked.splits is not None and checked.splits[first] != checked.splits[second]
