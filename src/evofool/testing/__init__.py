"""For authors of parts: the laws of every kind of part, as checks to call from a test."""
