"""The verbs behind `medgraft.adapt`, `medgraft.evaluate`, ... and behind the command line."""
