"""Plan → layers in the store."""
