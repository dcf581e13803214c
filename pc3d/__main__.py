"""`python -m pc3d`: the command `pc3d`."""

from pc3d.cli import main

if __name__ == "__main__":
    main()
