"""The lock's model and file, and why it is stale. Pure."""
