"""The folder ``mock/`` is installed as ``billots.mock``; all else is in pyproject.toml."""

from setuptools import setup

setup(
    packages=[
        "billots",
        "billots.cli",
        "billots.mock",
        "billots.networks",
        "billots.node",
        "billots.store",
        "billots.web",
    ],
    package_dir={"billots": "billots", "billots.mock": "mock"},
    package_data={
        "billots": ["py.typed"],
        "billots.networks": ["*.toml"],
        "billots.web": ["templates/*", "static/*"],
        "billots.mock": ["user1", "user2", "user3", "mint", "*.pub"],
    },
)
