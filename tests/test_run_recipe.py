"""The recipe of a run: read, resolved, changed, and refused in one sentence."""

from pathlib import Path

from pocketface.run_recipe import Roots, RunRecipe, default_recipe, read_recipe


def test_paths_of_a_recipe_start_where_the_options_say(tmp_path: Path) -> None:
    recipe = RunRecipe(embedder="net.py:make", weights=Path("w.safetensors"), train="t", pairs="p.txt")
    resolved = Roots(tmp_path / "r", tmp_path / "f", tmp_path / "w").resolve(recipe)
    assert resolved.embedder == f"{tmp_path / 'r' / 'net.py'}:make"
    assert resolved.weights == tmp_path / "w" / "w.safetensors"
    assert (resolved.train, resolved.pairs) == (str(tmp_path / "f" / "t"), str(tmp_path / "f" / "p.txt"))


def test_the_example_recipes_can_be_read() -> None:
    for path in sorted((Path(__file__).parents[1] / "examples").glob("*.toml")):
        assert read_recipe(path).embedder.startswith("published_mobilefacenets.py:")


def test_a_recipe_in_yaml_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("train: t\nprune:\n  remove: 0.5\n")
    (tmp_path / "r.toml").write_text('train = "t"\n[prune]\nremove = 0.5\n')
    assert read_recipe(tmp_path / "r.yaml") == read_recipe(tmp_path / "r.toml")


def test_the_default_prunes_and_exports_to_every_target() -> None:
    recipe = default_recipe()
    assert recipe.prune is not None and recipe.prune.criterion == "gauss-newton"
    assert len(recipe.export.targets) == 9
