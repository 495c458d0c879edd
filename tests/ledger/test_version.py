"""The version in manifests is the package's."""

import tomllib
from pathlib import Path

from mixproof.ledger.version import VERSION


def test_the_version_in_manifests_is_the_packages() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
