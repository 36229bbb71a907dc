"""``python -m tornflow``: the command without its installed script."""

from __future__ import annotations

from tornflow.cli import main

if __name__ == "__main__":
    main()
