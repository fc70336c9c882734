"""Drawing: evolve ink on a blank canvas until a classifier sees what is wanted, then take away what is not needed.

After the question ai.stackexchange.com/questions/14076 (2019), whose setting is the preset "question".

    drawing.py    one way to draw, from presets and settings
    planning.py   from a configuration to shards, everything checked
    shards.py     draws for some seeds side by side, from where it was left
    record.py     reads populations: who is best, and what is told of generations
    run.py        draws all, in a run directory, and takes one up again
    results.py    the numbers that are left behind
"""
