"""pc3d: self-supervised pretraining of LiDAR and camera backbones on unlabelled drives."""

import os

__version__ = "0.1.0"

# OpenMP threads that spin while they wait take the cores from the data workers: on two busy cores a
# training step took 3 to 38 s instead of 2. It must be set before torch starts its threads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
