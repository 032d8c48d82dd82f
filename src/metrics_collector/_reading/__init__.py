"""Every question about what was recorded, asked of live totals and of the store."""
