"""Sharded training checkpoints → a HuggingFace directory, without torch and without running what a pickle holds."""
