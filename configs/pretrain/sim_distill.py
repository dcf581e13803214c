# Distillation of three levels of the teacher into an encoder that is given local statistics of its points.
# Set data.teacher_cache and data.statistics_cache to folders, else the teacher sees six images a step.
# Many steps of one sweep serve it better than half as many of two.
_base_ = "../_base_/sim_images.py"
data = dict(features=("intensity", "statistics"), cameras=6, batch_size=1)
# What brings each column to about the size of the others.
lidar = dict(
    in_channels=17,
    column_scales=(1, 1, 1, 1, 2, 3, 5, 1, 10, 1, 1, 0.7, 0.5, 0.5, 3, 20, 20),
)
image = dict(levels=(8, 16, 32))
objectives = dict(
    distill=dict(
        type="ScaLR",
        num_pairs=1024,
        head="mlp",
        hidden=256,
        layers=(-3, -2, -1),
        standardise=True,
        temperature=0.07,
    ),
)
schedule = dict(iterations=1000)
expected_losses = [8.0146, 7.9092, 7.603, 7.2901, 7.2231]
