"""The packages of pc3d; `configs/` is one of them, `pc3d.configs`. All else is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["pc3d", "pc3d.*"]), "pc3d.configs"],
    package_dir={"pc3d.configs": "configs"},
    package_data={
        "pc3d": ["py.typed", "**/*.txt", "**/*.json", "**/*.html", "**/*.yaml"],
        "pc3d.configs": ["*.json", "*/*.py", "*/*.txt", "*/*.yaml"],
    },
)
