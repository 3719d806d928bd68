"""Randomness: noise from any generator or key, and a key that every library shares."""
