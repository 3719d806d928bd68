"""The estimators: each file is one family."""
