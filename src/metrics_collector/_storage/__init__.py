"""The durable store: what Redis held is kept in SQL."""
