"""The command line: the verbs of `medgraft.api`, one file each; heavy imports wait until a command runs."""
