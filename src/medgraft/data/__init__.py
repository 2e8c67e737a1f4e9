"""What the user has: readers, manifest, checks, cohorts, splits, samples."""
