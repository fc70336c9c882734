"""Other people's attacks on the same images, under the same budget, before the same judge.

    door.py      what a peer asks instead of the classifier: every row is charged to its image, and looked at
    peers.py     one small function for each peer
    trial.py     lets a peer attack a list of images, and judges what it did
    keeping.py   the images to attack, and a run directory with what came of them

Nothing here imports a peer before it is asked to attack.
"""
