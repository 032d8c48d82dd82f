"""The process's one collector, where its sender runs, and the only place that builds parts from settings."""
