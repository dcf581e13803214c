"""One contrast for all objectives: similarity, positives, negatives, loss, regularizers, each a choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pc3d.contrast.comparison import Facts
from pc3d.contrast.gather import rows_of_other_ranks
from pc3d.contrast.losses import InfoNCE, Loss
from pc3d.contrast.nce import _float, check_pair, info_nce, two_way_nce, zero_with_graph
from pc3d.contrast.policy import Part, Policy, Regularizer
from pc3d.contrast.similarity.cosine import Cosine, Similarity


@dataclass(frozen=True)
class _Sides:
    """Anchors and what they are compared with; see `Contrast.grouped` for the shapes."""

    anchors: Tensor
    candidates: Tensor
    own: Tensor
    negative: Tensor
    positive: Tensor | None
    weights: Tensor
    pull: Tensor | None
    facts: Facts | None
    candidate_facts: Facts | None

    def of(self, part: slice) -> _Sides:
        """Some of the anchors, with all candidates."""
        return replace(
            self,
            anchors=self.anchors[part],
            own=self.own[part],
            negative=self.negative[part],
            positive=None if self.positive is None else self.positive[part],
            weights=self.weights[part],
            pull=None if self.pull is None else self.pull[part],
            facts={name: value[part] for name, value in (self.facts or {}).items()},
        )


class Contrast(Part):
    """What an objective calls in place of `info_nce`; without settings it is that function.

    Args:
        similarity: makes the logits. positives, negatives: policies, applied in this order. loss: reduces the
            comparison. regularizers: added to the loss.
        block: at most so many anchors at a time, recomputed in the backward pass, where the logits would not
            fit; None for all at once.

    Attributes:
        plain: nothing is set, so that functions without settings may stand in.
        draws: a part may draw numbers, by the `ids` of the rows where they are given.
    """

    def __init__(
        self,
        similarity: Similarity,
        positives: Sequence[Policy] = (),
        negatives: Sequence[Policy] = (),
        loss: Loss | None = None,
        regularizers: Sequence[Regularizer] = (),
        block: int | None = None,
    ) -> None:
        super().__init__()
        if block is not None and block < 1:
            raise ValueError(f"block is {block} anchors, expected at least 1")
        self.similarity = similarity
        self.policies = nn.ModuleList([*positives, *negatives])
        self.loss = loss if loss is not None else InfoNCE()
        self.regularizers = nn.ModuleList(regularizers)
        self.block = block
        self.wants = tuple(sorted({fact for part in self.parts() for fact in part.wants}))
        chosen = [*positives, *negatives, *regularizers]
        self.draws = bool(chosen)
        self.plain = type(similarity) is Cosine and not chosen and loss is None and block is None

    def parts(self) -> list[Part]:
        """All that it is made of."""
        return [module for module in self.modules() if isinstance(module, Part) and module is not self]

    def logged(self) -> dict[str, Tensor]:
        """Scalars for the log, without gradient."""
        tau = self.similarity.tau()
        return {"temperature": tau.detach()} if isinstance(tau, Tensor) else {}

    def pair(
        self,
        anchors: Tensor,
        others: Tensor,
        generator: torch.Generator,
        ignore: Tensor | None = None,
        extra: Tensor | None = None,
        facts: Facts | None = None,
        other_facts: Facts | None = None,
    ) -> Tensor:
        """Rows of `anchors` against all of `others`, row i against row i.

        Args:
            anchors, others: (N, D). ignore: (N, N) bool, pairs that are no negatives.
            extra: (M, D) more negatives of every anchor, the rows of other ranks.
            generator: source of random numbers of the step (CPU).
            facts, other_facts: of the anchors and of the others, by the names of `FACTS`; the same where only
                one is given.

        Returns:
            Scalar, 0 with a graph where there are no rows.
        """
        facts = facts or {}
        other_facts = facts if other_facts is None else other_facts
        if self.plain:
            return info_nce(anchors, others, self._fixed, ignore, extra)
        check_pair(anchors, others)
        self.look(anchors, others, facts, other_facts)
        if self.loss.symmetric:
            back = None if extra is None else rows_of_other_ranks(anchors)
            loss = self._one_way(anchors, others, generator, ignore, extra, facts, other_facts)
            flipped = None if ignore is None else ignore.T
            other = self._one_way(others, anchors, generator, flipped, back, other_facts, facts)
            loss = (loss + other) / 2
        else:
            loss = self._one_way(anchors, others, generator, ignore, extra, facts, other_facts)
        return loss + self.regularized(anchors, others, facts)

    def two_way(
        self,
        features: Tensor,
        others: Tensor,
        generator: torch.Generator,
        extra: Tensor | None = None,
        facts: Facts | None = None,
    ) -> Tensor:
        """Each row of either view against all other rows of both, see `two_way_nce`. Args as `pair`."""
        if self.plain:
            return two_way_nce(features, others, self._fixed, extra)
        check_pair(features, others)
        rows = torch.cat([features, others])
        count = len(rows)
        own = torch.arange(count, device=rows.device).roll(len(features))
        candidates = rows if extra is None else torch.cat([rows, extra])
        negative = torch.ones(count, len(candidates), dtype=torch.bool, device=rows.device)
        if count:
            negative[:, :count].fill_diagonal_(False)
            negative.scatter_(1, own[:, None], False)
        both = {name: torch.cat([value, value]) for name, value in (facts or {}).items()}
        if "ids" in both:  # the two views of a row are two rows
            both["ids"] = both["ids"] * 2 + (torch.arange(count, device=rows.device) >= len(features))
        self.look(features, others, facts or {}, facts or {})
        loss = self.grouped(rows, candidates, own, negative, generator, facts=both, candidate_facts=both)
        return loss + self.regularized(features, others, facts or {})

    def grouped(
        self,
        anchors: Tensor,
        candidates: Tensor,
        own: Tensor,
        negative: Tensor,
        generator: torch.Generator,
        positive: Tensor | None = None,
        rows: Tensor | None = None,
        facts: Facts | None = None,
        candidate_facts: Facts | None = None,
    ) -> Tensor:
        """Anchors against any candidates, without regularizers.

        Args:
            anchors: (N, D). candidates: (J, D). own, negative, positive: see `comparison.compare`.
            rows: (N,) weights of the anchors in the mean.

        Returns:
            Scalar, 0 with a graph where no anchor has a term.
        """
        if not len(anchors):
            return zero_with_graph(anchors, candidates, *self.parameters())
        weights = torch.ones(len(anchors), device=anchors.device) if rows is None else rows
        pull = self._pull(anchors, candidates, own)
        sides = _Sides(anchors, candidates, own, negative, positive, weights, pull, facts, candidate_facts)
        state = generator.get_state()

        def summed(part: slice) -> tuple[Tensor, ...]:
            generator.set_state(state)  # rows draw by their own key: blocks draw what all at once would
            return self._summed(sides.of(part), generator)

        with torch.autocast(anchors.device.type, enabled=False):  # policies and losses need not say it
            sums = [
                summed(part) if self.block is None else checkpoint(summed, part, use_reentrant=False)
                for part in _blocks(len(anchors), self.block)
            ]
        total, count, more, many = (torch.stack(values).sum() for values in zip(*sums, strict=True))
        loss = total / torch.where(count > 0, count, 1.0) + more / many.clamp(min=1)
        return loss + zero_with_graph(anchors, candidates)

    def _summed(self, sides: _Sides, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Sums over some anchors: of weighted terms, of the weights, of what was added, and how many."""
        c = self.similarity.compare(
            sides.anchors,
            sides.candidates,
            sides.own,
            sides.negative,
            sides.facts or {},
            sides.candidate_facts or {},
            sides.positive,
            generator,
        )
        c = replace(c, pull=sides.pull)
        for policy in self.policies:
            c = policy(c, generator)
        terms, used = self.similarity.terms(c) if self.similarity.own_loss else self.loss(c)
        share = sides.weights.to(terms.dtype) * used
        share = share if c.rows is None else share * c.rows
        more, many = (share.new_zeros(1), share.new_zeros(1)) if c.added is None else c.added
        return (torch.where(used, terms, 0.0) * share).sum(), share.sum(), more.sum(), many.sum()

    def _one_way(
        self,
        anchors: Tensor,
        others: Tensor,
        generator: torch.Generator,
        ignore: Tensor | None,
        extra: Tensor | None,
        facts: Facts,
        other_facts: Facts,
    ) -> Tensor:
        count = len(anchors)
        own = torch.arange(count, device=anchors.device)
        further = [] if extra is None else [extra]
        candidates = torch.cat([others, *further, *([anchors] if self.loss.own_view else [])])
        negative = torch.ones(count, len(candidates), dtype=torch.bool, device=anchors.device)
        if ignore is not None:
            negative[:, :count] &= ~ignore
        negative[:, :count].fill_diagonal_(False)
        if self.loss.own_view:
            other_facts = {name: torch.cat([value, facts[name]]) for name, value in other_facts.items()}
            negative[:, len(candidates) - count :].fill_diagonal_(False)
            if ignore is not None:
                negative[:, len(candidates) - count :] &= ~ignore
        return self.grouped(
            anchors, candidates, own, negative, generator, facts=facts, candidate_facts=other_facts
        )

    @torch.no_grad()
    def look(self, anchors: Tensor, others: Tensor, facts: Facts, other_facts: Facts) -> None:
        """Show both sides to the parts with a state, while training; `pair` and `two_way` do."""
        if self.training:
            with torch.autocast(anchors.device.type, enabled=False):
                for part in self.parts():
                    part.observe(anchors.detach(), others.detach(), facts, other_facts)

    def regularized(self, anchors: Tensor, others: Tensor, facts: Facts) -> Tensor:
        """The weighted sum of the regularizers; `pair` and `two_way` add it."""
        with torch.autocast(anchors.device.type, enabled=False):
            terms = [part.weight * part(anchors, others, facts) for part in self.regularizers]
        return torch.stack(terms).sum() if terms else anchors.new_zeros(())

    def _pull(self, anchors: Tensor, candidates: Tensor, own: Tensor) -> Tensor | None:
        if not len(candidates):
            return None
        with torch.no_grad():
            cosine = (_float(anchors) * _float(candidates)[own.clamp(min=0)]).sum(dim=1)
            return self.loss.pull(cosine, own >= 0)

    @property
    def _fixed(self) -> float:
        assert isinstance(self.similarity, Cosine)
        return self.similarity.temperature


class Contrasts(nn.ModuleDict):
    """The contrasts of the terms of an objective, by name: what has a state has one for each."""

    def of(self, term: str) -> Contrast:
        """The contrast of a term."""
        contrast = self[term]
        assert isinstance(contrast, Contrast)
        return contrast

    def logged(self) -> dict[str, Tensor]:
        """Scalars of all terms for the log."""
        return {f"{term}_{name}": v for term in self for name, v in self.of(term).logged().items()}


def _blocks(count: int, size: int | None) -> list[slice]:
    step = count if size is None else size
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
