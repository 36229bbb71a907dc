"""The pure core: events in, changes and commands out. No loop, clock, chance, log or file."""
