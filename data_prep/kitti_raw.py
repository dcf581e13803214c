"""`pc3d index --format kitti_raw` as a script."""

from pc3d.cli import script

if __name__ == "__main__":
    script("index", "--format", "kitti_raw")
