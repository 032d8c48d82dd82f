"""Everything that is asked of Redis: keys, scripts, connections. No other folder names a key."""
