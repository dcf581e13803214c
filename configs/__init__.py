"""The configs that ship with pc3d: the package `pc3d.configs` where it is installed."""
