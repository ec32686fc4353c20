"""Wardian seals a reinforcement-learning experiment into one image and runs it anywhere, unchanged."""

__version__ = "0.1.0"
