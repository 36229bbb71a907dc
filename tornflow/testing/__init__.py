"""Suites and fakes that are shipped to the authors of plugins and stores."""
