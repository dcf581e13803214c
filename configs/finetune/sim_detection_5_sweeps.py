# Detection with all labels of `bench`: five sweeps with their age, rare classes pasted into half the frames.
# Before: pc3d objects data/sim-index --split sim_train --sweeps 5 --features intensity time \
#             --out data/sim-objects-5-sweeps
_base_ = "../_base_/sim_detection.py"
data = dict(
    sweeps=5,
    features=("intensity", "time"),
    paste=dict(
        database="data/sim-objects-5-sweeps",
        probability=0.5,
        counts=dict(
            car=2,
            truck=3,
            construction_vehicle=6,
            bus=3,
            trailer=4,
            barrier=2,
            motorcycle=6,
            bicycle=6,
            pedestrian=2,
            traffic_cone=2,
        ),
    ),
)
lidar = dict(in_channels=5)
schedule = dict(iterations=7000, warmup=0.2)
