"""`pc3d export` as a script."""

from pc3d.cli import script

if __name__ == "__main__":
    script("export")
