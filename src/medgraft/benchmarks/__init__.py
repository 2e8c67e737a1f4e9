"""Fair comparisons: what to compare (grid), one run (cell), where results stay (store), who computes (runners)."""
