"""Ray: results in order, users' errors as themselves, a dead worker tried again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import psutil
import pytest
import ray

from mixproof.ledger.errors import DamagedFileError, MixproofError, NodeError, RequestError, StorageError
from mixproof.pipeline.cluster.cluster import Cluster
from mixproof.pipeline.cluster.node_choice import Blamed
from mixproof.pipeline.cluster.node_task import avoided_nodes
from mixproof.pipeline.cluster.resources import Needs
from mixproof.pipeline.cluster.running import alive_nodes, crashes_by_node, is_idle, silent_nodes
from mixproof.pipeline.cluster.same_code import MIXPROOF, DifferentCodeError, code_versions
from mixproof.pipeline.cluster.submitted import SubmittedCalls
from mixproof.pipeline.cluster.task_progress import TaskProgress


def square(number: int) -> int:
    return number * number


def threads_and_modules() -> tuple[str | None, str]:
    import mixproof.ledger.store

    return os.environ.get("OMP_NUM_THREADS"), mixproof.ledger.store.__file__ or ""


def fail_at(number: int, bad: int) -> int:
    if number == bad:
        raise DamagedFileError("a.gz", "offset 7", "truncated")
    return number


def avoid(nodes: tuple[str, ...]) -> list[str]:
    """Blame the first of these nodes that this call does not avoid yet; the nodes that it avoids in the end."""
    if left := [node for node in nodes if node not in avoided_nodes()]:
        error = NodeError("a worker that this call started has met a faulty node")
        error.node = left[0]
        raise error
    return sorted(avoided_nodes())


def fill_the_disk() -> None:
    Path("/dev/full").write_bytes(b"x")


def die_once(marker: str) -> str:
    path = Path(marker)
    if not path.exists():
        path.write_text("died")
        os._exit(1)
    return "lived"


def die_always() -> None:
    os._exit(1)


def test_results_come_in_the_order_of_the_calls_however_many(cluster: Cluster) -> None:
    assert cluster.run(square, [(n,) for n in range(50)], label="squares") == [n * n for n in range(50)]


def test_no_calls_start_no_ray() -> None:
    with Cluster(address="no-such-place:1") as idle:
        assert idle.run(square, [], label="nothing") == []


def test_workers_have_one_thread_and_this_code(cluster: Cluster) -> None:
    import mixproof.ledger.store

    (found,) = cluster.run(threads_and_modules, [()], label="environment")
    assert found == ("1", mixproof.ledger.store.__file__)


def test_an_error_for_users_arrives_as_itself(cluster: Cluster) -> None:
    with pytest.raises(DamagedFileError, match=r"^a\.gz: offset 7: truncated$") as caught:
        cluster.run(fail_at, [(n, 3) for n in range(20)], label="failing")
    assert (caught.value.file, caught.value.where) == ("a.gz", "offset 7")


def test_a_failing_call_can_leave_the_others_alone(cluster: Cluster) -> None:
    found = cluster.run(fail_at, [(n, 3) for n in range(5)], label="failing", on_failure=lambda error: -len(str(error)))
    assert found == [0, 1, 2, -len("a.gz: offset 7: truncated"), 4]


@pytest.mark.slow
def test_a_worker_that_dies_is_tried_again_and_one_that_always_dies_is_an_error(
    cluster: Cluster, tmp_path: Path
) -> None:
    assert cluster.run(die_once, [(str(tmp_path / "marker"),)], label="dying") == ["lived"]
    start = time.time()
    with pytest.raises(MixproofError, match="dying always: a worker crashed repeatedly"):
        cluster.run(die_always, [()], label="dying always", max_retries=1)
    (node,) = alive_nodes()
    assert set(crashes_by_node(start)) == {node.id}
    assert crashes_by_node(time.time() + 60) == {}
    assert silent_nodes(60) == {}  # it still runs tasks


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def wait_for_nothing_once(marker: str) -> str:
    """Wait in Ray without a CPU, as a task that Ray has lost does for its command; return at once the second time."""
    if not Path(marker).exists():
        Path(marker).touch()
        ray.get(ray.remote(sleep).options(num_cpus=0).remote(30))
    return "ran"


def test_calls_that_ray_has_lost_are_submitted_again(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert cluster.run(square, [(2,)], label="warm") == [4]
    monkeypatch.setattr("mixproof.pipeline.cluster.waiting.FIRST_WARNING_SECONDS", 1.0)
    monkeypatch.setattr("mixproof.pipeline.cluster.submitted.CHECK_SECONDS", 1)
    calls = [(str(tmp_path / "marker"),)]
    lost = SubmittedCalls(wait_for_nothing_once, calls, [Needs(1)], "lost", 0, blamed=Blamed(), repeatable=False)
    lost.fill(1)
    assert lost.next_finished() == (0, "ran")
    assert "Ray has lost 1 tasks" in caplog.text and "They run again" in caplog.text
    busy = ray.remote(sleep).remote(3)
    assert not ray.wait([busy], timeout=1)[0] and not is_idle()  # a task that runs is not lost


def memory_of_this_task(marker: str, enough: float) -> float:
    """Die, as for want of memory, until the task has so much of the machine's memory."""
    given = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]  # half of Ray is typed
    with Path(marker).open("a") as seen:
        seen.write("x")
    share: float = given.get("memory", 0) / ray.cluster_resources()["memory"]  # type: ignore[no-untyped-call]  # as above
    if share < enough:
        os.kill(os.getpid(), signal.SIGKILL)
    return round(share, 2)


def test_a_task_that_dies_for_want_of_memory_runs_again_with_more(cluster: Cluster, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    calls = [(str(marker), 0.9), (str(tmp_path / "other"), 0.0)]
    assert cluster.run(memory_of_this_task, calls, label="large", max_retries=0) == [1.0, 0.0]
    assert marker.read_text() == "xxx"  # with no memory of its own, with half the machine's, with all of it


def test_a_call_whose_workers_met_faulty_nodes_is_told_to_avoid_them(cluster: Cluster) -> None:
    cluster.run(square, [(1,)], label="start")
    calls = SubmittedCalls(avoid, [(("a" * 56, "b" * 56),)], [Needs(workers=2)], "ranks", 0, blamed=Blamed())
    calls.fill(1)
    assert calls.next_finished() == (0, ["a" * 56, "b" * 56])


def test_progress_is_reported_as_calls_end(cluster: Cluster) -> None:
    cluster.run(square, [(1,)], label="warm")
    seen: list[TaskProgress] = []
    with Cluster(progress=seen.append) as watched:
        watched.run(square, [(1,), (2,)], label="two", call_bytes=[10, 20])
    assert (seen[0], seen[1], seen[3]) == (
        TaskProgress("start", 0, 1),
        TaskProgress("two", 0, 2, 0, 30),
        TaskProgress("two", 2, 2, 30, 30),
    )
    assert (seen[2].done, seen[2].bytes_done in (10, 20)) == (1, True)
    assert ray.is_initialized()


def test_calls_say_what_they_need_and_are_told_of_as_they_end(cluster: Cluster) -> None:
    told: list[tuple[int, int]] = []
    found = cluster.run(
        square,
        [(3,), (4,)],
        label="squares",
        needs=[Needs(cpus=0.25), Needs(cpus=2)],
        on_result=lambda place, result: told.append((place, result)),
    )
    assert (found, sorted(told)) == ([9, 16], [(0, 9), (1, 16)])


def test_what_this_machine_can_never_give_is_refused(cluster: Cluster) -> None:
    with pytest.raises(RequestError, match=r"squares: a task needs 1 CPUs and 0.5 GPUs, but this machine has 2 CPUs"):
        cluster.run(square, [(3,), (4,)], label="squares", needs=[Needs(), Needs(gpus=0.5)])


def test_a_worker_with_other_code_refuses_the_task_and_names_every_difference(cluster: Cluster) -> None:
    cluster.run(square, [(1,)], label="start")
    other = code_versions() | {"numpy": "1.0", MIXPROOF: "0123456789ab", "another": "2.0"}
    calls = SubmittedCalls(square, [(2,)], [Needs()], "squares", 0, code=other, blamed=Blamed())
    calls.fill(1)
    _, refused = calls.next_finished()
    assert isinstance(refused, DifferentCodeError)
    own, (node,) = code_versions(), alive_nodes()
    assert f"{MIXPROOF} {own[MIXPROOF]} instead of 0123456789ab, numpy {own['numpy']} instead of 1.0" in str(refused)
    assert "another none instead of 2.0; install the same versions on every node" in str(refused)
    assert (refused.node, refused.exit_code) == (node.id, 2)


def test_workers_with_the_same_code_run_the_task(cluster: Cluster) -> None:
    cluster.run(square, [(1,)], label="start")
    calls = SubmittedCalls(square, [(3,)], [Needs()], "squares", 0, code=code_versions())
    calls.fill(1)
    assert calls.next_finished() == (0, 9)


def test_a_worker_without_the_module_of_a_function_or_an_argument_is_told_as_one_with_other_code(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.run(square, [(1,)], label="start")
    (tmp_path / "module_of_the_driver.py").write_text("class Thing:\n    pass\n\ndef function(thing):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = import_module("module_of_the_driver")
    for function, argument in ((square, module.Thing()), (module.function, 2)):
        with pytest.raises(DifferentCodeError, match="ModuleNotFoundError: No module named 'module_of_the_driver'; "):
            cluster.run(function, [(argument,)], label="newer")


def test_ctrl_c_that_ray_swallowed_ends_a_stage_whose_tasks_never_finish(cluster: Cluster) -> None:
    def swallowed() -> None:
        raise KeyboardInterrupt

    cluster.run(square, [(1,)], label="start")
    calls = SubmittedCalls(square, [(3,)], [Needs(gpus=1)], "squares", 0, while_waiting=swallowed)
    calls.fill(1)
    with pytest.raises(KeyboardInterrupt):
        calls.next_finished()


def test_a_local_ray_has_no_dashboard_no_autoscaler_and_no_log_monitor(cluster: Cluster) -> None:
    cluster.run(square, [(1,)], label="start")
    commands = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    assert any("gcs_server" in command for command in commands)
    assert any("raylet/raylet" in command for command in commands)
    for service in ("dashboard/dashboard.py", "monitor.py"):
        assert not [command for command in commands if service in command]


def test_stages_are_counted() -> None:
    counted = Cluster()
    counted.count(run=2, reused=1)
    counted.count(reused=4)
    assert (counted.stages_run, counted.stages_reused) == (2, 5)


def test_a_ray_that_does_not_start_says_so_and_where_to_look(tmp_path: Path) -> None:
    from conftest import environment  # not above: workers import this module and have no conftest

    (tmp_path / "file").touch()
    program = (
        "from mixproof.pipeline.cluster.cluster import Cluster; Cluster(workers=1).run(len, [('a',)], label='lengths')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment() | {"RAY_TMPDIR": str(tmp_path / "file")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert "MixproofError: Ray could not be started on this machine in 3 attempts: " in done.stderr
    assert f"{tmp_path}/file" in done.stderr


def test_a_full_disk_of_a_worker_is_told_as_an_error_of_the_users(cluster: Cluster) -> None:
    with pytest.raises(StorageError, match=r"no space is left on a disk \(on host .*run the same command again"):
        cluster.run(fill_the_disk, [()], label="writing")


KILLS = """
import contextlib, os, signal, sys, time
from pathlib import Path

import psutil

from mixproof.pipeline.cluster.cluster import Cluster

MARKER = sys.argv[1]


def kill_raylet_once(number, marker=MARKER):
    if number == 2 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getppid(), signal.SIGKILL)  # a worker's parent is the raylet
        time.sleep(60)
    return number


with Cluster(workers=2) as cluster:
    print(cluster.run(kill_raylet_once, [(number,) for number in range(8)], label="killed inside"))
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker that ended since
            if child.name() == "raylet":
                child.kill()
    print(cluster.run(kill_raylet_once, [(number,) for number in range(3)], label="killed between"))
"""


@pytest.mark.slow
def test_ray_is_started_again_after_its_raylet_is_killed_and_the_stage_resumes(tmp_path: Path) -> None:
    from conftest import environment

    (tmp_path / "kills.py").write_text(KILLS)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "kills.py"), str(tmp_path / "marker")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, ["[0, 1, 2, 3, 4, 5, 6, 7]", "[0, 1, 2]"]), done.stderr
    assert (tmp_path / "marker").exists()
