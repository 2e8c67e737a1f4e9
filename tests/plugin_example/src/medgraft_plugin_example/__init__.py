"""A method for medgraft that lives in a package of its own."""
