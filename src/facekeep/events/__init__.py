"""Events: who came, who left, and what becomes of it; see ``docs/guides/live.md``."""
