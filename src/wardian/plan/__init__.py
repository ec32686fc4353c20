"""Spec and lock → images and containers. Pure."""
