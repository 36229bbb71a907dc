"""The real shell in a simulated world: engines, store, executors and clients on one seeded loop with virtual time."""
