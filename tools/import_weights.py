"""`pc3d import` as a script."""

from pc3d.cli import script

if __name__ == "__main__":
    script("import")
