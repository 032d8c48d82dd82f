"""From Redis to the store: the flush, the purge, and the worker that runs them."""
