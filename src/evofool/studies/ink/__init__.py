"""The ink study: why do evolved pixels gather at the edges of the canvas?

After the question ai.stackexchange.com/questions/14076 (2019). Each part asks for one cause, by experiment.

    arms.py        what is drawn, on which network, changed how: one arm for each comparison
    given.py       networks with the padding they were trained with, images with their classes
    planning.py    from a configuration to tasks, everything checked
    tasks.py       what is measured without drawing: maps of single pixels, accuracies, transfer
    run.py         runs all, in a run directory, and takes one up again
    results.py     the numbers that are left behind
    measures.py    edge index, profiles by ring, intervals over runs
    landscape.py   what maps of single pixels say, and how well they predict
    evidence.py    what a cause is, and what counts as evidence for it
    causes.py      one judge for each cause
    schedules.py   is "afterwards always better" reproduced?
    verdict.py     which causes the numbers accuse, and how far
"""
