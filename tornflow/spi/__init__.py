"""What others implement: hooks, task types, storage. Import from the modules; everything there is public."""
