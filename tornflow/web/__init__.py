"""What a browser gets: fixed pages and their assets, shipped in ``static/`` and never fetched from elsewhere."""

from tornflow.web.swagger import pages

__all__ = ["pages"]
