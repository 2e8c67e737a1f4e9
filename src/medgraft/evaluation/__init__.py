"""A model on a cohort: scores with intervals, predictions and examples, as evidence."""
