"""Measuring estimators: the enumerated gradient, and comparison with it."""
