"""Adaptation methods, grouped by what the user has at the target."""

from medgraft.methods.labelled import FineTune, SimpleBaseline

__all__ = ["FineTune", "SimpleBaseline"]
