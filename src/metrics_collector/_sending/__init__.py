"""From the buffer to Redis: batches, what is kept of them until SQL has it, the limit on memory, the spool."""
