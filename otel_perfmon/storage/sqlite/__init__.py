"""The SQLite backend: one file that any SQLite client can open."""
