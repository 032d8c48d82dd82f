"""The one collector of a process, the thread of its sender, and the only code that builds parts from settings."""
