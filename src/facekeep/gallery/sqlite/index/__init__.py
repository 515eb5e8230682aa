"""The search index of a SQLite gallery, in memory or in a file beside it."""
