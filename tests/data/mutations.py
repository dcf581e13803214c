"""Damage done to files, the same in each run: of bytes, and of the words of a text format."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

Rng = np.random.Generator
Damage = Callable[[bytes, Rng], bytes]


def _span(content: bytes, rng: Rng) -> tuple[int, int]:
    start = int(rng.integers(0, max(len(content), 1)))
    return start, min(len(content), start + int(rng.integers(1, 2 + len(content) // 4)))


def flip_bits(content: bytes, rng: Rng) -> bytes:
    spoiled = bytearray(content)
    for bit in rng.integers(0, 8 * len(content), int(rng.integers(1, 9))).tolist():
        spoiled[bit // 8] ^= 1 << bit % 8
    return bytes(spoiled)


def flip_the_beginning(content: bytes, rng: Rng) -> bytes:
    return flip_bits(content[:128], rng) + content[128:]


def flip_the_end(content: bytes, rng: Rng) -> bytes:
    return content[:-128] + flip_bits(content[-128:], rng)


def cut(content: bytes, rng: Rng) -> bytes:
    return content[: int(rng.integers(0, len(content)))]


def leave_out(content: bytes, rng: Rng) -> bytes:
    start, stop = _span(content, rng)
    return content[:start] + content[stop:]


def put_in(content: bytes, rng: Rng) -> bytes:
    start, _ = _span(content, rng)
    return content[:start] + rng.bytes(int(rng.integers(1, 64))) + content[start:]


def repeat(content: bytes, rng: Rng) -> bytes:
    start, stop = _span(content, rng)
    return content[:stop] + content[start:]


def zeros(content: bytes, rng: Rng) -> bytes:
    start, stop = _span(content, rng)
    return content[:start] + bytes(stop - start) + content[stop:]


def swap(content: bytes, rng: Rng) -> bytes:
    a, b, c = np.sort(rng.integers(0, len(content) + 1, 3)).tolist()
    return content[:a] + content[b:c] + content[a:b] + content[c:]


def append(content: bytes, rng: Rng) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 300)))


BINARY: tuple[Damage, ...] = (
    flip_bits, flip_the_beginning, flip_the_end, cut, leave_out, put_in, repeat, zeros, swap, append
)  # fmt: skip

_NUMBER = re.compile(r"(?<![\w.\"])-?\d[\d.]*(?:[eE][+-]?\d+)?(?![\w\"])")
_STRING = re.compile(r'"[^"\n]*"(?!\s*:)')
_KEY = re.compile(r'"[^"\n]*"\s*:')
_ODD = ("NaN", "1e999", "-1", '""', "null", "true", "[]", "{}", "0", "1e30", "9" * 400, "nan", "0x10", "-inf")
_ODD_STRINGS = (
    '""',
    "7",
    "null",
    '"../../../etc/passwd"',
    '"/etc/passwd"',
    '"\\u0000"',
    '"no such"',
    "[1, 2]",
)


def _replace(content: bytes, rng: Rng, pattern: re.Pattern[str], by: str) -> bytes:
    text = content.decode()
    places = list(pattern.finditer(text))
    if not places:
        return flip_bits(content, rng)
    place = places[int(rng.integers(len(places)))]
    return (text[: place.start()] + by + text[place.end() :]).encode()


def odd_number(content: bytes, rng: Rng) -> bytes:
    return _replace(content, rng, _NUMBER, str(rng.choice(_ODD)))


def odd_string(content: bytes, rng: Rng) -> bytes:
    return _replace(content, rng, _STRING, str(rng.choice(_ODD_STRINGS)))


def rename_key(content: bytes, rng: Rng) -> bytes:
    return _replace(content, rng, _KEY, '"other":')


def nest(content: bytes, rng: Rng) -> bytes:
    bracket = str(rng.choice(["[", '{"a":']))
    return _replace(content, rng, _NUMBER if rng.random() < 0.5 else _STRING, bracket * 200_000)


def other_encoding(content: bytes, rng: Rng) -> bytes:
    return content.decode().encode(str(rng.choice(["utf-16", "utf-16-le", "utf-8-sig", "utf-7"])))


def leave_out_words(content: bytes, rng: Rng) -> bytes:
    words = re.split(r"(\s+)", content.decode())
    start = int(rng.integers(len(words)))
    return "".join(words[:start] + words[start + int(rng.integers(1, 4)) :]).encode()


def leave_out_a_line(content: bytes, rng: Rng) -> bytes:
    lines = content.splitlines(keepends=True)
    del lines[int(rng.integers(len(lines)))]
    return b"".join(lines)


def repeat_a_line(content: bytes, rng: Rng) -> bytes:
    lines = content.splitlines(keepends=True)
    lines.insert(int(rng.integers(len(lines))), lines[int(rng.integers(len(lines)))])
    return b"".join(lines)


TEXT: tuple[Damage, ...] = (
    odd_number, odd_string, rename_key, nest, odd_number, leave_out_words, cut, other_encoding, odd_string,
    leave_out_a_line, repeat_a_line, flip_bits, odd_number, rename_key, put_in, swap, repeat, odd_number,
)  # fmt: skip


def spoiled(content: bytes, number: int, text: bool) -> bytes:
    """Mutation `number` of a sound file's content."""
    damages = TEXT if text else BINARY
    return damages[number % len(damages)](content, np.random.default_rng(number))
