"""The agent: a small language model that chooses among the actions that an environment offers."""
