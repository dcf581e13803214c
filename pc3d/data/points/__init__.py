"""Points of sweeps: files of many formats in, x y z (m), intensity (0 to 1) and named further columns out.

`formats.py` has the text that says how a file is read, `decoders.py` the table of what reads its bytes.
"""

from pc3d.data.points.formats import FORMATS, PointFormat, point_format
from pc3d.data.points.load import load_points, load_sweep

__all__ = ["FORMATS", "PointFormat", "load_points", "load_sweep", "point_format"]
