"""Adaptation methods, grouped by what the user has at the target."""

from medgraft.methods.labelled import FineTune

__all__ = ["FineTune"]
