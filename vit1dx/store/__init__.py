"""Feature files: their format, writing, reading, checking."""
