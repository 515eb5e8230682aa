"""Whole jobs of a user, built on the engine."""
