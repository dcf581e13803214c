"""The losses of the objectives with a momentum network as plain loops in float64."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine(x: Tensor, y: Tensor) -> float:
    return float(F.normalize(x, dim=0) @ F.normalize(y, dim=0))


def softmax(logits: list[float]) -> list[float]:
    most = max(logits)
    shares = [math.exp(v - most) for v in logits]
    return [s / sum(shares) for s in shares]


def cross_entropy(target: list[float], logits: list[float]) -> float:
    most = max(logits)
    total = most + math.log(sum(math.exp(v - most) for v in logits))
    return sum(t * (total - v) for t, v in zip(target, logits, strict=True))


def propagated(x: Tensor, t: Tensor, sharpness: float) -> Tensor:
    rows = [torch.zeros_like(t[0]) for _ in x]
    for i in range(len(x)):
        for j in range(len(x)):
            like = cosine(x[i], x[j])
            if like > 0:
                rows[i] = rows[i] + like**sharpness * F.normalize(t[j], dim=0)
    return torch.stack(rows)


def agreement(y: Tensor, keys: Tensor, positive: Tensor) -> float:
    pairs = positive.nonzero().tolist()
    return -2 * sum(cosine(y[i], keys[j]) for i, j in pairs) / len(pairs) if pairs else 0.0


def dots_of(x: Tensor, prototypes: Tensor) -> Tensor:
    return torch.tensor([[cosine(row, p) for p in prototypes] for row in x], dtype=torch.float64)


def slots(x: Tensor, prototypes: Tensor, sample: Tensor, size: int, temperature: float) -> Tensor:
    found = torch.zeros(size, *prototypes.shape, dtype=x.dtype)
    for b in range(size):
        rows = [i for i in range(len(x)) if sample[i] == b]
        shares = [softmax([cosine(x[i], p) / temperature for p in prototypes]) for i in rows]
        for k in range(len(prototypes)):
            weights = [share[k] + 1e-6 for share in shares]
            for weight, i in zip(weights, rows, strict=True):
                found[b, k] += weight * x[i] / sum(weights)
    return found


def best(dots: Tensor, sample: Tensor, size: int) -> set[tuple[int, int]]:
    """(sweep, prototype) of which some cell is the best one."""
    return {(int(sample[i]), int(dots[i].argmax())) for i in range(len(dots))}


def grouping(student: Tensor, teacher: Tensor, centre: Tensor, warm: float, cold: float) -> float:
    terms = []
    for s, t in zip(student, teacher, strict=True):
        target = softmax([(float(v) - float(c)) / cold for v, c in zip(t, centre, strict=True)])
        terms.append(cross_entropy(target, [float(v) / warm for v in s]))
    return sum(terms) / len(terms)


def slot_contrast(
    predicted: dict[tuple[int, int], Tensor], keys: dict[tuple[int, int], Tensor], temperature: float
) -> float:
    """Of the slots that are active in both, among all active ones of the teacher."""
    anchors = [key for key in predicted if key in keys]
    terms = []
    for key in anchors:
        logits = [cosine(predicted[key], other) / temperature for other in keys.values()]
        terms.append(cross_entropy([float(name == key) for name in keys], logits))
    return 2 * temperature * sum(terms) / len(terms) if terms else 0.0


def bag(cells: Tensor, words: Tensor, inverse: float, scale: float) -> tuple[Tensor, float]:
    """Bag of one document, and the mean smallest distance."""
    codes, smallest = [], []
    for u in cells:
        squares = [float((u - w).square().sum()) for w in words]
        codes.append(softmax([-inverse / scale * d for d in squares]))
        smallest.append(min(squares))
    most = [max(code[k] for code in codes) for k in range(len(words))]
    return torch.tensor(most, dtype=torch.float64) / sum(most), sum(smallest) / len(smallest)


def divergence(logits: Tensor, bags: Tensor) -> float:
    terms = [
        cross_entropy(b.tolist(), row.tolist()) + sum(float(v) * math.log(v) for v in b if v > 0)
        for row, b in zip(logits, bags, strict=True)
    ]
    return sum(terms) / len(terms)


def local_information(anchors: Tensor, local: Tensor, present: Tensor, temperature: float) -> float:
    terms = []
    for i in range(len(anchors)):
        others = [
            math.exp(float(anchors[i] @ local[j, r]) / temperature)
            for j in range(len(anchors))
            for r in range(local.shape[1])
            if j != i and present[j, r]
        ]
        for q in range(local.shape[1]):
            if present[i, q]:
                own = float(anchors[i] @ local[i, q]) / temperature
                terms.append(math.log(math.exp(own) + sum(others)) - own)
    return sum(terms) / len(terms) if terms else 0.0


def soft_targets(
    anchors: Tensor, keys: Tensor, momentum: Tensor, queue: Tensor, temperature: float, alpha: float
) -> float:
    candidates, terms = [*keys, *queue], []
    for i in range(len(anchors)):
        soft = softmax([float(momentum[i] @ c) / temperature for c in candidates])
        target = [alpha * s + (1 - alpha) * (j == i) for j, s in enumerate(soft)]
        terms.append(cross_entropy(target, [float(anchors[i] @ c) / temperature for c in candidates]))
    return sum(terms) / len(terms)


def neighbours(key: Tensor, held: Tensor, label: list[int], prototypes: Tensor, count: int) -> list[int]:
    """Rows most like a key, of the cluster of its nearest prototype where that is large enough."""
    own = max(range(len(prototypes)), key=lambda k: float(key @ prototypes[k]))
    among = [m for m in range(len(held)) if label[m] == own]
    among = among if len(among) > count else list(range(len(held)))
    return sorted(among, key=lambda m: -float(key @ held[m]))[:count]


def spread(one: list[Tensor], other: list[Tensor], temperature: float) -> float:
    """log mean over all rows of the mean of e^(z.z' / T) over all but itself and its mate."""
    rows, count = torch.stack([*one, *other]), len(one)
    likeness = (rows @ rows.T).tolist()
    means = []
    for i in range(2 * count):
        others = [math.exp(likeness[i][j] / temperature) for j in range(2 * count) if j % count != i % count]
        means.append(sum(others) / len(others))
    return math.log(sum(means) / len(means))
