"""Recipes that mean something, and those that do not."""

import subprocess
import sys
from typing import get_args

import pytest
from pydantic import ValidationError

from pocketface.prune.criteria.importance import CRITERIA
from pocketface.prune.recipe import CriterionName, PruneRecipe, ScheduleName, SignalName
from pocketface.prune.schedules import SCHEDULES
from pocketface.prune.training.classifier_heads import LOSSES


def test_the_default_removes_three_tenths_of_the_parameters():
    assert PruneRecipe().remaining(1000) == pytest.approx(700)


def test_a_target_counts_instead_of_a_share():
    assert PruneRecipe(target=640).remaining(1000) == 640


@pytest.mark.parametrize(
    "wrong",
    [
        {"remove": 1.0},
        {"remove": -0.1},
        {"remove": float("nan")},
        {"learning_rate": float("inf")},
        {"steps": 0},
        {"criterion": "magic"},
        {"removal": 0.3},
        {"target": 0},
        {"by": "score"},
        {"by": "macs", "cost": "measured"},
        {"signal": "triplet"},
        {"schedule": "twice"},
    ],
)
def test_a_recipe_that_means_nothing_is_refused(wrong):
    with pytest.raises(ValidationError):
        PruneRecipe(**wrong)


def test_reading_a_recipe_does_not_load_torch():
    code = "import sys, pocketface.prune.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_names_of_a_recipe_are_the_keys_of_the_tables():
    assert set(get_args(CriterionName)) == CRITERIA.keys()
    assert set(get_args(ScheduleName)) == SCHEDULES.keys()
    assert set(get_args(SignalName)) == {"distillation", *LOSSES}
