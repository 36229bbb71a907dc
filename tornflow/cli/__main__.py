"""``python -m tornflow.cli``: the command without its installed script."""

from __future__ import annotations

from tornflow.cli import main

main()
