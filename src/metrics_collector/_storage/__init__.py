"""The durable store: what Redis held is kept in SQL. Nothing above this folder contains SQL."""
