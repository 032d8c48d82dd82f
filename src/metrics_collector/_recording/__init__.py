"""The path of a measured call: from the decorator into the buffer. Knows nothing of what comes after the buffer."""
