"""Attacks on given images: fool a classifier with each of them, within a limit, in as few queries as can be.

given.py      a configuration, and the images that it names
planning.py   from a configuration to shards, everything checked
shards.py     attacks some images side by side
assault.py    attacks images, and makes what fooled smaller
run.py        attacks all, in a run directory, and takes one up again
results.py    the numbers that are left behind
"""
