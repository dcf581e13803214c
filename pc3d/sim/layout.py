"""The streets: where road, kerb, walkway and lawn are, as one function that every sensor asks.

The plan lives in a street frame: the main street runs along +x with its axis on y = 0, cross
streets run along y. `ground_at` says what lies at a point; `map_layers` (maps of the same plan)
is in `pc3d.sim.town_map`. Traffic keeps to the right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pc3d.sim import categories
from pc3d.sim.types import Float
from pc3d.storage.compiled import njit

# Ground codes.
ROAD, PARK, WALK, LAWN, PLAZA, MEDIAN = range(6)
GROUND_LABELS = np.array(
    [
        categories.DRIVEABLE,
        categories.DRIVEABLE,
        categories.SIDEWALK,
        categories.TERRAIN,
        categories.FLAT_OTHER,
        categories.FLAT_OTHER,
    ],
    dtype=np.uint8,
)
KERB = 0.13
"""Height of everything but road and car park above the road surface (m)."""
LANE = 3.5
CORNER_STEPS = 6
CORNER_SQUARE = 9.0
"""Side of the square at a street corner in which the verge is paved (m)."""
CROSSING = (0.6, 3.8)
"""Begin and end of a pedestrian crossing beyond the corner radius (m from the cross street's kerb)."""
STOP_LINE = (4.8, 5.3)
MIDDLE = 50.0
"""x of the street frame that the plan is centred on; everything lies within 265 m of it."""


@dataclass(frozen=True, eq=False)
class StreetPlan:
    """Numbers of one street plan, metres, street frame unless said otherwise.

    Attributes:
        origin: (2,) world position of the street frame. yaw: its direction.
        lanes: lanes in each direction of the main street. parking: width of each parking strip.
        median: half width of the raised median, 0 for none.
        radius: of the kerbs at the corners. verge, walk: widths of lawn strip and walkway.
        cross: (K, 2) position and half width of the cross streets, ascending.
        parks: (M, 4) car parks and their driveways x0 y0 x1 y1; bays: the car parks alone.
        lots: (K + 1, 2) ground code behind the walkway of each block (right side, left side).
        x_range, y_max: where the plan ends.
    """

    origin: Float
    yaw: float
    lanes: int
    parking: float
    median: float
    radius: float
    verge: float
    walk: float
    cross: Float
    parks: Float
    bays: Float
    lots: Float
    x_range: tuple[float, float] = (-150.0, 250.0)
    y_max: float = 170.0

    @property
    def half(self) -> float:
        """Distance of the main street's kerbs from its axis."""
        return self.median + self.lanes * LANE + self.parking

    def lane_y(self, lane: int) -> float:
        """Distance of the middle of lane 0.. from the axis."""
        return self.median + (lane + 0.5) * LANE

    def numbers(self) -> Float:
        """The scalars as the vector that the compiled functions take."""
        return np.array(
            [
                self.half,
                self.median,
                float(self.lanes),
                self.parking,
                self.radius,
                self.verge,
                self.walk,
                self.x_range[0],
                self.x_range[1],
                self.y_max,
                self.origin[0],
                self.origin[1],
                np.cos(self.yaw),
                np.sin(self.yaw),
            ]
        )

    def to_world(self, points: Float) -> Float:
        """(..., 2) street frame to world."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        x, y = points[..., 0], points[..., 1]
        return np.stack([self.origin[0] + cos * x - sin * y, self.origin[1] + sin * x + cos * y], axis=-1)


@njit(cache=True, error_model="numpy")
def to_street(s: Float, x: float, y: float) -> tuple[float, float]:
    """World to street frame."""
    dx, dy = x - s[10], y - s[11]
    return s[12] * dx + s[13] * dy, -s[13] * dx + s[12] * dy


@njit(cache=True, error_model="numpy")
def cross_distance(cross: Float, x: float) -> tuple[float, int]:
    """Distance to the kerb of the nearest cross street (negative on it), and which one."""
    best, which = 1e9, -1
    for k in range(len(cross)):
        d = abs(x - cross[k, 0]) - cross[k, 1]
        if d < best:
            best, which = d, k
    return best, which


@njit(cache=True, error_model="numpy")
def _in_corner(s: Float, main: float, side: float) -> bool:
    """Whether a point is on the road side of the (polygonal) kerb round a street corner."""
    r = s[4]
    if main >= r or side >= r:
        return False
    u, v = r - main, r - side
    step = 0.5 * np.pi / CORNER_STEPS
    angle = np.arctan2(v, u) % step
    return np.hypot(u, v) * np.cos(angle - 0.5 * step) > r * np.cos(0.5 * step)


@njit(cache=True, error_model="numpy")
def ground_at(s: Float, cross: Float, parks: Float, lots: Float, x: float, y: float) -> int:
    """Ground code at (x, y) of the street frame."""
    if x < s[7] or x > s[8] or abs(y) > s[9]:
        return LAWN
    main = abs(y) - s[0]
    side, _ = cross_distance(cross, x)
    if main < 0.0:
        if s[1] > abs(y) and side > s[4] + 6.0:
            return MEDIAN
        return ROAD
    if side < 0.0 or _in_corner(s, main, side):
        return ROAD
    for k in range(len(parks)):
        if parks[k, 0] < x < parks[k, 2] and parks[k, 1] < y < parks[k, 3]:
            return PARK
    near = min(main, side)
    if near < s[5]:
        return WALK if max(main, side) < CORNER_SQUARE else LAWN
    if near < s[5] + s[6]:
        return WALK
    block = 0
    while block < len(cross) and x > cross[block, 0]:
        block += 1
    return int(lots[block, 0 if y < 0.0 else 1])


@njit(cache=True, error_model="numpy")
def raised(code: int) -> bool:
    return code != ROAD and code != PARK


@njit(cache=True, error_model="numpy")
def hit_ground(
    s: Float,
    cross: Float,
    parks: Float,
    lots: Float,
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
) -> tuple[float, int, bool]:
    """Where a ray (world) first meets the ground: distance in |d|, ground code, kerb face or not.

    A distance of inf means that it never does.
    """
    if dz >= -1e-9:
        return np.inf, ROAD, False
    upper = (KERB - oz) / dz
    x, y = to_street(s, ox + upper * dx, oy + upper * dy)
    code = ground_at(s, cross, parks, lots, x, y)
    if raised(code):
        return upper, code, False
    lower = -oz / dz
    x, y = to_street(s, ox + lower * dx, oy + lower * dy)
    code = ground_at(s, cross, parks, lots, x, y)
    if not raised(code):
        return lower, code, False
    for _ in range(16):  # the ray dives into a raised part: find its kerb by bisection
        middle = 0.5 * (upper + lower)
        x, y = to_street(s, ox + middle * dx, oy + middle * dy)
        inside = ground_at(s, cross, parks, lots, x, y)
        if raised(inside):
            lower, code = middle, inside
        else:
            upper = middle
    return lower, code, True


def draw_plan(rng: np.random.Generator, origin: tuple[float, float]) -> StreetPlan:
    """A random street plan whose middle (x = `MIDDLE` of the street frame) is at `origin` of the world."""
    lanes = int(rng.choice([1, 2, 2, 3]))
    parking = float(rng.choice([0.0, 2.3, 2.5]))
    median = float(rng.choice([0.0, 0.0, 1.2, 2.0]))
    half = median + lanes * LANE + parking
    first = rng.uniform(24.0, 62.0)
    xs = [first - rng.uniform(80.0, 110.0), first, first + rng.uniform(75.0, 115.0)]
    cross = np.array([[x, rng.choice([3.8, 6.0, 7.4])] for x in xs])
    verge = float(rng.choice([0.0, 0.0, 1.5, 2.5]))
    walk = float(rng.uniform(2.4, 4.5))
    lots = rng.choice([LAWN, LAWN, PLAZA], size=(len(xs) + 1, 2)).astype(np.float64)
    # One car park behind the walkway of the block that the drive begins in.
    side = rng.choice([-1.0, 1.0])
    left = max(cross[0, 0] + cross[0, 1] + 14.0, -35.0)
    right = first - cross[1, 1] - rng.uniform(11.0, 16.0)
    low = half + verge + walk + 1.0
    depth = float(rng.choice([17.0, 22.0]))
    rects = [(left, low, right, low + depth)]
    gate = rng.uniform(left + 6.0, right - 6.0)
    rects.append((gate - 3.2, half, gate + 3.2, low))
    parks = np.array([(a, min(side * b, side * d), c, max(side * b, side * d)) for a, b, c, d in rects])
    yaw = float(rng.uniform(-np.pi, np.pi))
    return StreetPlan(
        origin=np.array(origin) - MIDDLE * np.array([np.cos(yaw), np.sin(yaw)]),
        yaw=yaw,
        lanes=lanes,
        parking=parking,
        median=median,
        radius=float(rng.uniform(4.0, 6.5)),
        verge=verge,
        walk=walk,
        cross=cross,
        parks=parks,
        bays=parks[:1],
        lots=lots,
    )
