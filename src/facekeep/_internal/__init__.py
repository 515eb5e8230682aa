"""What several packages need and nobody outside: files, memory, closing, timing."""
