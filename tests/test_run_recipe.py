"""The recipe of a run: read, resolved, changed, and refused in one sentence."""

import tomllib
from pathlib import Path

import pytest

from pocketface.export.recipe import ExportRecipe
from pocketface.run_recipe import (
    Roots,
    RunRecipe,
    default_recipe,
    read_recipe,
    validated,
    with_ranges_for,
    with_settings,
)


def test_paths_of_a_recipe_start_where_the_options_say(tmp_path: Path) -> None:
    recipe = RunRecipe(embedder="net.py:make", weights=Path("w.safetensors"), train="t", pairs="p.txt")
    resolved = Roots(tmp_path / "r", tmp_path / "f", tmp_path / "w").resolve(recipe)
    assert resolved.embedder == f"{tmp_path / 'r' / 'net.py'}:make"
    assert resolved.weights == tmp_path / "w" / "w.safetensors"
    assert (resolved.train, resolved.pairs) == (str(tmp_path / "f" / "t"), str(tmp_path / "f" / "p.txt"))


def test_paths_of_the_networks_of_a_sweep_start_there_too(tmp_path: Path) -> None:
    swept = {"sweep": {"networks": [{"embedder": "net.py:make", "weights": "w.safetensors"}, {"embedder": "vgg16"}]}}
    resolved = Roots(tmp_path / "r", tmp_path / "f", tmp_path / "w").resolve(with_settings(RunRecipe(), swept))
    assert resolved.sweep is not None
    first, second = resolved.sweep.networks
    assert (first.embedder, first.weights) == (f"{tmp_path / 'r' / 'net.py'}:make", tmp_path / "w" / "w.safetensors")
    assert (second.embedder, second.weights) == ("vgg16", None)


def test_the_example_recipes_can_be_read() -> None:
    for path in sorted((Path(__file__).parents[1] / "examples").glob("lfw_*.toml")):
        assert read_recipe(path).embedder.startswith("published_mobilefacenets.py:")


def test_a_recipe_in_yaml_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("train: t\nprune:\n  remove: 0.5\n")
    (tmp_path / "r.toml").write_text('train = "t"\n[prune]\nremove = 0.5\n')
    assert read_recipe(tmp_path / "r.yaml") == read_recipe(tmp_path / "r.toml")


def test_the_default_prunes_and_exports_to_every_target() -> None:
    recipe = default_recipe()
    assert recipe.prune is not None and recipe.prune.criterion == "gauss-newton"
    assert len(recipe.export.targets) == 9


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert message.startswith(f"{path}") and "\n" not in message and len(message) < 700
    return message.removeprefix(f"{path}").removeprefix(": ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[prune]\nremov = 0.3", "there is no 'prune.remov'; did you mean 'remove'?"),
        ("trian = 'x'", "there is no 'trian'; did you mean 'train'?"),
        ("[benchmark]\nx = 1", "there is no 'benchmark.x'; known: arm64, arm64_pairs, arm64_runtimes,"),
        ("[prune]\ncriterion = 'gaus-newton'", "prune.criterion = 'gaus-newton': there is no such value; known: gauss"),
        ("[prune]\nschedule = 'epok'", "known: iterative, epoch, one-shot; did you mean 'epoch'?"),
        ("[export]\ntargets = ['tflite-w8a']", "did you mean 'tflite-w8a8'?"),
        ("compare = ['onx']", "did you mean 'onnx'?"),
        ("[benchmark]\nruntimes = ['litrt']", "did you mean 'litert'?"),
        ("[benchmark]\narm64 = ['a54']", "no core 'a54' to emulate; known: a53, a55, a76, i8mm; did you mean 'a55'?"),
        ("[benchmark]\nthreads = [0]", "benchmark.threads.0 = 0: it must be greater than or equal to 1"),
        ("[benchmark]\nthreads = [100000]", "it must be less than or equal to 256"),
        ("[benchmark]\nthreads = [2, 1, 2]", "benchmark.threads = [2, 1, 2]: 2 is named more than once"),
        ("[benchmark]\nthreads = 2", "benchmark.threads = 2: it must be a list"),
        ("[benchmark]\nminimum_runs = 1000000000000", "it must be less than or equal to 1000000"),
        ("[benchmark]\nminimum_seconds = 1e308", "it must be less than or equal to 3600"),
        ("[benchmark]\nminimum_seconds = inf", "it must be a finite number"),
        ("prune = 3", "prune = 3: it must be a table"),
        ("contract = 3", "contract = 3: it must be a table"),
        ("[contract]\nscael = 1", "input contract has no 'scael'; known: "),
        ("[contract]\nmean = 'abc'", "mean needs three numbers, not 'abc'"),
        ("[contract]\nmean = [[1, 2, 3]]", "mean needs three numbers, not [[1, 2, 3]]"),
        ("[contract]\nheight = [112]", "height and width need whole numbers, not [112] and 112"),
        ("[contract]\nwidth = 112.5", "height and width need whole numbers, not 112 and 112.5"),
        ("[contract]\nchannel_order = 'rbg'", "no channel order 'rbg'; known: bgr, gray, rgb"),
        ("[contract]\nheight = 160", "network is fed is stated in part (height); mean and scale must be too"),
        ("[contract]\nmean = [0, 0, 0]", "network is fed is stated in part (mean); scale must be too"),
        ("[contract]\ntemplate = [1]", "no landmark template [1]; known: arcface"),
        ("prune = {", " is no TOML or YAML: "),
        ("options = " + "[" * 20_000, "tables and lists are nested too deeply"),
        ("options = " + "{a = " * 25 + "1" + "}" * 25, "tables and lists are nested too deeply; 20 levels are read"),
    ],
)
def test_a_mistake_in_toml_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path / "recipe.toml", text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "a recipe is a table of keys and values, not ['a', 'b']"),
        ("options: {a: null}\n", "options = {'a': None}: this cannot be written as TOML: "),
        ("options: {a: 2020-99-99}\n", " is no TOML or YAML: month must be in 1..12"),
        ("options: {a: &x [1], b: *x}\n", " is no TOML or YAML: an alias is not read; write its value out"),
        ("options: " + "[" * 5000, "tables and lists are nested too deeply"),
    ],
)
def test_a_mistake_in_yaml_is_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path / "recipe.yaml", text)


def test_a_file_that_is_far_too_large_is_not_parsed(tmp_path: Path) -> None:
    said = refusal(tmp_path / "recipe.toml", "#" * (1 << 20) + "#")
    assert said == " has 1,048,577 bytes; a recipe has at most 1,048,576"


def test_an_empty_file_is_the_recipe_of_defaults(tmp_path: Path) -> None:
    for name in ("r.yaml", "r.toml"):
        (tmp_path / name).write_text("")
        assert read_recipe(str(tmp_path / name)) == RunRecipe()


def test_settings_change_single_fields_and_leave_the_rest_unnamed() -> None:
    recipe = with_settings(default_recipe(), {"benchmark": {"rounds": 3}, "prune": {"target": 700_000}, "name": "net"})
    assert (recipe.benchmark.rounds, recipe.benchmark.minimum_runs) == (3, 100)
    assert recipe.prune is not None and (recipe.prune.target, recipe.prune.steps) == (700_000, 2)
    assert recipe.name == "net" and "ranges" not in recipe.export.model_fields_set
    assert with_settings(default_recipe(), {}) == default_recipe()
    contract = with_settings(
        RunRecipe(contract={"mean": [1, 2, 3], "scale": [1, 1, 1]}), {"contract": {"height": 64}}
    ).contract
    assert contract is not None and (contract["mean"], contract["height"]) == ((1, 2, 3), 64)


def test_a_setting_that_no_recipe_has() -> None:
    with pytest.raises(ValueError, match=r"there is no 'prune\.remov'; did you mean 'remove'"):
        with_settings(default_recipe(), {"prune": {"remov": 1}})
    with pytest.raises(ValueError, match="there is no 'prun'; did you mean 'prune'"):
        with_settings(default_recipe(), {"prun": {"remove": 1}})


def test_ranges_suit_the_faces_unless_the_recipe_names_some() -> None:
    assert with_ranges_for(ExportRecipe(), "synthetic").ranges == "minmax"
    assert with_ranges_for(ExportRecipe(), "train112").ranges == "mse"
    assert with_ranges_for(ExportRecipe(ranges="mse"), "train112").ranges == "mse"


def test_faces_may_lie_in_several_places(tmp_path: Path) -> None:
    recipe = validated(RunRecipe, {"train": ["a", "b"]})
    resolved = Roots(tmp_path).resolve(recipe)
    assert resolved.train == (str(tmp_path / "a"), str(tmp_path / "b")) and resolved.train_name == "a + b"
    assert validated(RunRecipe, tomllib.loads(resolved.to_toml())) == resolved
    assert validated(RunRecipe, {"train": ["a"]}).train == "a"
    for places, sentence in ((["a", "synthetic"], "do not mix with others"), ([], "name a folder of faces")):
        with pytest.raises(ValueError, match=sentence):
            validated(RunRecipe, {"train": places})
