"""The house holds: source roots are no packages, the standard library stays itself, the cluster file is Ray's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ledger", "mixtures", "pipeline", "tokenize", "train", "cli")


def test_no_init_file_stands_where_it_would_hide_a_module_or_break_the_namespace() -> None:
    forbidden = [ROOT / room / inner / "__init__.py" for room in ROOMS for inner in ("", "mixproof")]
    forbidden += list((ROOT / "tests").rglob("__init__.py"))
    assert [path for path in forbidden if path.exists()] == []


def test_every_room_is_a_typed_package_with_a_readme() -> None:
    for room in (*ROOMS, "api"):
        assert (ROOT / room / "mixproof" / room / "__init__.py").is_file()
        assert (ROOT / room / "mixproof" / room / "py.typed").is_file()
        assert (ROOT / room / "README.md").is_file()


def test_the_standard_librarys_tokenize_is_found_from_the_repository_root() -> None:
    code = "import tokenize, mixproof.tokenize; print(tokenize.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": ":".join(ROOMS), "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert not found.stdout.startswith(str(ROOT))


def test_the_job_environment_puts_every_source_root_on_the_path() -> None:
    environment = yaml.safe_load((ROOT / "runtime_env.yaml").read_text())
    assert environment["env_vars"]["PYTHONPATH"].split(":") == [*ROOMS, "api"]


def test_the_public_package_is_in_the_seventh_root_alone() -> None:
    assert (ROOT / "api" / "mixproof" / "__init__.py").is_file()
    assert not (ROOT / "api" / "__init__.py").exists()


def test_ray_accepts_the_cluster_file_and_its_workers_scale_from_zero() -> None:
    cluster = prepare_config(yaml.safe_load((ROOT / "ray_cluster.yaml").read_text()))
    validate_config(cluster)
    documents, proxies = (cluster["available_node_types"][name] for name in ("documents", "proxies"))
    assert documents["min_workers"] == 0 and "GPU" not in documents["resources"]
    assert proxies["min_workers"] == 0 and proxies["resources"]["GPU"] > 0
