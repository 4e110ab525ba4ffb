"""Pictures that are larger than the memory: what a restoration needs, and tiles."""
