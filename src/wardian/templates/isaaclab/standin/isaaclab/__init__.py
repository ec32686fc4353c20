"""A stand-in for Isaac Lab where there is none: the few names that a task with its own physics needs."""

__version__ = "0+standin"
