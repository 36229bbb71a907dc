"""The shell around the engine: everything that waits, sends, stores or loads."""
