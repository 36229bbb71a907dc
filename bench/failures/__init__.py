"""Failure runs: real processes, real databases, a mixed load, and something that breaks all the time."""
