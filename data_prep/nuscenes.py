"""`pc3d index --format nuscenes` as a script."""

from pc3d.cli import script

if __name__ == "__main__":
    script("index", "--format", "nuscenes")
