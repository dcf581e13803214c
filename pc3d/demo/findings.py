"""What the demo's numbers say, in sentences and tables: every order is read from the results."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pc3d.demo.world import PRETRAINED, WorldResult
from pc3d.evaluation.intervals import paired_interval
from pc3d.evaluation.label_efficiency import RANDOM
from pc3d.evaluation.protocol.references import HAND_MADE
from pc3d.evaluation.protocol.references import RANDOM as RANDOM_NETWORK
from pc3d.viz.report import KeyNumber, Table

BESIDE = f"{HAND_MADE} beside {PRETRAINED}"
_WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def key_numbers(worlds: Sequence[WorldResult]) -> list[KeyNumber]:
    """A card for fine-tuning and one for the probe of each world."""
    cards = []
    for world in worlds:
        gain = world.score(PRETRAINED) - world.score(RANDOM)
        few = f"{world.frames[0]} of {world.frames[1]} frames"
        cards.append(
            KeyNumber(f"{gain:+.1f}", f"mIoU, {few}, world {world.number}", f"{_pair(world)}, fine-tuned")
        )
    for world in worlds:
        over = world.probed(PRETRAINED) - world.probed(HAND_MADE)
        note = f"{over:+.1f} against hand-made features"
        cards.append(
            KeyNumber(f"{world.probed(PRETRAINED):.1f} %", f"logistic probe, world {world.number}", note)
        )
    return cards


def few_frames(world: WorldResult) -> str:
    """How many frames have labels, in words."""
    return f"{world.frames[0]} labelled frame{'' if world.frames[0] == 1 else 's'} of {world.frames[1]}"


def _pair(world: WorldResult) -> str:
    return f"{world.score(RANDOM):.1f} to {world.score(PRETRAINED):.1f} %"


def probe_table(worlds: Sequence[WorldResult]) -> Table:
    """Both probes of all references and of the pretrained network, a row each."""
    order = worlds[0].probes["all"]["order"]
    header = ["features of a point", "columns"]
    header += [f"{probe}, world {world.number}" for world in worlds for probe in ("logistic", "kNN")]
    rows = [
        [
            name,
            str(worlds[0].probes["all"]["rows"][name]["columns"]),
            *(f"{world.probed(name, probe):.1f}" for world in worlds for probe in ("logistic", "knn")),
        ]
        for name in order
    ]
    points = ", ".join(
        f"{world.probes['all']['train_points']:,} and {world.probes['all']['val_points']:,}"
        for world in worlds
    )
    unfinished = [
        f"{name} in world {world.number}"
        for world in worlds
        for name in order
        if not world.probes["all"]["rows"][name]["logistic"]["fit"]["converged"]
    ]
    caption = (
        "mIoU in percent, the same drawn points for all rows, features standardised. Training and validation "
        f"points: {points}. \u201cEstimated statistics\u201d: batch norms with the mean and variance of the "
        "training part."
    )
    if unfinished:
        caption += f" The logistic regression did not converge for {', '.join(unfinished)}."
    marked = frozenset(number for number, name in enumerate(order) if name in (PRETRAINED, BESIDE))
    return Table(header, rows, "Frozen features beside what needs no pretraining", caption, marked)


def tuning_table(worlds: Sequence[WorldResult]) -> Table:
    """Official mIoU of both starts in each world."""
    header = ["official lidarseg mIoU, %", "labelled frames", "random start", "pretrained", "gain"]
    rows = [
        [
            f"world {world.number}",
            f"{world.frames[0]} of {world.frames[1]}",
            f"{world.score(RANDOM):.1f}",
            f"{world.score(PRETRAINED):.1f}",
            f"{world.score(PRETRAINED) - world.score(RANDOM):+.1f}",
        ]
        for world in worlds
    ]
    caption = (
        f"Both starts have the same input columns, the same labelled frames and {worlds[0].steps[1]} steps; "
        "the last checkpoint is scored. With more steps the random start may still rise."
    )
    return Table(header, rows, "Fine-tuning on few frames", caption, signed=frozenset({4}))


def findings(worlds: Sequence[WorldResult]) -> str:
    """What came out, and what it can and cannot show: a paragraph each."""
    return "\n\n".join([_against_hand_made(worlds), _beside(worlds), _fine_tuned(worlds), _limits(worlds)])


def _against_hand_made(worlds: Sequence[WorldResult]) -> str:
    over = [world.probed(PRETRAINED) - world.probed(HAND_MADE) for world in worlds]
    gained = [world.probed(PRETRAINED) - world.probed(RANDOM_NETWORK) for world in worlds]
    verdict = f"is above the hand-made features in {_of(over)}"
    if max(over) <= 0:
        verdict += ": at this length, pretraining does not beat what nobody had to learn"
    return (
        f"Alone under the logistic probe, the pretrained network {verdict} "
        f"({_each(worlds, PRETRAINED)} against {_each(worlds, HAND_MADE)}: {_listed(over)}). Against the "
        f"same network untrained: {_listed(gained)}."
    )


def _beside(worlds: Sequence[WorldResult]) -> str:
    added = [world.probed(BESIDE) - world.probed(HAND_MADE) for world in worlds]
    untrained = [
        world.probed(f"{HAND_MADE} beside {RANDOM_NETWORK}") - world.probed(HAND_MADE) for world in worlds
    ]
    return (
        f"Beside the hand-made features, the pretrained network adds to them in {_of(added)}: "
        f"{_listed(added)}. The untrained one: {_listed(untrained)}."
    )


def _fine_tuned(worlds: Sequence[WorldResult]) -> str:
    gains = [world.score(PRETRAINED) - world.score(RANDOM) for world in worlds]
    pairs = _join(
        [
            f"from {_pair(world)} in world {world.number} ({gain:+.1f})"
            for world, gain in zip(worlds, gains, strict=True)
        ]
    )
    return (
        f"Fine-tuned on {few_frames(worlds[0])}, the pretrained start "
        f"is above the random one in {_of(gains)}: {pairs}."
    )


def _limits(worlds: Sequence[WorldResult]) -> str:
    count = f"{_words(len(worlds))} small world{'' if len(worlds) == 1 else 's'}"
    gains = paired_interval(
        {(str(w.number), w.seed): w.score(PRETRAINED) for w in worlds},
        {(str(w.number), w.seed): w.score(RANDOM) for w in worlds},
    )
    if gains.t is None or not all(map(math.isfinite, gains.t)):
        said = "one world has no interval at all"
    else:
        low, high = gains.t
        holds = "includes zero" if low <= 0 <= high else "leaves zero out"
        said = (
            f"the mean gain of fine-tuning is {gains.mean:+.1f}, and Student's 95 % interval over the worlds "
            f"goes from {low:+.1f} to {high:+.1f}, which {holds}"
        )
    return (
        f"What {count} with one seed can show: whether pretraining "
        "gained here, and how it stands beside features that nobody learned. It does not show how much there "
        f"is to gain elsewhere: {said}. All simulated worlds share their objects and reflectivities, and the "
        "image network that is distilled has learned from the labels of ImageNet."
    )


def _of(values: Sequence[float]) -> str:
    """In how many of the worlds a difference is above zero."""
    above, count = sum(value > 0 for value in values), len(values)
    if count == 1:
        return "this world" if above else "no world"
    if not above:
        return "neither world" if count == 2 else f"none of {_words(count)} worlds"
    if above == count:
        return "both worlds" if count == 2 else f"all {_words(count)} worlds"
    return f"{_words(above)} of {_words(count)} worlds"


def _each(worlds: Sequence[WorldResult], row: str) -> str:
    return _join([f"{world.probed(row):.1f}" for world in worlds])


def _listed(values: Sequence[float]) -> str:
    return _join([f"{value:+.1f}" for value in values])


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _words(number: int) -> str:
    return _WORDS[number] if number < len(_WORDS) else str(number)
