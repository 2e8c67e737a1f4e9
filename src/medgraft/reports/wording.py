"""How scores are called and numbers are written in a report."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

MINUS = "\N{MINUS SIGN}"
UNDEFINED = "undefined"


class Score(NamedTuple):
    """How a report speaks of a score; `higher_is_better` is None where nobody knows.

    is_distance: it does not exist where a structure is in only one of truth and prediction.
    """

    label: str
    meaning: str = ""
    higher_is_better: bool | None = None
    is_distance: bool = False


SCORES = {
    "balanced_accuracy": Score(
        "balanced accuracy", "the share of each class that was found, averaged.", True
    ),
    "dice": Score("Dice", "overlap of two structures: twice the common part over the sum of both.", True),
    "surface_dice": Score("surface Dice", "the share of both borders that lies near the other one.", True),
    "auroc": Score("AUROC", "how often a random case of a class ranks above another; 0.5 is chance.", True),
    "iou": Score("IoU", "overlap of two structures: the common part over the union.", True),
    "hd95_mm": Score(
        "HD95 (mm)",
        "the distance that all but the worst 5 % of each border keep to the other one.",
        False,
        True,
    ),
    "asd_truth_to_predicted_mm": Score(
        "ASD, truth to prediction (mm)",
        "average surface distance from the true border to the predicted one: large where something was missed.",
        False,
        True,
    ),
    "asd_predicted_to_truth_mm": Score(
        "ASD, prediction to truth (mm)",
        "average surface distance from the predicted border to the true one: large where something was invented.",
        False,
        True,
    ),
    "average_precision": Score("average precision", "how pure the top of the ranking is.", True),
    "accuracy": Score("accuracy", "the share of right predictions; common classes count most.", True),
    "ece": Score("calibration error", "how far confidence lies from the share that was right (ECE).", False),
    "brier": Score("Brier score", "squared error of the probabilities, summed over classes.", False),
    "recall": Score("recall", "the share of a class that was found (sensitivity).", True),
}
"""In the order in which tables show them and headlines prefer them."""
SURFACE_DICE = re.compile(r"surface_dice_(?P<tolerance>[\d.e+-]+)mm")
"""Its name tells its tolerance."""


def describe_score(name: str) -> Score:
    """The score's label, meaning and direction; an unknown name is shown as it is.

    >>> describe_score("surface_dice_2mm").label, describe_score("mean_gain").label
    ('surface Dice at 2 mm', 'mean gain')
    """
    if match := SURFACE_DICE.fullmatch(name):
        tolerance = f"{match['tolerance']} mm"
        return Score(
            f"surface Dice at {tolerance}",
            f"the share of both borders that lies within {tolerance} of the other one.",
            True,
        )
    return SCORES.get(name, Score(name.replace("_", " ")))


def in_order(names: set[str]) -> list[str]:
    """Known scores in the order of `SCORES`, then the others by name.

    >>> in_order({"mean_gain", "iou", "surface_dice_2mm", "dice"})
    ['dice', 'surface_dice_2mm', 'iou', 'mean_gain']
    """
    places = {name: place for place, name in enumerate(SCORES)}

    def place(name: str) -> tuple[int, str]:
        known = "surface_dice" if SURFACE_DICE.fullmatch(name) else name
        return places.get(known, len(places)), name

    return sorted(names, key=place)


def number(value: float, digits: int = 3) -> str:
    """A number with a true minus sign.

    >>> number(0.5), number(float("nan"))
    ('0.500', 'undefined')
    """
    if not math.isfinite(value):
        return UNDEFINED
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS if float(text) else "")


def signed(value: float, digits: int = 3) -> str:
    """A difference, with its sign.

    >>> signed(0.01), signed(-0.0001)
    ('+0.010', '0.000')
    """
    text = number(value, digits)
    return f"+{text}" if value > 0 and float(text) else text


def span(low: float, high: float, digits: int = 3) -> str:
    """An interval in words; empty where there is none.

    >>> span(-0.04, 0.06)
    '−0.040 to 0.060'
    """
    return (
        f"{number(low, digits)} to {number(high, digits)}"
        if math.isfinite(low) and math.isfinite(high)
        else ""
    )


def percent(share: float) -> str:
    """A share in whole percent.

    >>> percent(0.953).split()
    ['95', '%']
    """
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%" if math.isfinite(share) else UNDEFINED


def duration(seconds: float) -> str:
    """Seconds as a person would say them.

    >>> duration(372), duration(4.25)
    ('6 min 12 s', '4.2 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def short_duration(seconds: float) -> str:
    """Seconds that may be very few; empty where unknown.

    >>> short_duration(0.0004), short_duration(0.0123), short_duration(4.25), short_duration(float("nan"))
    ('< 1 ms', '12 ms', '4.2 s', '')
    """
    if not math.isfinite(seconds):
        return ""
    if seconds < 0.001:
        return "< 1 ms"
    return f"{1000 * seconds:.0f} ms" if seconds < 0.95 else duration(seconds)


def counted(number_of: int, noun: str) -> str:
    """A count and its noun, in the plural unless it is one.

    >>> counted(1, "seed"), counted(1200, "image")
    ('1 seed', '1,200 images')
    """
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"


def listed(names: list[str]) -> str:
    """Names as a sentence lists them; of several, those that hold a comma in quotation marks.

    >>> listed(["a", "b", "c, d"])
    'a, b and “c, d”'
    """
    if len(names) < 2:
        return "".join(names)
    *others, last = (f"“{name}”" if "," in name else name for name in names)
    return f"{', '.join(others)} and {last}"
