"""Cells of a sweep as tasks of a Ray cluster."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any

from .benchmark.machine import device_name
from .benchmark.processes import ask
from .spelling import first_line
from .sweep_cells import Job
from .sweep_order import CellLost

THREADS = 1  # of a task, which asks for one CPU; another number gives other last bits
TIMING = "timing"  # the resource of nodes that take latencies
NICENESS = "RAY_worker_niceness"  # Ray's own is 15, which starves beside any other work
LOST = {
    "NodeDiedError": "its node died",
    "LocalRayletDiedError": "its node died",
    "WorkerCrashedError": "its process was killed",
    "OutOfMemoryError": "its node ran out of memory",
}
"""Ray's errors that say nothing of the cell."""


class OnRay:
    """Makes cells as tasks of a Ray cluster; latencies only where a node has the resource `timing`, one at a time."""

    orders_latencies = True  # a task takes all of its node's resource `timing`

    def __init__(self, address: str | None) -> None:
        """Connects to a cluster, or starts one of this machine.

        Raises:
            ValueError: Ray is not installed, or there is no cluster at `address` that takes this machine in.
        """
        try:
            import ray
        except ImportError:
            raise ValueError("the engine ray wants Ray: pip install 'pocketface[ray]'") from None
        if address is None:
            os.environ.setdefault(NICENESS, "0")
        try:
            with _signals_kept():
                ray.init(
                    address=address or "local",  # None would join whatever cluster runs here
                    resources=None if address else {TIMING: 1},
                    include_dashboard=None if address else False,
                    log_to_driver=False,
                    logging_level=logging.WARNING,
                    runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}},
                )
        except ray.exceptions.AuthenticationError:
            raise ValueError(
                f"the Ray cluster at {address} wants its token: give this machine the file ~/.ray/auth_token of the "
                f"node that began it, and set RAY_AUTH_MODE=token on every node"
            ) from None
        except Exception as error:  # Ray raises plain ones, too
            what = f"there is no Ray cluster at {address}" if address else "Ray does not start on this machine"
            raise ValueError(f"{what}: {first_line(error)}") from None
        self._ray, self._make = ray, ray.remote(make_requested)
        self._device = ""

    def timing_device(self) -> str:
        """Names the machine that takes latencies.

        Raises:
            ValueError: No node does, or those that do are of several kinds, whose latencies do not compare.
        """
        if not self._device:
            self._device = self._only_device()
        return self._device

    def _only_device(self) -> str:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray, named = self._ray, self._ray.remote(device_name)
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get(TIMING)]
        on = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        devices = sorted(set(ray.get([named.options(num_cpus=0, scheduling_strategy=each).remote() for each in on])))
        if not devices:
            raise ValueError(
                f"no node of the Ray cluster has the resource {TIMING}; start one with ray start ... --resources "
                f"'{{\"{TIMING}\": 1}}', or take no latencies with --set benchmark.threads=[]"
            )
        if len(devices) > 1:
            raise ValueError(
                f"the nodes with the resource {TIMING} are of several kinds: {'; '.join(devices)}; give it to one "
                f"kind, as latencies of others do not compare"
            )
        return str(devices[0])

    def submit(self, job: Job) -> Future[Any]:
        """Queues the cell."""
        is_timing = job.cell.kind == "timing"
        needs, device = ({TIMING: 1}, self.timing_device()) if is_timing else ({}, "")
        task = self._make.options(num_cpus=1, resources=needs, max_retries=0)  # `make_all` tries again, and says so
        made: Future[Any] = Future()
        task.remote(job.request(), device).future().add_done_callback(partial(_pass_on, made))
        return made

    def close(self) -> None:
        """Leaves the cluster."""
        self._ray.shutdown()


def make_requested(request: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Makes the cell of a request in a process of its own.

    Args:
        request: Of a `Job`.
        device: That it must be made on; "": on any.

    Raises:
        RuntimeError: It cannot be made, or this is another device.
    """
    job = Job.of(request)
    if device and device != device_name():
        raise RuntimeError(f"{job.cell.label}: it was to be taken on {device}, and this node is {device_name()}")
    return ask("pocketface.sweep_cells", job.request(), job.cell.label, "made", THREADS)


def _pass_on(made: Future[Any], task: Future[Any]) -> None:
    """Gives `made` what became of a task, its errors as the engines of one machine raise them."""
    error = task.exception()
    if error is None:
        made.set_result(task.result())
        return
    cause = getattr(error, "cause", None)  # what the task raised; Ray's own error prints a traceback
    kind = type(error).__name__
    if isinstance(cause, (ValueError, RuntimeError, OSError)):
        made.set_exception(cause)
    elif kind in LOST:
        made.set_exception(CellLost(LOST[kind]))
    else:
        made.set_exception(RuntimeError(f"{kind}: {first_line(error)}"))


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Keeps our handlers of signals, which `ray.init` replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
