"""What `medgraft demo` can show, one task per file."""
