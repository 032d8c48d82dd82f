"""Redis: the names of keys, scripts, connections, and the commands of the pipeline."""
