"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# People's runs look for new examples each time. CI repeats the same ones, so that a change is judged by what it
# changes; what a run by hand finds becomes a test of its own.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
