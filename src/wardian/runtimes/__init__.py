"""Container → running process."""
