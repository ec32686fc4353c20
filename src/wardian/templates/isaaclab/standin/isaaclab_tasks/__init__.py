"""A stand-in for what Isaac Lab's scripts ask of its tasks."""
