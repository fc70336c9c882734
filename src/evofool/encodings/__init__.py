"""Encodings: what a genome means as an image. One frozen dataclass each."""
