"""A stand-in for Isaac Lab's bridges to learning libraries."""
