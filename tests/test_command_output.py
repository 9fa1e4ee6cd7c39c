"""How much a command says, and where: progress, the result for people, the result as JSON, and mistakes."""

import json
import os
import sys
from collections.abc import Callable

import pytest
import typer

from pocketface import command_line as cli
from pocketface.command_output import CommandResult, say

app = typer.Typer()


@app.callback()
def callback() -> None:
    """So that Typer asks for the command."""


@app.command()
@cli.with_options
def weigh(name: str, *, broken: bool = False, code: int = 0) -> CommandResult:
    say("looking")
    os.write(1, b"native code\n")
    failure = "it is too heavy" * broken
    return CommandResult(["file  MB", f"{name}    3"], {"file": name, "mb": 3}, ["took 1 s"], code, failure)


@app.command()
@cli.with_options
def plain(name: str) -> None:
    say(name)


@app.command()
@cli.with_options
def planned() -> CommandResult | None:
    say("nothing is made")
    return None


Ran = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ran(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Gives the exit code of a command, and what it printed on standard output and error."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pocketface", *words])
        with pytest.raises(SystemExit) as ended:
            cli.guarded(app)
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


TABLE = "file  MB\nnet    3\n"


def test_progress_comes_before_the_result(ran: Ran) -> None:
    assert ran("weigh", "net") == (0, f"looking\nnative code\n{TABLE}", "")


def test_quiet_leaves_the_result(ran: Ran) -> None:
    for option in ("-q", "--quiet"):
        assert ran("weigh", "net", option) == (0, f"native code\n{TABLE}", "")
    assert ran("plain", "spoken again")[1] == "spoken again\n"


def test_verbose_adds_the_details(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TF_CPP_MIN_LOG_LEVEL", "OPENCV_LOG_LEVEL", "PYTHONWARNINGS"):
        monkeypatch.setenv(name, "2")
    assert ran("weigh", "net", "-v") == (0, f"looking\nnative code\ntook 1 s\n{TABLE}", "")
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_json_has_standard_output_for_itself(ran: Ran) -> None:
    code, out, err = ran("weigh", "net", "--json")
    assert (code, json.loads(out), err) == (0, {"file": "net", "mb": 3}, f"looking\nnative code\n{TABLE}")
    code, out, err = ran("weigh", "net", "--json", "-q")
    assert (code, json.loads(out), err) == (0, {"file": "net", "mb": 3}, "native code\n")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_result_that_is_a_failure_is_shown_and_is_a_mistake_too(ran: Ran, options: tuple[str, ...]) -> None:
    code, out, err = ran("weigh", "net", "--broken", *options)
    assert code == 2 and err.endswith("pocketface: it is too heavy\n")
    assert (json.loads(out)["mb"] == 3) if options else out.endswith(TABLE)


def test_a_result_has_an_exit_code(ran: Ran) -> None:
    assert ran("weigh", "net", "--code", "1")[:2] == (1, f"looking\nnative code\n{TABLE}")


def test_quiet_and_verbose_contradict_each_other(ran: Ran) -> None:
    sentence = "pocketface: --quiet and --verbose contradict each other; give one of them\n"
    assert ran("weigh", "net", "-q", "-v") == (2, "", sentence)


def test_a_command_without_a_result_has_none_of_the_options(ran: Ran) -> None:
    assert ran("planned", "--json") == (0, "", "nothing is made\n")
    code, _, err = ran("plain", "net", "--json")
    assert code == 2 and "No such option" in err
