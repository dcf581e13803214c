# TCL for LiDAR and cameras: across the modalities with soft targets, within the LiDAR, and global to local.
_base_ = "../_base_/sim_images.py"
objectives = dict(triple=dict(type="TripleContrast", pixel_stride=4, queue=2048))
expected_losses = [6.29164, 7.2502, 7.06817, 7.21567, 7.46182]
