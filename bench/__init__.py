"""The figures of the product, measured from outside. See README.md; run by hand, never in CI."""
