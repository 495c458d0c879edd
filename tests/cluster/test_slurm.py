"""`deploy/slurm.sh` on a Slurm of stubs: two nodes with networks of their own, one command, its exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster.namespaces import has_namespaces, namespace, network
from conftest import ROOT
from ray_nodes import BIN, without_own_mixproof

SCONTROL = "#!/bin/sh\nprintf '%s\\n' ADDRESSES\n"
SRUN = """\
#!/bin/bash
echo "$1" > FOLDER/cpus
shift 2  # --cpus-per-task, which srun does not inherit from sbatch, and --kill-on-bad-exit
pids=()
for node in NODES; do
  mkdir -p FOLDER/$node
  own_ray="mount --bind FOLDER/$node /tmp/ray && exec \\"\\$@\\""
  # processes of its own as well: `ray stop` at the end kills every Ray that it sees
  ip netns exec $node unshare --pid --fork --mount-proc --kill-child sh -c "$own_ray" sh "$@" \\
    > FOLDER/$node.log 2>&1 & pids+=($!)
done
code=0
for pid in "${pids[@]}"; do wait "$pid" || code=$(( $? > code ? $? : code )); done  # the highest, as srun does
exit $code
"""
MIXPROOF = """\
#!PYTHON
import os, sys, ray
ray.init(address=sys.argv[sys.argv.index("--address") + 1], logging_level="ERROR")
print("mixproof", *sys.argv[1:-1], "on", len([node for node in ray.nodes() if node["Alive"]]), "nodes", flush=True)
print("secret of", len(os.environ["RAY_AUTH_TOKEN"]), "digits, mode", os.environ["RAY_AUTH_MODE"], flush=True)
ray.shutdown()
sys.exit(3)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Stubs and logs."""
    path = Path("/var/tmp") / f"mixproof-slurm-{uuid.uuid4().hex[:8]}"  # noqa: S108
    (path / "bin").mkdir(parents=True)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def nodes() -> Iterator[dict[str, str]]:
    """Addresses of two namespaces that reach each other, by name."""
    with network() as own:
        addresses = {own.name(f"slr{one}"): own.address(one) for one in (1, 2)}
        with ExitStack() as stack:
            for name, address in addresses.items():
                stack.enter_context(namespace(name, address, own.bridge))
            yield addresses


@pytest.mark.skipif(not has_namespaces(), reason="needs root and `ip netns`: two nodes with addresses of their own")
def test_the_command_runs_once_on_a_cluster_of_all_nodes_and_its_exit_code_is_the_jobs(
    folder: Path, nodes: dict[str, str]
) -> None:
    srun = SRUN.replace("FOLDER", str(folder)).replace("NODES", " ".join(nodes))
    scontrol = SCONTROL.replace("ADDRESSES", " ".join(nodes.values()))
    stubs = {"scontrol": scontrol, "srun": srun, "mixproof": MIXPROOF.replace("PYTHON", str(BIN / "python"))}
    for name, text in stubs.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    Path("/tmp/ray").mkdir(exist_ok=True)  # noqa: S108  Ray's folder, of which each node has its own
    job = without_own_mixproof() | {
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "RAY_gcs_rpc_server_reconnect_timeout_s": "20",  # how soon a worker ends after its head; 60 by default
    }
    job["PATH"] = f"{folder / 'bin'}{os.pathsep}{job['PATH']}"
    script = [ROOT / "deploy" / "slurm.sh", "run", "spec.yaml", "--store", "/shared/mixproof"]
    done = subprocess.run(
        [str(part) for part in script], env=job, capture_output=True, text=True, timeout=300, check=False
    )
    logs = {name: (folder / f"{name}.log").read_text() for name in nodes}
    assert done.returncode == 3, (done.stderr, logs)
    assert (folder / "cpus").read_text() == "--cpus-per-task=1\n"
    first, second = nodes
    ran = "mixproof run spec.yaml --store /shared/mixproof --address on 2 nodes"
    assert ran in logs[first] and ran not in logs[second], logs
    assert "secret of 64 digits, mode token" in logs[first]
