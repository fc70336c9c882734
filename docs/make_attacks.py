"""Writes docs/attacks.md and its figures from the numbers of the runs, or checks that they agree.

python docs/make_attacks.py                       from docs/attacks/*.json.gz
python docs/make_attacks.py --from runs/attacks   take over the numbers of runs first, after verifying each
python docs/make_attacks.py --speed speed.json    take over what benchmarks/attack_speed.py wrote
python docs/make_attacks.py --check               fail where the page says something else than the numbers

Runs lie in folders as benchmarks/attack_matrix.py leaves them: RUNS/LIMIT/RECIPE-SEED/.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attacks_numbers as numbers
import attacks_words as words
from attacks_numbers import Bar, Entry, Group, Held, points, ratio

from evofool import rundir
from evofool.errors import UserError
from evofool.files import write_bytes
from evofool.recipes import recipes
from evofool.reports import attack_plots
from evofool.reports.attack_plots import Line
from evofool.reports.plots import Drawn

HERE = Path(__file__).parent
PAGE = HERE / "attacks.md"
NUMBERS = HERE / "attacks"
FIGURES = "attacks/figures"
PICTURES = {
    "mnist": ("mnist-cnn-linf-0.3-1000", "images_middle.png"),
    "cifar": ("cifar-cnn-linf-8-255-5000", "images_middle.png"),
    "pool": ("mnist-cnn-linf-0.3-1000", "pool.png"),
}
LINES = 8  # in a figure
OURS, ALONE = "genepool", "genepool alone"
LEARNED = "mnist-cnn-linf-0.3-1000", "mnist-cnn-linf-0.15-1000"  # whose learning curves are drawn
ABLATED = *LEARNED, "mnist-robust-linf-0.3-5000"
OTHER = "mnist99-linf-0.3-1000"
FEWER = "-images"  # ends the name of a group of fewer images than there are in others


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="runs", type=Path, metavar="RUNS", help="folder of folders of finished runs")
    parser.add_argument("--speed", type=Path, metavar="FILE", help="what benchmarks/attack_speed.py wrote")
    parser.add_argument("--at", type=Path, default=HERE, metavar="DIR", help="where the page lies (docs/)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page differs")
    options = parser.parse_args()
    page, folder = options.at / PAGE.name, options.at / NUMBERS.name
    if options.runs:
        take_over(options.runs, folder)
    if options.speed:
        write_bytes(folder / "speed.json", options.speed.read_bytes())
    groups = read(folder)
    made = text(groups, folder)
    if options.check:
        if page.read_text() != made:
            print(f"{page}: differs from its numbers; run `make docs` and look at the change", file=sys.stderr)
            return 1
        print(f"{page.name}: agrees with its numbers")
        return 0
    shutil.rmtree(folder / "figures", ignore_errors=True)
    drawn = figures(groups)
    for name, figure in drawn.items():
        write_bytes(folder / "figures" / f"{name}.svg", figure.svg)
    write_bytes(page, made.encode())
    print(f"{page}: written, with {len(drawn)} figures")
    return 0


def take_over(runs: Path, folder: Path) -> None:
    """Pack all finished runs of a folder, after verifying each, and the pictures."""
    for limit in sorted(path for path in runs.iterdir() if path.is_dir()):
        paths = sorted(path for path in limit.iterdir() if (path / "run.json").is_file())
        done = [path for path in paths if rundir.finished(path)]
        for path in paths:
            if path not in done:
                print(f"{path}: not finished, left out", file=sys.stderr)
        if done:
            numbers.keep([numbers.pack(path) for path in done], folder / f"{limit.name}.json.gz")
            print(f"{limit.name}: {len(done)} runs verified and packed")
    for name, (folder_of, figure) in PICTURES.items():
        source = runs / folder_of / f"{OURS}-0" / "figures" / figure
        if source.is_file():
            write_bytes(folder / f"{name}.png", source.read_bytes())


def read(folder: Path) -> dict[str, Group]:
    """All groups at hand, in the order of the promises."""
    order = list(dict.fromkeys(promise.group for promise in numbers.PROMISES))
    paths = {path.name.removesuffix(".json.gz"): path for path in folder.glob("*.json.gz")}

    def place(name: str) -> tuple[int, int, str]:
        """After the promised limit come those that differ from it in queries only, then in images."""
        whole = re.sub(rf"-\d+{FEWER}$", "", name)
        for of in (whole, whole.removesuffix("-1000") + "-5000"):
            if of in order:
                return order.index(of), (of != whole) + 2 * (whole != name), name
        return len(order), 0, name

    return {name: numbers.group(name, numbers.read(paths[name])) for name in sorted(paths, key=place)}


# The page ---------------------------------------------------------------------------------------------------------


def text(groups: Mapping[str, Group], folder: Path = NUMBERS) -> str:
    """The page."""
    there = {name for name in PICTURES if (folder / f"{name}.png").is_file()}
    bars = [numbers.bar(promise, groups) for promise in numbers.PROMISES]
    parts = [words.OPENING, *_picture(there, "mnist"), words.SHORTEST, "## Which recipe", *_recipes(), words.CHOOSING]
    parts += ["## What was to be reached, and what was", *_bars(bars), *_control(groups), words.RULES]
    parts += ["## Side by side", *[part for each in groups.values() if each.name != OTHER for part in _group(each)]]
    parts += _picture(there, "cifar")
    parts += ["## What carries over from image to image", *_learning(groups), *_picture(there, "pool")]
    parts += ["## What each part of the gene pool is worth", *_ablation(groups)]
    parts += ["## Genes on another network", *_transfer(groups)]
    parts += ["## Recipes and the code of others", *_likeness(groups), "## Time", *_time(groups, folder)]
    parts += [words.NOT_COMPARED, words.GENEPOOL, words.OPTIONS, words.WRONG, "## Do it again", *_again(groups)]
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table; so many columns of words stand left, the numbers after them right."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * left + " ---: |" * (len(heads) - left)]
    return "\n".join([*lines, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)])


def _picture(there: set[str], name: str) -> Iterator[str]:
    if name in there:
        alt, caption = words.PICTURES[name]
        yield f"![{alt}](attacks/{name}.png)\n\n*{caption}*"


def _recipes() -> Iterator[str]:
    yield table(
        ("recipe", "limits", "needs", "aims", "when"),
        [
            (f"`{name}`", ", ".join(recipe.norms), "labels are enough" if recipe.needs == "labels" else "scores",
             "away from a class, at one" if recipe.targeted else "away from a class", words.WHEN.get(name, ""))
            for name, recipe in sorted(recipes().items(), key=lambda item: (item[0] != OURS, item[0]))
        ],
        left=5,
    )  # fmt: skip


def _bars(bars: Sequence[Bar]) -> Iterator[str]:
    checks = [(bar, check) for bar in bars for check in bar.checks]
    met, missed = (sum(check.met is wanted for _, check in checks) for wanted in (True, False))
    rest = len(checks) - met - missed
    yield (
        f"These figures were set down before the comparison was run. Of {len(checks)}, {met} "
        f"{'is' if met == 1 else 'are'} met and {missed} missed{f', {rest} not measured' if rest else ''}. `genepool` "
        "is held against each rival over the same images and the same count of queries; x is its mean (or median) as a "
        "multiple of the rival's."
    )
    rows = []
    for bar in bars:
        for number, check in enumerate(bar.checks):
            verdict = {True: "met", False: "**MISSED**", None: "not measured"}[check.met]
            head = (bar.promise.words, bar.against, f"{bar.images:,}" if bar.images else "–", bar.runs or "–")
            rows.append([*(head if number == 0 else ("", "", "", "")), check.wanted, check.reached, verdict])
    yield table(("threat model", "against", "images", "runs", "wanted", "reached", ""), rows, left=7)


def _control(groups: Mapping[str, Group]) -> Iterator[str]:
    """Whether random search is beaten on every network."""
    rows = []
    for each in groups.values():
        ours, control = each.entry(OURS), each.entry("random")
        if ours and control:
            against = numbers.held(ours, control)
            rows.append([_title(each), f"{ours.success.value:.1%}", f"{control.success.value:.1%}", ratio(against.mean),
                         "met" if against.mean.value < 1 else "**MISSED**"])  # fmt: skip
    if rows:
        yield words.CONTROL
        yield table(("threat model", "success", "of random search", "mean over that of random search", ""), rows)


def _title(found: Group) -> str:
    facts = found.facts
    goal = "" if facts["goal"] == "away from its class" else f", {facts['goal']}"
    few = f", {facts['data']['count']:,} images" if found.name.endswith(FEWER) else ""
    return f"{words.NETS.get(facts['net'], facts['net'])}, {facts['limit']}{goal}, budget {facts['budget']:,}{few}"


def _reference(found: Group) -> Entry | None:
    """Whom the others are held against: the rival of the promise, else the best of the usual ones."""
    first = next((promise for promise in numbers.PROMISES if promise.group == found.name), None)
    named = [*first.against, *first.also] if first else []
    rivals = [entry for name in named if (entry := found.entry(name))]
    if rivals:
        return numbers.strongest(rivals)
    alone = [entry for entry in found.entries if not entry.shares and entry.name not in (ALONE, "random")]
    usual = [entry for entry in alone if entry.name.split(" ")[0] in ("square", "sparse-rs", "rays")]
    return (usual or alone or [None])[0]


def _shown(found: Group) -> list[Entry]:
    """Without what is told of in the ablation."""
    return [entry for entry in found.entries if not entry.name.startswith("genepool ") or entry.name == ALONE]


def _group(found: Group) -> Iterator[str]:
    reference, entries = _reference(found), _shown(found)
    yield f"### {_title(found)}"
    facts = found.facts
    left = facts["data"]["count"] - found.images
    accuracy = f", {facts['accuracy']:.1%} of all test images right" if facts.get("accuracy") else ""
    yield (
        f"{found.images:,} images, each attacked by all ({left:,} of {facts['data']['count']:,} are misclassified as "
        f"they are, and left out){accuracy}. Means and medians count a failure as {facts['budget']:,} queries."
    )
    queries = numbers.tests(found, reference) if reference else {}
    success = numbers.shares_tests(found, reference) if reference else {}
    rows = []
    for entry in entries:
        against = numbers.held(entry, reference) if reference and entry is not reference else None
        rows.append(
            [
                _named(entry),
                numbers.runs_of(entry),
                f"{entry.success.value:.1%} ({_span(entry.success, share=True)})",
                f"{entry.mean.value:,.1f} ({_span(entry.mean)})",
                f"{entry.median:,.1f}",
                ratio(against.mean) if against else "–",
                _p(queries.get(entry.name)),
                _p(success.get(entry.name)),
                _whole(entry.told("issued")),
                _whole(entry.told("distinct")),
                _whole(entry.told("lost on disk")) if entry.peer else "0",
            ]
        )  # fmt: skip
    name = reference.name if reference else "–"
    yield table(
        ("attack", "runs", "success (95%)", "mean queries (95%)", "median", f"mean against {name} (95%)", "p, queries",
         "p, success", "issued", "distinct", "lost on disk"),
        rows,
    )  # fmt: skip
    for entry in entries:
        if broke := sum(run.facts["broke down"] for run in entry.runs):
            yield f"{_named(entry)} broke down before {broke:,} images, which count as failures."
    yield f"![Falling curves: the share of images that are not fooled, against queries]({FIGURES}/{found.name}.svg)"
    yield "*" + words.SURVIVAL.format(images=f"{found.images:,}", budget=f"{facts['budget']:,}") + "*"


def _named(entry: Entry) -> str:
    """A recipe as it is typed, with what it was told; a peer with its version."""
    if entry.peer:
        return f"{entry.name} ({str(entry.runs[0].facts['recipe']['about']).rpartition(' ')[2]})"
    name, space, told = entry.name.partition(" ")
    return f"`{name}`{space}{told}"


def _span(estimate: numbers.Estimate, *, share: bool = False) -> str:
    if estimate.interval is None:
        return "few runs"
    low, high = estimate.interval.low, estimate.interval.high
    return f"{low:.1%} to {high:.1%}" if share else f"{low:,.1f} to {high:,.1f}"


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _whole(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _learning(groups: Mapping[str, Group]) -> Iterator[str]:
    rows = []
    for each in groups.values():
        entry, alone = each.entry(OURS), each.entry(ALONE)
        if entry is None or each.name == OTHER:
            continue
        cells = []
        for which in (entry, alone):
            values = [*numbers.firsts(which), which.mean.value] if which else [None] * 3
            cells += [f"{value:,.1f}" if value is not None else "–" for value in values]
        runs = numbers.runs_of(entry) + (f" and {numbers.runs_of(alone)}" if alone else "")
        rows.append([_title(each), runs, *cells, f"{each.images:,}"])
    if not rows:
        return
    yield words.LEARNING
    yield table(("threat model", "runs", "first 10", "first 50", "all", "alone, first 10", "alone, first 50",
                 "alone, all", "images"), rows)  # fmt: skip
    for name in _curves(groups):
        yield f"![Mean queries against the place in the order of attack]({FIGURES}/learning-{name}.svg)"
        yield f"*{_title(groups[name])}: mean queries by place in the order, over runs, with 95% intervals over runs.*"


def _curves(groups: Mapping[str, Group]) -> list[str]:
    """Groups whose learning curve is drawn: those of L-inf with several runs."""
    return [name for name in LEARNED if name in groups and (entry := groups[name].entry(OURS)) and len(entry.runs) > 1]


def _ablation(groups: Mapping[str, Group]) -> Iterator[str]:
    yield words.ABLATION
    for name in ABLATED:
        each = groups.get(name)
        full = each.entry(OURS) if each else None
        variants = [entry for entry in each.entries if entry.name.startswith("genepool ")] if each else []
        if each is None or full is None or not variants:
            continue
        rows = [[f"`{OURS}` as it is", str(len(full.runs)), f"{full.success.value:.1%}", f"{full.mean.value:,.1f}",
                 f"{full.median:,.1f}", "–"]]  # fmt: skip
        unproven, fewer = [], []
        for entry in variants:
            held: Held = numbers.held(entry, full)
            told = words.PARTS.get(entry.name.removeprefix("genepool "), entry.name.removeprefix("genepool "))
            rows.append([told, str(len(entry.runs)), f"{entry.success.value:.1%}", f"{entry.mean.value:,.1f}",
                         f"{entry.median:,.1f}", ratio(held.mean)])  # fmt: skip
            part = words.WITHOUT.get(entry.name.removeprefix("genepool "))
            if part and held.mean.interval and held.mean.interval.low <= 1:
                unproven.append(part)
            if held.mean.interval and held.mean.interval.high < 1:
                fewer.append(told)
        yield f"**{_title(each)}**, {each.images:,} images"
        yield table(("variant", "runs", "success", "mean queries", "median", "mean against all of it (95%)"), rows)
        if unproven:
            yield f"Not shown to take off queries here: {', '.join(unproven)}."
        if fewer:
            yield f"Asks less than all of it: {', '.join(fewer)}."


def _transfer(groups: Mapping[str, Group]) -> Iterator[str]:
    each = groups.get(OTHER)
    pooled, plain = (each.entry(f"{OURS}{more}") if each else None for more in (" from a pool", ""))
    if each is None or pooled is None or plain is None:
        yield "Not measured."
        return
    against = numbers.held(pooled, plain)
    yield words.TRANSFER.format(images=f"{each.images:,}", net=words.NETS.get(each.facts["net"], each.facts["net"]))
    rows = []
    for entry in each.entries:
        cells = [f"{value:,.1f}" if value is not None else "–" for value in numbers.firsts(entry)]
        rows.append([entry.name, str(len(entry.runs)), f"{entry.success.value:.1%}", *cells, f"{entry.mean.value:,.1f}",
                     f"{entry.median:,.1f}"])  # fmt: skip
    yield table(("attack", "runs", "success", "first 10", "first 50", "mean, all", "median, all"), rows)
    yield f"Begun from the other network's pool the mean is {ratio(against.mean)} that of an empty pool."


def _likeness(groups: Mapping[str, Group]) -> Iterator[str]:
    yield words.LIKENESS
    rows = [
        [_title(each.group), f"`{each.ours.name}`", each.theirs.name, ratio(each.held.mean), points(each.held.success),
         "met" if each.met else "**MISSED**"]
        for each in numbers.likenesses(groups.values())
    ]  # fmt: skip
    heads = ("threat model", "ours", "theirs", "mean, ours over theirs", "success, ours minus theirs", "")
    yield table(heads, rows, left=3) if rows else "Not measured."


def _time(groups: Mapping[str, Group], folder: Path) -> Iterator[str]:
    yield words.TIME
    path = folder / "speed.json"
    if path.is_file():
        yield from _speed(json.loads(path.read_text()))
    rows = []
    for each in groups.values():
        for entry in each.entries:
            found = [run.facts["timings"]["processor"]["over the forward passes"] for run in entry.runs
                     if "processor" in run.facts["timings"]]  # fmt: skip
            if found and entry.peer:
                rows.append([_title(each), entry.name, f"{sum(found) / len(found):.2f}"])
    if rows:
        yield "Peers, from the runs above:"
        yield table(("threat model", "peer", "processor time over forward passes"), rows, left=2)


def _speed(speed: Mapping[str, Any]) -> Iterator[str]:
    rows, met, missed = [], 0, 0
    for row in speed["rows"]:
        over, own = row["over the forward passes"], row["own microseconds"]
        slow = row["forward microseconds"] >= 100
        good = over <= 1.15 if slow else own <= 6
        met, missed = met + good, missed + (not good)
        rows.append([row["net"], row["limit"], f"`{row['recipe']}`", f"{row['queries']:,}",
                     f"{row['rows in a round']:.0f}", f"{row['forward microseconds']:.0f}", f"{over:.2f}", f"{own:.1f}",
                     "at most 1.15" if slow else "at most 6 us", "met" if good else "**MISSED**"])  # fmt: skip
    yield (
        f"Measured by `{speed['command']}` on {speed['hardware']['processor']}; {met} of {met + missed} within "
        "what was wanted."
    )
    yield table(("network", "limit", "recipe", "queries", "at a time", "us of a forward pass",
                 "over the forward passes", "us of our own, a query", "wanted", ""), rows, left=3)  # fmt: skip
    yield words.ROUNDS


def _again(groups: Mapping[str, Group]) -> Iterator[str]:
    runs = [run for each in groups.values() for entry in each.entries for run in entry.runs]
    versions: dict[str, str] = {}
    for run in runs:
        versions |= run.facts["versions"]
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield words.AGAIN.format(runs=f"{len(runs):,}", versions=told or "–")
    firsts: dict[str, Any] = {}
    for each in groups.values():
        for entry in each.entries:
            firsts.setdefault(f"{each.name}/{entry.name}", entry.runs[0].facts)
    lines = "\n".join(
        f"{facts['command']}\n    # {name}, study.json {facts['sha256'][:16]}" for name, facts in firsts.items()
    )
    summary = "<summary>The command of each, with its first seed</summary>"
    yield f"<details>\n{summary}\n\n```text\n{lines}\n```\n\n</details>"


# Figures ----------------------------------------------------------------------------------------------------------


def figures(groups: Mapping[str, Group]) -> dict[str, Drawn]:
    """All of them, by name."""
    drawn = {}
    for each in groups.values():
        if each.name != OTHER:
            drawn[each.name] = attack_plots.survival(_lines(each), each.facts["budget"])
    for name in _curves(groups):
        lines = [_line(entry, learning=True) for entry in _shown(groups[name]) if len(entry.runs) > 1][:4]
        drawn[f"learning-{name}"] = attack_plots.learning_curves(lines)
    return drawn


def _lines(found: Group) -> list[Line]:
    """The leader, whom it is held against, the control, and the best of the others."""
    reference, shown = _reference(found), _shown(found)
    first = [entry for entry in shown if entry.name in (OURS, ALONE, "random") or entry is reference]
    others = [entry for entry in shown if entry not in first][: LINES - len(first)]
    return [_line(entry) for entry in shown if entry in first or entry in others]


def _line(entry: Entry, *, learning: bool = False) -> Line:
    places = []
    for start, end, estimate in entry.learning if learning else []:
        low, high = (estimate.interval.low, estimate.interval.high) if estimate.interval else (None, None)
        places.append(((start + end) / 2, estimate.value, low, high))
    return Line(entry.name, entry.curve, band=False, learning=tuple(places))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"make_attacks: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
