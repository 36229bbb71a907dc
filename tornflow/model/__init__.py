"""Values: descriptors, statuses, the saved state of a scope. No behaviour that needs a clock, a loop or a file."""
