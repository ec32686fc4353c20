"""What the user wrote: models, loading with provenance, matrix, units. Pure."""
