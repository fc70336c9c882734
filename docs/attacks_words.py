"""The words of docs/attacks.md that are no numbers of runs; whatever is said about numbers is made from them."""

from __future__ import annotations

NETS = {
    "mnist-cnn": "MNIST CNN",
    "mnist-cnn-labels": "MNIST CNN, labels only",
    "mnist-robust": "MNIST CNN, adversarially trained",
    "cifar-cnn": "CIFAR-10 CNN",
    "mnist99": "the shipped mnist99",
}

OPENING = """
<!-- Written by docs/make_attacks.py from docs/attacks/*.json.gz. Change those, not this page. -->

# Attacks on your images

`evofool attack` changes each of your images a little, within a limit that you name, until a classifier sees
something else in it, and asks as few questions as it can. It knows nothing of the classifier but its answers.
"""

SHORTEST = """
## The shortest path

```
evofool attack --classifier mnist99 --data mnist --images 100 --norm linf --eps 0.3 --budget 1000 -o runs/a/
```

Any [classifier](classifiers.md) and any [images](guide.md) will do: a folder of class folders, or of images only
(then what the classifier sees in them as they are counts as their class, and it says so). `runs/a/report.html`
shows originals, adversarial images, their differences and what each took; what fooled is a PNG in `runs/a/images/`,
and it was that very file that fooled. A stopped run goes on with `evofool resume runs/a/`, and `evofool verify
runs/a/` asks about everything again.

In Python it is one line; the model may be a PyTorch module, any function of images, or a name:

```python
import evofool
from evofool.data import load_data

data = load_data("digits", split="test")
images, labels = data.images[:50] / 255, data.labels[:50]

adv = evofool.attack("digits", images, labels, norm="linf", eps=0.3, budget=200)
print(adv)  # what came of it, in sentences
print(adv.queries[adv.fooled].tolist())  # adv.images, adv.fooled, adv.queries, adv.report("adv-report/")
```

Limits are `--norm linf --eps 0.03` (no gray level changes by more; 1 is full white, and it is read as a whole
number of 1/255), `--norm l2 --eps 2`, `--pixels 10`, and with `--recipe sparse-rs` also `--patch 5` (a square anywhere)
and `--frame 2` (the outer pixels). `--target 7` wants the images seen as a 7, `--target least-likely` and `--target
random` want another class of each; `--top-k 3` wants the class out of the first three.
"""

WHEN = {
    "genepool": "the default; many images against one classifier (with labels only: L-inf, away from a class)",
    "square": "images one by one, scores, L-inf or L2",
    "sparse-rs": "few pixels, a patch or a frame",
    "brusle": "few pixels; learns which ones",
    "rays": "labels only, L-inf",
    "evolutionary": "labels only, L2",
    "sparse-evo": "labels only, few pixels",
    "genattack": "to compare with the paper",
    "one-pixel": "one to ten pixels, differential evolution",
    "es": "evolution strategies and the estimate of a gradient (`strategy`)",
    "ga": "to try operators: selection, crossover, mutation, survival",
    "random": "the control: who does not beat it has shown nothing",
}

CHOOSING = """
`evofool list recipes` lists them, `evofool show recipe square` shows paper, numbers, where we differ, and what
`--set NAME=VALUE` changes. `evofool compare runs/a runs/b` sets runs on the same images side by side.

```
evofool attack --classifier mnist99 --data mnist --images 100 --recipe square --norm l2 --eps 2.0 -o runs/square/
evofool attack --classifier mnist99 --data mnist --images 100 --recipe sparse-rs --pixels 10 --target 3 -o runs/three/
```
"""

RULES = """
How it was counted:

- Every query is charged by one ledger outside of the attack, without a cache; of peers, too. Headline counts start
  after the query for the image as it is, which is charged and shown. Images that are misclassified as they are are
  not attacked, and are nobody's success. A failure counts as the whole budget: no mean is over successes alone.
- "issued" is all that was charged, with the query for each image as it is. Of peers that attack a batch it holds what
  they ask about images that are fooled already, until the last of the batch is: that is in no mean.
- A success counts only as it is on disk, on the 1/255 lattice and within the limit. What peers ask is brought to the
  lattice on its way, so that they hear of what fools as a file; what they give back is looked at once more, and told
  under "lost on disk" if it fools as floats and not as a file.
- Attacks that treat each image by itself are compared over images: Wilcoxon's test on queries, and on successes
  McNemar's of one run of each, or Wilcoxon's on the share of several; as many runs of each are taken, and p values are
  Holm's over the attacks of a table. `genepool` carries what it learns from image to image, so its images are not
  independent: there the unit is the run, each with its own order of the images. Intervals are over runs, where there
  are five of them, and hold for these images only; of successes they are Wilson's, and as wide as that over runs.
- "Not 2 points lower" means that the lower end of the 95% interval of the difference lies above \N{MINUS SIGN}2
  points. All other figures are met, or missed, by what was measured, whatever the interval around it.
- `square` begins with squares of a share p of the pixels: 0.8 as AutoAttack and torchattacks have it. Within L-inf,
  on the images that settings were chosen on, 0.3 asked less on MNIST, and 0.05 or 0.3 on photographs; within L2 p = 0.1
  is tried on photographs, as its paper has it there. So these stand beside it, and `genepool` is held against the one
  that asks least.
- Where the classes to be reached are drawn, each seed draws others; what is held against each other has the same ones.
- Settings of `genepool` were chosen on other images than these: test images from the 5,000th on, of CIFAR-10 those
  of a shuffled list from the 5,000th on. Here are the first ones.
- `random`, and recipes that hardly succeed, stop at 1,000 queries where others may ask 5,000; and of CIFAR-10, whose
  network takes long, all recipes and peers attack the same 200 images once. They have tables of their own, with the
  leaders beside them.
- Peers run with their own defaults, on 100 images at a time where they can and it helps them.
- CIFAR-10 here is a copy of the images as JPEG files, slightly lossy: set no number of it beside one of a paper.
"""

CONTROL = """
`genepool` against random search, the control, which draws from all that is allowed:
"""

SURVIVAL = (
    "Share of {images} attacked images that so many queries did not fool (Kaplan and Meier), over all runs of each; "
    "failures are censored at the budget of {budget}. Not all attacks of the table are drawn."
)

PICTURES = {
    "mnist": (
        "Digits, the same with changes that fool a network, and the differences",
        "Digits as they are, as `genepool` left them within L-inf 0.3, and the difference: those that took a middling "
        "number of queries.",
    ),
    "cifar": (
        "Small photographs, the same with changes that fool a network, and the differences",
        "CIFAR-10 within L-inf 8/255: as they are, as they were left, and the difference, magnified.",
    ),
    "pool": (
        "Perturbations of blocks and stripes, with how often each fooled an image",
        "Genes of the pool: perturbations that fooled images, those with the most wins first.",
    ),
}

LEARNING = """
`genepool` begins with nothing, and pays for trying what it knows. Mean queries over the first images of the list and
over all of them, beside the same algorithm with each image alone (`--independent`), which took the same order. The
first images are few, and easier or harder than others: hold a column against its own "alone", not against the next.
"""

ABLATION = """
Each row is `genepool` without one of its parts, on the same images. Intervals are over runs, and there is none with
fewer than five; a ratio whose interval holds 1 shows nothing. With `lag=1` and `cohort=4` fewer images are under way
together, and each may know more of those before it.
"""

PARTS = {
    "alone": "each image alone, no pool (`--independent`)",
    "lag=1": "each cohort waits for the one before it (`lag=1`)",
    "breed=false": "no genes bred of genes (`breed=false`)",
    "prior=false": "what is known of changes does not carry over, only genes (`prior=false`)",
    "cohort=4": "cohorts of at most 4 images (`cohort=4`)",
    "squares=false": "no squares where answers have long been in vain (`squares=false`)",
}

# What each of these does without; the others ask about more or fewer at a time, and so trade time for queries.
WITHOUT = {
    "alone": "the pool",
    "breed=false": "genes that are bred of genes",
    "prior=false": "what is known of changes from earlier images",
    "squares=false": "squares where answers have long been in vain",
}

TRANSFER = """
`--pool` begins with the genes of another run. Here those found on the MNIST CNN are tried on {net}, on {images}
images that they were not found on; every query of the attack is counted, those that made the genes are not.
"""

LIKENESS = """
A recipe claims to be what its paper describes, so it must need no more queries than the installed implementation of
the same paper, and succeed no less often: within the 95% interval over images, or better. `one-pixel` builds its
children on members drawn by chance, as the paper has it; torchattacks builds them on the best one, with as many
members as there are numbers to find: `--set base=best --set population=30` does that for 10 gray pixels, and stands
beside it.
"""

TIME = """
What an attack takes beside the forward passes that it needs, on one core, in the layout and batch that the network
likes best. Wanted: at most 1.15 times the forward passes for networks of 100 us an image and more, and at most 6 us
a query of our own below that.
"""

ROUNDS = """
What is over lies less in a query than in a round: each takes the same small steps, however many images it asks about
("at a time"), and a call with few of them takes more than their share of a full one. Of `genepool` few are asked about
at a time, since later cohorts wait for what earlier ones teach. What was tried against it and kept: the belief updated
where it lies, in one product for all images; calls of sizes in between; and teaching after 200 queries instead of 500.
What was tried and not kept, since it asks about more at a time but needs more queries: twice and three times as many
cohorts under way together. Where a query takes ten milliseconds, as of any endpoint, all of this is little.
"""

NOT_COMPARED = """
## What could not be compared

Some attacks have public code that cannot be installed beside others, or none. These are the figures of their papers
and repositories, on other networks than ours; nothing above may be set beside them but in order of magnitude. Means
of papers are mostly over successes alone.

| attack | where | limit | said |
| --- | --- | --- | --- |
| Square (original code) | ResNet-50, ImageNet | L-inf 0.05, 10,000 queries | mean 73, median 11, no failures |
| SignHunter | MNIST, a standard network | L-inf | 100% of 10,000 images, mean 12 |
| Square (original code) | MNIST, adversarially trained (Madry) | L-inf 0.3, 50 x 20,000 queries | 88.25% hold out |
| NES | CIFAR-10 (BlackboxBench) | L-inf 0.05, 10,000 queries | mean 267.3 over successes |
| RayS | CIFAR-10 (BlackboxBench) | L-inf 0.05, labels only | mean 510 over successes |
| HopSkipJump | CIFAR-10 (BlackboxBench) | L-inf 0.05, labels only | mean 780 over successes |

Sources: the repositories of Square (max-andr/square-attack), SignHunter
(ash-aldujaili/blackbox-adv-examples-signhunter) and BlackboxBench (SCLBD/BlackboxBench). The original code of
Sparse-RS and BruSLeAttack has no package; our recipes follow their papers, and `evofool show recipe` says where
they differ.
"""

GENEPOOL = """
## How `genepool` works

What fooled one image often fools another. So what fooled earlier images is tried first on later ones:

1. **Genes.** A perturbation that fooled an image becomes a gene of the pool, with what it left of the margin of
   every image that it was tried on, by class. A new image tries first the gene that most likely fools it, as
   predicted by a Gaussian process over genes: two genes are the more alike in what they do, the more alike they
   look. After each try the rest are predicted anew. A gene is tried as long as its chance, or what it is expected
   to take off the margin, is worth a query.
2. **Beliefs.** Then the search goes on from the best gene. Within L-inf and L2 it keeps a belief of the margin's
   slope: a Gaussian over waves of the image (its cosine transform over rows, columns and channels), corrected after
   every answer as in Kalman's filter. Each question goes as far as the limit allows along what is believed, and a
   little astray, where much may be had and little is known. So every question may fool, and every answer teaches,
   whether it was better or not. Once 64 answers in a row have brought nothing, squares repainted as by Square take
   turns with that within L-inf: networks that were trained to withstand small changes answer to large ones only.
   Which waves a classifier feels, and what changes do to a class on the average, is learned across images: the next
   one begins with it. With few pixels the steps are those of Sparse-RS, but what does least is given up: how much
   each pixel does is estimated from what giving it up has cost, and drawn from that estimate, so that what is doubted
   is tried, too. What is painted instead goes by what changes did to earlier images, and what was in vain is passed
   over, as in BruSLeAttack. Where a classifier answers with labels only there is no margin, and RayS goes on after
   the genes.
3. **Breeding.** Whenever a pair of classes has 2, 4, 8, ... genes, one more is bred of them all.

Its rules are exact, since sharing is dependence:

- **The order matters**, and nothing else does. Images come in cohorts; cohort c reads the pool as it stood after
  cohort c \N{MINUS SIGN} 8 (`--set lag=4` changes that), so that 8 cohorts are asked about together. The same list in
  the same order gives the same bytes, whatever the batch or the number of processes. `--shuffle` orders the list by
  `--seed`.
- **Anytime**: a run that is cut at 1,000 queries an image is the beginning of one with 5,000, byte for byte, as
  long as the budget is at least the horizon: images teach what they knew after 200 queries (`--set horizon=200`).
- `--independent` switches the pool off: then one image alone is that image in any batch, as with all other recipes.
- A gene is a query like any other: all are charged, those of the first images, when nothing is known, too.
"""

OPTIONS = """
## More to say

| option | does |
| --- | --- |
| `--pool runs/a/pool.safetensors` | begins with the genes of another run: other images, or another classifier |
| `--independent` | `genepool` without a pool |
| `--shrink` | spends what is left of an image's budget on making what fooled it smaller |
| `--budget-total 20000` | the most queries of all; what the quickly fooled leave goes to the hard ones |
| `--confirm 2` | asks about what fools twice more; unless it fools each time, the search goes on |
| `--set NAME=VALUE` | an argument of the recipe |
| `--no-cache` | sends an image again that the same search has asked about before, as for the comparison here |

```
evofool attack --classifier mnist99 --data mnist --images 100 --pixels 20 --shrink -o runs/few/
evofool attack --classifier mnist99 --data mnist --images 100 --eps 0.1 --budget-total 20000 -o runs/together/
```
"""

# What is said, and what comes back; a test tries each with `--classifier digits --data digits`.
WRONG_INPUTS = (
    ("--eps 0", "eps = 0: expected above 0"),
    ("--eps 1.5", "eps = 1.5: expected at most 1 for images of 28 x 28; gray levels are in [0, 1], so 8 of 255 is "
     "0.0314"),
    ("--eps 0.001", "eps is less than one gray level: expected at least 1/255 = 0.0040"),
    ("--pixels 1000", "pixels = 1000: expected at most 784 for images of 28 x 28"),
    ("--eps 0.3 --pixels 3", "--eps and --pixels: each is a limit of its own; give one of them"),
    ("--eps 0.3 --budget 1", "a budget of 1 queries for each image: one is for the image as it is; expected at least "
     "2"),
    ("--eps 0.3 --recipe sparse-rs", "sparse-rs works within l0, patch, frame, not linf; es, ga, genattack, genepool, "
     "random, rays, square can"),
    ("--eps 0.3 --independent --recipe square", "--independent is said of genepool; square attacks each image by "
     "itself already"),
    ("--eps 0.3 --set lagg=3", "genepool has no argument 'lagg'; did you mean 'lag'?"),
)  # fmt: skip

WRONG = "\n".join(
    [
        "## When something is wrong\n",
        "One line says what, before anything is asked; the exit code is 2. With digits, for example:\n",
        "| you say | it says |",
        "| --- | --- |",
        *(f"| `{said}` | {told} |" for said, told in WRONG_INPUTS),
        "",
        "Images that are not in [0, 1] are refused with the number of the image and what it spans: normalising is the "
        "model's own affair.",
    ]
)

AGAIN = """
Networks, runs and this page, each by its own command; {runs} runs stand here, each verified before its numbers were
taken over (`evofool verify --offline`):

```text
python benchmarks/attack_matrix.py --help                                  # says how to train the networks
make bench-attacks ATTACKS=--help                                          # makes .venv-bench, for the peers
python benchmarks/attack_matrix.py --nets nets/ --runs runs/attacks --cifar cifar10.zip --dry-run
python benchmarks/attack_matrix.py --nets nets/ --runs runs/attacks --cifar cifar10.zip --jobs 2
python docs/make_attacks.py --from runs/attacks
```

Runs stood on {versions}.
"""
