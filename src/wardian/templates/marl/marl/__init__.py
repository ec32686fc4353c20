"""Agents that share one policy and learn it with PPO."""
