"""A sweep on a Ray cluster of several nodes, one of which dies and one of which joins late, against one without Ray.

    python evidence/ray_nodes.py [--out runs/evidence/ray-nodes]

Run it from the repository root, on Linux, as root: each node is a network namespace of this machine with a host name
of its own, joined to the others by a bridge. The sweep is that of tiny_sweep.py. Every node has one CPU for Ray. It
takes some ten minutes on two cores. Writes evidence/ray_nodes.jsonl, a row per sweep; one whose cells are not those of
the sweep without Ray is invalid and says why.

    without Ray     in one process
    two nodes       one of them takes the latencies, and may use one core only: it is another device
    a node dies     all its processes are killed while it makes a cell; afterwards another node joins
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rows import write_rows
from tiny_sweep import differing, made, makers, write_sweep

from pocketface.benchmark.machine import device_name
from pocketface.benchmark.measurement import Measurement

HERE = Path(__file__).parent
HEAD = "10.77.0.1"
PATIENCE = 600.0  # seconds for anything
TRIES = 4  # to start a node
MAKING = b"pocketface.sweep_cells"  # in the command of the process that makes a cell


class Network:
    """Namespaces on one bridge, which lies in the first; all is gone after `close`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment, self.names = environment, list[str]()

    def add(self) -> tuple[str, str]:
        """Adds a namespace; gives its name and its address."""
        number = len(self.names) + 1
        name, address = f"pocketface{os.getpid()}n{number}", f"10.77.0.{number}"
        ip("netns", "add", name)
        self.names.append(name)
        ip("-n", name, "link", "set", "lo", "up")
        head = self.names[0]
        if number == 1:
            ip("-n", name, "link", "add", "cable", "type", "bridge")
        else:
            ip("-n", head, "link", "add", f"to{number}", "type", "veth", "peer", "name", "cable", "netns", name)
            ip("-n", head, "link", "set", f"to{number}", "master", "cable", "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
        ip("-n", name, "link", "set", "cable", "up")
        return name, address

    def start(self, number: int, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Starts a program on a node, which is called node-1, node-2, ..."""
        words = ["sh", "-c", f'hostname node-{number} && exec "$@"', "sh", *command]
        with log.open("ab") as output:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.names[number - 1], "unshare", "-u", *words],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def processes(self, number: int) -> list[int]:
        """Gives the processes of a node."""
        return [int(word) for word in ip("netns", "pids", self.names[number - 1]).split()]

    def makes_a_cell(self, number: int) -> bool:
        """Tells whether a node makes a cell now."""
        return any(MAKING in command_of(process) for process in self.processes(number))

    def kill(self, number: int) -> None:
        """Ends a node as a power cut would."""
        while alive := [process for process in self.processes(number) if command_of(process)]:
            for process in alive:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)

    def close(self) -> None:
        for number, name in enumerate(self.names, 1):
            self.kill(number)
            ip("netns", "del", name)
        self.names.clear()


class Cluster:
    """Ray on nodes of a network."""

    def __init__(self, folder: Path) -> None:
        """Has no node yet; `folder` is for logs."""
        environment = os.environ | {"RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        environment |= {"RAY_USAGE_STATS_ENABLED": "0"}
        self.folder, self.network = folder, Network(environment)
        folder.mkdir(parents=True)

    def join(self, takes_latencies: bool, cores: str | None = None) -> int:
        """Starts a node, the first one as the head; gives its number."""
        _, address = self.network.add()
        number = len(self.network.names)
        command = ["taskset", "-c", cores] if cores is not None else []
        command += [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1"]
        command += [f"--node-ip-address={address}", "--object-store-memory=100000000"]
        command += ["--head", "--port=6379", "--include-dashboard=false"] if number == 1 else [f"--address={HEAD}:6379"]
        command += ['--resources={"timing": 1}'] if takes_latencies else []
        log = self.folder / f"node-{number}.log"
        for left in range(TRIES - 1, -1, -1):  # Ray gives a node 30 s to start, which a busy machine may not keep
            log.unlink(missing_ok=True)
            process = self.network.start(number, command, log)
            try:
                until(lambda: b"Ray runtime started" in log.read_bytes(), process, log)
                return number
            except RuntimeError:
                self.network.kill(number)
                if not left:
                    raise
        raise AssertionError

    def sweep(self, recipe: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
        """Begins a sweep on the head."""
        address = ["--engine", "ray", "--address", f"{HEAD}:6379"]
        command = [sys.executable, "-m", "pocketface", "sweep", str(recipe), "--out", str(out), *address, *options]
        return self.network.start(1, command, log_of(out))


def ip(*words: str) -> str:
    """Runs `ip`; gives what it prints."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def command_of(process: int) -> bytes:
    """Gives the command of a process, b"" of one that has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def log_of(out: Path) -> Path:
    return out.with_suffix(".log")


def said(out: Path) -> list[str]:
    return log_of(out).read_text(errors="replace").splitlines()


def until(is_so: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits; fails where the process ends before, or patience does."""
    end = time.monotonic() + PATIENCE
    while not is_so():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{log}: {log.read_text(errors='replace')[-600:]}")
        time.sleep(0.05)


class Rows:
    """The rows so far, and the cells that all sweeps must make."""

    def __init__(self) -> None:
        self.rows, self.calm = list[Measurement](), dict[str, str]()

    def add(self, what: str, out: Path, seconds: float, exit_code: int, failures: list[str], **more: Any) -> None:
        store = out / "cells"
        failures = [*failures, *([f"exit {exit_code}: {said(out)[-1:]}"] if exit_code else [])]
        failures += [f"{name} differs" for name in differing(store, self.calm or made(store))]
        conditions = {"at": what, "machines": makers(store), "files": len(self.calm or made(store)), **more}
        identity = ("tiny", "", "", "", "", device_name())
        reason = "; ".join(failures)
        value = round(seconds, 1)
        row = Measurement(*identity, "sweep_s", value, "s", valid=not failures, reason=reason, conditions=conditions)
        self.rows.append(row)
        print(f"{what}: {value} s {conditions} {reason}", flush=True)
        write_rows(self.rows, HERE / "ray_nodes.jsonl")


def without_ray(rows: Rows, recipe: Path, out: Path) -> None:
    begun = time.monotonic()
    command = [sys.executable, "-m", "pocketface", "sweep", str(recipe), "--out", str(out)]
    with log_of(out).open("wb") as log:
        exit_code = subprocess.call(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
    rows.add("without Ray", out, time.monotonic() - begun, exit_code, [])
    rows.calm = made(out / "cells")


def two_nodes(rows: Rows, recipe: Path, out: Path) -> None:
    cluster = Cluster(out.with_name("two-nodes-logs"))
    try:
        cluster.join(takes_latencies=False)
        cluster.join(takes_latencies=True, cores="0")
        begun = time.monotonic()
        exit_code = cluster.sweep(recipe, out).wait(PATIENCE)
        seconds = time.monotonic() - begun
        again = cluster.sweep(recipe, out, "--dry-run")
        again.wait(PATIENCE)
    finally:
        cluster.network.close()
    timed = [path.parent for path in (out / "cells").glob("timing-*/cell.json")]
    where = {json.loads((cell / "cell.json").read_text())["machine"] for cell in timed}
    devices = {row["device"] for cell in timed for row in json.loads((cell / "measurements.json").read_text())}
    failures = [] if where == {"node-2"} else [f"latencies were taken on {sorted(where)}"]
    failures += [] if len(devices) == 1 and ", 1 core," in str(devices) else [f"latencies are of {sorted(devices)}"]
    planned = next((line for line in said(out)[::-1] if " of them made" in line), "")
    failures += [] if planned.split()[0] == planned.split()[2] else [f"afterwards: {planned}"]
    rows.add("two nodes", out, seconds, exit_code, failures, latencies_of=sorted(devices), plan_afterwards=planned)


def a_node_dies(rows: Rows, recipe: Path, out: Path) -> None:
    cluster = Cluster(out.with_name("a-node-dies-logs"))
    try:
        cluster.join(takes_latencies=True)
        dying = cluster.join(takes_latencies=False)
        begun = time.monotonic()
        process = cluster.sweep(recipe, out)
        until(lambda: cluster.network.makes_a_cell(dying), process, log_of(out))
        time.sleep(2.0)
        cluster.network.kill(dying)
        killed = time.monotonic() - begun
        late = cluster.join(takes_latencies=False)
        joined = time.monotonic() - begun
        exit_code = process.wait(PATIENCE)
        seconds = time.monotonic() - begun
    finally:
        cluster.network.close()
    told = [line for line in said(out) if "begun anew" in line]
    failures = [] if told else ["nothing was said of the node that died"]
    failures += [] if makers(out / "cells").get(f"node-{late}") else ["the late node made nothing"]
    moments = {"killed_s": round(killed, 1), "joined_s": round(joined, 1)}
    rows.add("a node dies, another joins late", out, seconds, exit_code, failures, said=told, **moments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/evidence/ray-nodes"))
    out = parser.parse_args().out.absolute()
    shutil.rmtree(out, ignore_errors=True)
    recipe, rows = write_sweep(out / "inputs"), Rows()
    without_ray(rows, recipe, out / "without-ray")
    two_nodes(rows, recipe, out / "two-nodes")
    a_node_dies(rows, recipe, out / "a-node-dies")
    bad = [row for row in rows.rows if not row.valid]
    print(f"{len(rows.rows)} rows, {len(bad)} of them bad")


if __name__ == "__main__":
    main()
