"""Deliberate defects, one at a time, in a copy of the project: does some test notice? See ``scripts/mutants``."""
