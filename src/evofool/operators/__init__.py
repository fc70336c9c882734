"""The operators of evolution, one function each.

    selection  (fitness [B P], n, *, rng, ...) -> indices [B n]           who becomes a parent
    crossover  (a, b, *, rng, ...) -> weight of a, [B n *G] or [B n 1]    how two parents are mixed
    mutation   (x [B n *G], *, rng, ...) -> [B n *G]                      how a child changes
    survival   (fitness [B M], n, *, parents) -> indices [B n]            who lives on

An operator acts on every member that it is given; how often it is used (`p_crossover`, `p_mutation`) is the algorithm's
business. Fitness is a loss, and NaN is a failed evaluation: such a member is never selected.

Draws come from `rng` alone and are made member by member: what a mutation does to a member does not depend on how many
follow it, since searches side by side mutate different numbers of children. `evofool.testing.contracts` checks this.
"""
