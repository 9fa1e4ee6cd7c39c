"""The phases of each schedule, written out."""

from pocketface.prune.recipe import PruneRecipe
from pocketface.prune.schedules import Phase, epoch, iterative, one_shot

RECIPE = PruneRecipe(steps=2, epochs=20, epochs_between=3)


def test_iterative_cuts_in_even_steps_and_trains_longest_at_the_end():
    assert iterative(RECIPE) == [Phase(0.5, 3), Phase(1.0, 20)]


def test_epoch_scores_while_it_trains_and_cuts_afterwards():
    assert epoch(RECIPE) == [Phase(0.0, 1, scored=True), Phase(0.5, 1, scored=True), Phase(1.0, 20)]


def test_one_shot_checks_after_a_twentieth_of_the_epochs():
    assert one_shot(RECIPE) == [Phase(1.0, 1, check=True), Phase(0.0, 20)]


def test_every_schedule_trains_first_if_the_recipe_says_so():
    recipe = RECIPE.model_copy(update={"epochs_before": 2})
    assert {schedule(recipe)[0] for schedule in (iterative, epoch, one_shot)} == {Phase(0.0, 2)}
