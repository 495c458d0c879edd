"""The files under deploy/: Ray and KubeRay accept them, and both kinds of nodes scale from zero."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from mixproof.pipeline.cluster.resources import GPU_TASKS_LABEL

ROOT = Path(__file__).resolve().parents[1]
KUBERAY = ROOT / "deploy" / "kuberay"

# Fields of ray.io/v1 that the files use, with their types, from KubeRay's CRDs: rayclusters and rayjobs
GROUP: dict[str, type] = {"rayStartParams": dict, "template": dict}
CLUSTER: dict[str, type] = {
    "rayVersion": str,
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": dict,
    "headGroupSpec": dict,
    "workerGroupSpecs": list,
}
WORKERS = GROUP | {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int, "labels": dict}
JOB: dict[str, type] = {
    "entrypoint": str,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "backoffLimit": int,
    "rayClusterSpec": dict,
}


def load(name: str) -> dict[str, Any]:
    """One of KubeRay's files."""
    content: dict[str, Any] = yaml.safe_load((KUBERAY / name).read_text())
    return content


def check_fields(found: dict[str, Any], known: dict[str, type]) -> None:
    """Every field is a known one of the right type."""
    assert {name: type(value) for name, value in found.items()} == {name: known[name] for name in found}


def check_cluster(spec: dict[str, Any]) -> None:
    """A RayCluster's spec: its fields, Ray's version, and groups that scale from zero."""
    check_fields(spec, CLUSTER)
    check_fields(spec["headGroupSpec"], GROUP)
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert f"ray=={spec['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    documents, proxies = spec["workerGroupSpecs"]
    for group in (documents, proxies):
        check_fields(group, WORKERS)
        assert group["replicas"] == group["minReplicas"] == 0
        assert all(type(value) is str for value in group["rayStartParams"].values())
    assert spec["autoscalerOptions"]["version"] == "v2"  # v1 ignores labels
    assert proxies["labels"] == dict([GPU_TASKS_LABEL]) and "labels" not in documents
    limits = [group["template"]["spec"]["containers"][0]["resources"]["limits"] for group in (documents, proxies)]
    assert "nvidia.com/gpu" not in limits[0]
    assert limits[1]["nvidia.com/gpu"] == proxies["rayStartParams"]["num-gpus"]
    for group in (spec["headGroupSpec"], documents, proxies):
        pod = group["template"]["spec"]
        mounted = {mount["name"] for mount in pod["containers"][0].get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod.get("volumes", [])}


@pytest.mark.parametrize("name", ["ray_cluster.yaml", "deploy/gcp.yaml"])
def test_ray_accepts_the_cluster_file_and_its_workers_scale_from_zero(name: str) -> None:
    cluster = prepare_config(yaml.safe_load((ROOT / name).read_text()))
    validate_config(cluster)
    documents, proxies = (cluster["available_node_types"][kind] for kind in ("documents", "proxies"))
    assert cluster["available_node_types"]["head"]["resources"]["CPU"] == 0
    assert documents["min_workers"] == 0 and "GPU" not in documents["resources"]
    assert proxies["min_workers"] == 0 and proxies["resources"]["GPU"] > 0
    assert proxies["labels"] == dict([GPU_TASKS_LABEL]) and "labels" not in documents


def test_kuberay_knows_every_field_of_the_cluster() -> None:
    cluster = load("ray_cluster.yaml")
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    check_cluster(cluster["spec"])


def test_kuberay_knows_every_field_of_the_job_and_its_cluster_is_the_same() -> None:
    job = load("ray_job.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    check_fields(job["spec"], JOB)
    check_cluster(job["spec"]["rayClusterSpec"])
    assert job["spec"]["rayClusterSpec"]["workerGroupSpecs"] == load("ray_cluster.yaml")["spec"]["workerGroupSpecs"]


def test_an_unknown_field_would_be_noticed() -> None:
    cluster = load("ray_cluster.yaml")["spec"] | {"workerGroups": []}
    with pytest.raises(KeyError, match="workerGroups"):
        check_cluster(cluster)


def test_the_slurm_script_is_valid_shell_and_executable() -> None:
    script = ROOT / "deploy" / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    assert script.stat().st_mode & 0o111
