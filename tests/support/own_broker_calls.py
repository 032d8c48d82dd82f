"""How often the service with its own broker calls; apart, so that a test need not start that."""

CALLS = 50
