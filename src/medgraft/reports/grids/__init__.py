"""Pages about a grid: who ranks where, what labels and time buy, what happens between sites, what failed."""
