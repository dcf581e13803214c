"""nuScenes attributes of detections."""

from __future__ import annotations

MOVING_SPEED = 0.2
"""m/s: what is faster moves."""

_VEHICLES = ("car", "truck", "construction_vehicle", "bus", "trailer")
_CYCLES = ("motorcycle", "bicycle")
_WITHOUT = ("barrier", "traffic_cone")


def attribute_of(class_name: str, speed: float) -> str:
    """The attribute of a detection by its class and its speed alone.

    No network predicts attributes here: as in public CenterPoint code the predicted velocity decides, since
    the attributes of nuScenes are about motion. What velocity cannot tell takes the more frequent one: a
    standing vehicle is parked (a standing bus stopped), a standing pedestrian not sitting.

    Args:
        class_name: nuScenes detection class. speed: m/s in the ground plane; NaN counts as standing.

    Returns:
        Attribute name of nuScenes, "" for barriers and traffic cones, which have none.

    Raises:
        ValueError: unknown class.
    """
    moving = speed > MOVING_SPEED
    if class_name in _VEHICLES:
        return "vehicle.moving" if moving else "vehicle.stopped" if class_name == "bus" else "vehicle.parked"
    if class_name in _CYCLES:
        return "cycle.with_rider" if moving else "cycle.without_rider"
    if class_name == "pedestrian":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    if class_name in _WITHOUT:
        return ""
    known = ", ".join((*_VEHICLES, *_CYCLES, "pedestrian", *_WITHOUT))
    raise ValueError(f"class {class_name!r} has no attribute rule; known: {known}")
