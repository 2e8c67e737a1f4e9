"""Methods for a target with labels."""

from medgraft.methods.labelled.fine_tune import FineTune

__all__ = ["FineTune"]
