"""Transferability scores: one per file, pure functions of arrays. Higher is better for all of them."""
