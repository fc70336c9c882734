"""The operator study: what selection, crossover and mutation do when a population of images evolves against a CNN.

After Timbe, Carreiras, Munhangane, Breaking CNNs - MNIST Dataset, NOVA IMS (2021).

    scenarios.py   the arms: twelve scenarios, elitism, controls, and what is run to test a claim or a hypothesis
    planning.py    from a configuration to shards, everything checked
    shards.py      runs one: an arm on a classifier for some seeds, from where it was left
    run.py         runs all, in a run directory, and takes one up again
    measure.py     what is measured of a population
    results.py     the numbers that are left behind
    paper.py       the published figures
"""
