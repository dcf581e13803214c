"""Which field of a cloud is which column, and in which unit: by its name, type and range, and said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pc3d.data.errors import did_you_mean, fail
from pc3d.data.readers.bag.look import NEAR, Look, intensity_misfit, time_misfit
from pc3d.data.readers.bag.options import for_topic, number_of
from pc3d.findings import Finding

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_EPOCH = {"s": (5e8, 5e9), "ms": (5e11, 5e12), "us": (5e14, 5e15), "ns": (5e17, 5e18)}
_SWEEP = (0.2, 2.0)  # what the points of a sweep last, in periods of the LiDAR
_PERIOD = (0.01, 0.5)
_TIME = re.compile(r"(?P<field>\w+):(?P<unit>s|ms|us|ns)(?P<absolute>@)?")
_INTENSITY = re.compile(r"(?P<field>\w+)/(?P<full>[\d.]+(e\d+)?)(?P<tanh>:tanh)?")


def point_format_of(
    look: Look, time: str | None, intensity: str | None, where: object
) -> tuple[str, list[Finding]]:
    """The LiDAR format of a topic, and what of it was guessed.

    Args:
        look: some of its clouds.
        time: `FIELD:UNIT`, `FIELD:UNIT@` for absolute times, `none`, or None to guess.
        intensity: `FIELD/FULL`, `FIELD/FULL:tanh`, `none`, or None to guess.
        where: for error messages.

    Raises:
        DataError: the clouds have no x, y, z; an option is none, or names no field.
    """
    there = look.clouds[0]
    if not {"x", "y", "z"} <= there.keys():
        fail(f"{look.topic} has the fields {', '.join(there)}, not x y z", where, "choose another topic")
    parts, options, found = ["x", "y", "z"], ["drop=invalid"], []
    column, finding = _intensity(look, intensity, where)
    found += finding
    if column.endswith(":tanh"):
        column = column.removesuffix(":tanh")
        options.append("intensity=tanh")
    ring, finding = _ring(look)
    found += finding
    seconds, finding = _time(look, time, where)
    found += finding
    parts += [part for part in (column, ring, seconds) if part]
    return f"pointcloud2:{','.join(parts)};{';'.join(options)}", found


def shared(values: Sequence[str], looks: Mapping[str, Look], topic: str) -> str | None:
    """What options say of a topic: one for all topics is for those that have its field, if any has."""
    said = for_topic(values, topic)
    own = any(text.startswith(f"{topic}=") for text in values)
    if said is None or own:
        return said
    field = re.split("[:/]", said)[0]
    having = [name for name, look in looks.items() if field in look.clouds[0]]
    return None if having and topic not in having else said


def _named(standard: str, field: str) -> str:
    return standard if field == standard else f"{standard}={field}"


def _parsed(
    pattern: re.Pattern[str], text: str, option: str, form: str, look: Look, where: object
) -> re.Match[str]:
    found = pattern.fullmatch(text)
    if found is None:
        fail(f"{option} is {text!r}", where, f"write {form}, or none")
    there = look.clouds[0]
    if found["field"] not in there:
        near = did_you_mean(found["field"], there)
        fail(f"{look.topic} has no field {found['field']!r}{near}", where, f"it has {', '.join(there)}")
    return found


def _intensity(look: Look, said: str | None, where: object) -> tuple[str, list[Finding]]:
    name = f"intensity of {look.topic}"
    if said == "none":
        return "", [Finding(name, "ok", "left out, as asked")]
    if said is not None:
        form = "FIELD/FULL or FIELD/FULL:tanh"
        match = _parsed(_INTENSITY, said, "--intensity", form, look, where)
        tanh = ":tanh" if match["tanh"] else ""
        full = match["full"]
        if not 0 < number_of(full) < float("inf"):
            fail(f"--intensity is {said!r}", where, f"write {form}, FULL a number above 0")
        reason = intensity_misfit(look, match["field"], number_of(full), bool(tanh))
        text = f"{match['field']}, full at {full}, as stated"
        column = f"{_named('intensity', match['field'])}/{full}{tanh}"
        return column, [_stated(name, text, reason, "--intensity")]
    field = look.field("intensity")
    if field is None:
        return "", [Finding(name, "ok", f"no field of it among {', '.join(look.clouds[0])}: all 0")]
    full, why = _full(np.concatenate(look.valid(field)))
    if not full:
        remedy = f"say what stands for full intensity: --intensity {field}/255"
        return "", [Finding(name, "warning", f"{field} {why}: left out, all 0", remedy)]
    text = f"{field} {why}: taken as 0 to {full.partition(':')[0]}{', squashed' * (':' in full)} (a guess)"
    remedy = f"--intensity {field}/{full} confirms it, another number corrects it"
    return f"{_named('intensity', field)}/{full}", [Finding(name, "warning", text, remedy)]


def _stated(name: str, text: str, misfit: str, option: str) -> Finding:
    """What a user said, and a warning where it does not fit."""
    if not misfit:
        return Finding(name, "ok", text)
    return Finding(name, "warning", f"{text}, but {misfit}", f"without {option} the unit is guessed")


def _full(values: NDArray) -> tuple[str, str]:
    """What stands for full intensity, "" if nothing can; and the range that says so."""
    if not len(values):
        return "", "holds nothing finite"
    low, high = float(values.min()), float(values.max())
    why = f"({values.dtype}) is {low:.4g} to {high:.4g}"
    if low < 0 or high == 0:
        return "", why
    if values.dtype != np.uint8 and high <= 1 and (values != np.rint(values)).any():
        return "1", why
    if high <= 255:
        return "255", why
    # Counts without bound (Ouster's signal): a share of them is bright, whatever the sensor's unit is.
    bright = max(1.0, float(f"{np.percentile(values, 95):.2g}"))
    return f"{bright:g}:tanh", why


def _ring(look: Look) -> tuple[str, list[Finding]]:
    field = look.field("ring")
    if field is None:
        return "", []
    values = np.concatenate(look.valid(field))
    name = f"ring of {look.topic}"
    if len(values) and values.min() >= 0 and values.max() <= 255 and (values == np.rint(values)).all():
        return _named("ring", field), [Finding(name, "ok", f"{field}, up to {values.max():g}")]
    text = f"{field} ({values.dtype}) holds no number of a laser: left out"
    return "", [Finding(name, "ok", text)]


def _time(look: Look, said: str | None, where: object) -> tuple[str, list[Finding]]:
    name = f"times of points of {look.topic}"
    if said == "none":
        return "", [Finding(name, "ok", "left out, as asked")]
    if said is not None:
        match = _parsed(
            _TIME, said, "--point-time", "FIELD:UNIT (s, ms, us, ns), @ for absolute", look, where
        )
        absolute = match["absolute"] or ""
        meaning = "absolute" if absolute else "from the stamp"
        text = f"{match['field']} in {match['unit']}, {meaning}, as stated"
        reason = time_misfit(look, match["field"], 1 / UNITS[match["unit"]], bool(absolute))
        column = _time_column(match["field"], match["unit"], absolute)
        return column, [_stated(name, text, reason, "--point-time")]
    field = look.field("time")
    if field is None:
        return "", [Finding(name, "ok", f"no field of them among {', '.join(look.clouds[0])}")]
    guess, why = _time_guess(look, field)
    if not guess:
        remedy = f"say its unit: --point-time {field}:ns (s, ms, us, ns; @ behind it: absolute), or none"
        if "all the same" in why:
            return "", [Finding(name, "ok", f"{field} {why}: left out")]
        return "", [Finding(name, "warning", f"{field} {why}: left out", remedy)]
    unit, absolute = guess.rstrip("@"), "@" * guess.endswith("@")
    meaning = "absolute" if absolute else "from the stamp of the cloud"
    text = f"{field} {why}: taken as {unit}, {meaning} (a guess)"
    remedy = f"--point-time {field}:{guess} confirms it, another unit corrects it"
    return _time_column(field, unit, absolute), [Finding(name, "warning", text, remedy)]


def _time_column(field: str, unit: str, absolute: str) -> str:
    factor = "" if unit == "s" else f"*{UNITS[unit]:g}"
    return f"{_named('time', field)}{factor}{absolute}"


def _time_guess(look: Look, field: str) -> tuple[str, str]:
    """The unit, with `@` for absolute times, "" where none fits; and what the values are."""
    clouds = look.valid(field)
    filled = [(values, stamp) for values, stamp in zip(clouds, look.stamps, strict=True) if len(values)]
    if not filled:
        return "", "holds nothing finite"
    values, stamp = filled[0]
    low, high = float(values.min()), float(values.max())
    why = f"({values.dtype}) is {low:.10g} to {high:.10g}"
    span = float(np.median([float(values.max()) - float(values.min()) for values, _ in filled]))
    if span == 0:
        return "", f"{why}, all the same within a cloud"
    for unit, (least, most) in _EPOCH.items():
        if low > least and high < most and values.dtype == np.float64:
            apart = abs(low * UNITS[unit] - stamp)
            far = f", {apart:.3g} s from the stamp of its cloud"
            return (f"{unit}@", why) if apart < NEAR else ("", why + far)
    bounds = [factor * look.period for factor in _SWEEP] if look.period else list(_PERIOD)
    fits = [
        unit
        for unit, second in UNITS.items()
        if bounds[0] <= span * second <= bounds[1] and max(abs(low), abs(high)) * second < NEAR
    ]
    return (fits[0], why) if fits else ("", f"{why}, which fits a sweep in no unit")
