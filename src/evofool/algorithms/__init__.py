"""Algorithms: what proposes the next images. One file each, with a tiny `example()`."""
