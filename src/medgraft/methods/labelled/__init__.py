"""Methods for a target with labels."""

from medgraft.methods.labelled.fine_tune import FineTune
from medgraft.methods.labelled.simple_baseline import SimpleBaseline

__all__ = ["FineTune", "SimpleBaseline"]
