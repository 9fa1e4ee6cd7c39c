"""Times .tflite files on a phone: in turns, on chosen cores, with rests; leaves nothing behind.

Tested with the real `adb` against a loopback device that speaks its protocol; no phone was used.
"""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ...export.formats import FORMATS, find_files
from ..measurement import Measurement
from .benchmark_model import LARGEST_PROFILE, PhoneTimes, RunLimits, Tool, benchmark_model, read_profile, read_timings
from .device import Answer, Device, VanishedError, chosen_device
from .phone import PhoneState, battery_command, describe_phone, read_state, state_command
from .phone_rows import PhoneJob, SustainedStep, mark_slowed, phone_rows
from .recipe import PhoneRecipe
from .runner_program import runner

PARENT = "/data/local/tmp"  # where adb's shell may write and execute, on every Android
CLEANING = 10.0  # seconds
STEP = 10.0  # seconds of one process under sustained load
POLL = 2.0  # seconds between two looks at the temperature
ENDED = "pocketface-ended"
PROFILE, PROCESS = "profile.csv", "process.id"

Progress = Callable[[str], None]


def measure_on_phone(
    files: Sequence[Path],
    serial: str | None = None,
    tool: Path | None = None,
    folder: Path = Path(),
    recipe: PhoneRecipe | None = None,
    progress: Progress = lambda line: None,
) -> list[Measurement]:
    """Times files on a phone that adb reaches.

    Each round runs every file once, in a process of its own that is pinned to cores, after a rest in which the phone
    cools down; one more process per file measures operators and memory, where the tool can. A file that fails keeps
    its reason and the others go on; when the phone vanishes, what was measured before stays.

    Args:
        files: A file that is not .tflite gets a row with the reason.
        serial: Of the phone; None: the only one.
        tool: LiteRT's benchmark_model for Android; None: our own runner, which was never tried on a phone.
        folder: The run folder, below which rows name their files.
        recipe: Rounds, runs, rests, threads and cores; None: the usual.
        progress: Gets one line per step.

    Returns:
        Rows of runtime "adb benchmark_model", "adb benchmark_model gpu" or "adb runner": latency_ms_mean, _p50 and
        _min, load_ms, first_ms, peak_memory_bytes, operator_ms; low and high are the least and the most of the rounds.
        Where asked for, sustained_latency_ms, _celsius and _mhz, by the seconds that each process took.

    Raises:
        ValueError: No adb, no usable phone, no tool, or more threads or other cores than the phone has.
    """
    recipe = recipe or PhoneRecipe()
    device = chosen_device(serial)
    phone = describe_phone(device)
    program = benchmark_model(tool) if tool else runner(progress)
    if program.abi and phone.abi not in (program.abi, "unknown"):
        raise ValueError(f"our runner is for {program.abi}; this phone is {phone.abi}, which wants --benchmark-model")
    if program.most_threads and max(recipe.threads) > program.most_threads:
        raise ValueError(f"our runner has {program.most_threads} thread; {max(recipe.threads)} want --benchmark-model")
    if program.only_cpu and (others := [name for name in recipe.accelerators if name != "cpu"]):
        raise ValueError(f"our runner has the CPU alone; {', '.join(others)} wants --benchmark-model")
    jobs = [
        PhoneJob(path, f"{number}.tflite", threads, phone.pinned(recipe.cores, threads), accelerator)
        for accelerator in recipe.accelerators
        for threads in recipe.threads
        for number, path in enumerate(files)
    ]
    progress(f"{phone}: {phone.clusters}")
    try:
        with _folder_on(device, progress) as place:
            _push(device, program, jobs, place)
            start = _state(device, jobs[0].cores).celsius if jobs else None
            for number in range(1, recipe.rounds + 1):
                for job in _sound(jobs):
                    progress(f"{phone.model}, round {number} of {recipe.rounds}: {job.name}")
                    _time(device, program, job, place, recipe, start)
            for job in _sound(jobs) if recipe.sustained_seconds else ():
                progress(f"{phone.model}, {recipe.sustained_seconds:g} s without rest: {job.name}")
                _cool_down(device, job.cores, recipe, start)
                _sustain(device, program, job, place, recipe)
            for job in _sound(jobs) if program.profiling else ():
                progress(f"{phone.model}, operators: {job.name}")
                _profile(device, program, job, place, recipe)
    except ValueError as error:  # the phone is gone, or the tool is not on it
        for job in _sound(jobs):
            if len(job.rounds) < recipe.rounds:
                after = f", after {len(job.rounds)} of {recipe.rounds} rounds" if job.rounds else ""
                job.reason = f"{error}{after}"
            elif not (job.operators or job.operators_reason):
                job.operators_reason = str(error)
    mark_slowed(jobs, recipe)
    return [row for job in jobs for row in phone_rows(job, phone, program, folder)]


def files_in(paths: Sequence[Path]) -> list[Path]:
    """Gives the named files, and the .tflite files below the named folders; of a run folder only its artifacts.

    Raises:
        ValueError: There is none.
    """
    # a run folder holds copies elsewhere, for the app
    folders = [path / "artifacts" if (path / "artifacts").is_dir() else path for path in paths]
    files = find_files(folders, (each for each in FORMATS.values() if each.in_litert))
    if not files:
        raise ValueError(f"no .tflite file in {', '.join(map(str, paths))}; `pocketface export` makes some")
    return list(dict.fromkeys(files))


def _sound(jobs: Sequence[PhoneJob]) -> Iterator[PhoneJob]:
    return (job for job in jobs if not job.reason)


@contextmanager
def _folder_on(device: Device, progress: Progress) -> Iterator[str]:
    """Gives a new folder on the device and removes it in the end, if the device still answers."""
    place = f"{PARENT}/pocketface-{secrets.token_hex(6)}"
    answer = device.shell(f"mkdir {place} && chmod 700 {place}")
    if answer.failure:
        raise ValueError(f"nothing can be written to {PARENT} on the phone: {answer.failure}")
    try:
        yield place
    finally:
        try:
            device.shell(f"rm -rf {place}", CLEANING)
        except ValueError as error:
            progress(f"{place} may be left on the phone: {error}")


def _push(device: Device, tool: Tool, jobs: Sequence[PhoneJob], place: str) -> None:
    """Copies the tool and every file to the device; a file that does not get there keeps the reason."""
    device.push(tool.files, place)
    answer = device.shell(f"cd {place} && chmod 755 *")
    if answer.failure:
        raise ValueError(f"{tool.name} cannot be made executable on the phone: {answer.failure}")
    for graph, path in dict.fromkeys((job.graph, job.path) for job in jobs):
        reason = _pushed(device, tool, path, graph, place)
        for job in jobs:
            if job.graph == graph:
                job.reason = reason


def _pushed(device: Device, tool: Tool, path: Path, graph: str, place: str) -> str:
    if not any(each.is_at(path) for each in FORMATS.values() if each.in_litert):
        return f"{tool.name} runs .tflite files; {path.name} is none"
    if not path.is_file():
        return f"no file at {path}"
    with TemporaryDirectory() as folder:  # under a name of ours: a file's own never reaches the device's shell
        plain = Path(folder, graph)
        plain.symlink_to(path.absolute())
        try:
            device.push([plain], place)
        except VanishedError:
            raise
        except ValueError as error:
            return str(error).replace(graph, path.name)
    return ""


def _time(device: Device, tool: Tool, job: PhoneJob, place: str, recipe: PhoneRecipe, start: float | None) -> None:
    """Adds a round to `job`, or the reason why there is none."""
    before = _cool_down(device, job.cores, recipe, start)
    try:
        timed, state = _run(device, tool, job, place, tool.timing(job.graph, _timing(job, recipe)), recipe)
    except VanishedError:
        raise
    except ValueError as error:
        job.reason = str(error)
        return
    job.rounds.append(timed)
    job.before.append(before)
    job.after.append(state)
    if not tool.profiling and timed.peak_memory_bytes is not None:
        job.peak_memory_bytes = max(timed.peak_memory_bytes, job.peak_memory_bytes or 0)


def _sustain(device: Device, tool: Tool, job: PhoneJob, place: str, recipe: PhoneRecipe) -> None:
    """Adds processes without rest between them, until their time is over or one of them fails."""
    began = time.monotonic()
    started = 0.0
    while started < recipe.sustained_seconds:
        limits = _timing(job, recipe)
        least = min(STEP, recipe.sustained_seconds - started, limits.most_seconds)
        command = tool.timing(job.graph, dataclasses.replace(limits, minimum_seconds=least))
        try:
            timed, state = _run(device, tool, job, place, command, recipe)
        except VanishedError:
            raise
        except ValueError as error:
            job.sustained_reason = f"ended after {started:.0f} of {recipe.sustained_seconds:g} s: {error}"
            return
        ended = time.monotonic() - began
        job.sustained.append(SustainedStep(started, ended, timed, state))
        started = ended


def _profile(device: Device, tool: Tool, job: PhoneJob, place: str, recipe: PhoneRecipe) -> None:
    """Adds operators and memory to `job`, measured in a process of its own because measuring them takes time."""
    assert tool.profiling
    try:
        timed, _ = _run(device, tool, job, place, tool.profiling(job.graph, _timing(job, recipe), PROFILE), recipe)
        job.peak_memory_bytes = timed.peak_memory_bytes
        with TemporaryDirectory() as folder:
            fetched = Path(folder, PROFILE)
            device.pull(f"{place}/{PROFILE}", fetched)
            device.shell(f"rm -f {place}/{PROFILE}")  # the next file's is not this one
            if fetched.stat().st_size > LARGEST_PROFILE:
                raise ValueError(f"the profile of {job.path.name} has more than {LARGEST_PROFILE} bytes")
            job.operators = read_profile(fetched.read_text(encoding="utf-8", errors="replace"))
    except VanishedError:
        raise
    except ValueError as error:
        job.operators_reason = str(error)


def _run(
    device: Device, tool: Tool, job: PhoneJob, place: str, command: str, recipe: PhoneRecipe
) -> tuple[PhoneTimes, PhoneState]:
    """Runs a command on the job's cores; gives the times that it printed, and the state of the phone as it ended.

    Raises:
        VanishedError: The phone is gone.
        ValueError: The command failed, took too long (and was ended), or printed no times.
    """
    start = f"cd {place} || exit; taskset {job.mask} {command} & echo $! >{PROCESS}; wait $!; status=$?; rm {PROCESS}"
    patience = 2 * recipe.most_seconds + recipe.patience_seconds  # warming up has a limit like timing's
    try:
        answer = device.shell(f"{start}; echo; echo {ENDED}; {state_command(job.cores)}; exit $status", patience)
        output, ended, state = answer.text.rpartition(f"\n{ENDED}\n")
        if answer.status:
            raise ValueError(Answer(output if ended else state, answer.status).failure)
        return read_timings(output, job.accelerator), _with_battery(device, read_state(state))
    except VanishedError:
        raise
    except ValueError as error:
        device.shell(f"kill -9 $(cat {place}/{PROCESS})")  # one that still runs would disturb the next
        raise ValueError(f"{tool.name} cannot time {job.path.name}: {error}") from None


def _timing(job: PhoneJob, recipe: PhoneRecipe) -> RunLimits:
    limits = recipe.minimum_runs, recipe.minimum_seconds, recipe.most_seconds
    return RunLimits(job.threads, *limits, job.accelerator)


def _cool_down(device: Device, cores: Sequence[int], recipe: PhoneRecipe, start: float | None) -> PhoneState:
    """Waits until the phone is about as cool as at the start, at most `cool_down_seconds`."""
    time.sleep(recipe.rest_seconds)
    end = time.monotonic() + recipe.cool_down_seconds
    state = _state(device, cores)
    while start is not None and (state.celsius or 0) > start + recipe.warmer_by and time.monotonic() < end:
        time.sleep(min(POLL, max(0.0, end - time.monotonic())))
        state = _state(device, cores)
    return state


def _state(device: Device, cores: Sequence[int]) -> PhoneState:
    return _with_battery(device, read_state(device.shell(state_command(cores)).text))


def _with_battery(device: Device, state: PhoneState) -> PhoneState:
    if state.celsius is not None:
        return state
    return dataclasses.replace(state, celsius=read_state(device.shell(battery_command()).text).celsius)
