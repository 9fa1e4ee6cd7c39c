"""The stage as a whole, on networks of 16 channels and faces of 16x16."""

import numpy as np
import pytest
import torch

from pocketface.faces.folders import LabelledFaces
from pocketface.models.complexity import macs, parameters
from pocketface.models.widths import widths_of
from pocketface.prune import pruner
from pocketface.prune.pruner import prune
from pocketface.prune.recipe import PruneRecipe
from pocketface.prune.training import trainer as training
from pocketface.prune.training.resumption import TrainingState

QUICK = PruneRecipe(steps=2, epochs=4, epochs_between=2, batch_size=16, variants=2, images=48, learning_rate=1e-3)

FINE = QUICK.model_copy(update={"round_to": 2, "least_width": 2})


def silent(line):
    pass


def same_bits(left, right):
    mine, other = left.backbone.state_dict(), right.backbone.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[key], other[key]) for key in mine)


def test_removing_nothing_gives_the_same_embedder(tiny, faces):
    untouched = prune(tiny, faces, PruneRecipe(remove=0.0), silent)
    assert same_bits(untouched, tiny) and untouched.name == "tiny"


def test_the_target_is_met_and_the_given_embedder_stays_as_it_is(tiny, faces):
    before = {key: tensor.clone() for key, tensor in tiny.backbone.state_dict().items()}
    pruned = prune(tiny, faces, QUICK, silent)
    assert parameters(pruned.backbone) <= 0.7 * parameters(tiny.backbone)
    assert all(torch.equal(before[key], tensor) for key, tensor in tiny.backbone.state_dict().items())
    assert pruned.embed(faces.faces).shape == (48, 8)


def test_the_ancestry_says_what_was_done(tiny, faces):
    pruned = prune(tiny, faces, QUICK, silent)
    (entry,) = pruned.ancestry
    assert entry["stage"] == "prune" and entry["recipe"]["remove"] == 0.3
    assert entry["parameters"] == [parameters(tiny.backbone), parameters(pruned.backbone)]
    assert entry["macs"] == [macs(tiny), macs(pruned)]
    assert entry["widths"]["stem.0"] == [[3, 16, 1], widths_of(pruned.backbone)["stem.0"]]
    assert pruned.name == f"tiny-pruned-{parameters(pruned.backbone) / 1e6:.2f}M"


@pytest.mark.parametrize("by", ["parameters", "macs", "filters"])
def test_each_measure_can_be_the_target(tiny, faces, by):
    recipe = QUICK.model_copy(update={"by": by, "remove": 0.2, "epochs": 0.0, "epochs_between": 0.0})
    before, after = prune(tiny, faces, recipe, silent).ancestry[-1][by]
    assert after <= 0.8 * before


def test_recovery_lowers_the_loss(tiny, faces):
    recipe = QUICK.model_copy(update={"steps": 1, "epochs": 20.0})
    (last,) = prune(tiny, faces, recipe, silent).ancestry[-1]["phases"]
    assert last["loss_last"] < 0.5 * last["loss_first"]


def test_taylor_prunes_the_stage_through(tiny, faces):
    pruned = prune(tiny, faces, QUICK.model_copy(update={"criterion": "taylor", "cost": "filters"}), silent)
    assert parameters(pruned.backbone) <= 0.7 * parameters(tiny.backbone)


@pytest.mark.parametrize("lines_heard", [1, 2, 4, 6, 9])
@pytest.mark.parametrize("more", [{}, {"schedule": "epoch", "criterion": "taylor", "signal": "arcface"}])
def test_a_killed_prune_that_is_resumed_ends_with_the_same_bits(tiny, faces, tmp_path, monkeypatch, lines_heard, more):
    recipe = QUICK.model_copy(update=more)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_SAVES", 0.0)  # after every batch, not only every half minute
    heard = []

    def killer(line):
        heard.append(line)
        if len(heard) == lines_heard:
            raise KeyboardInterrupt

    expected = prune(tiny, faces, recipe, silent)
    with pytest.raises(KeyboardInterrupt):
        prune(tiny, faces, recipe, killer, resume=tmp_path)
    resumed = prune(tiny, faces, recipe, silent, resume=tmp_path)
    assert same_bits(resumed, expected)
    assert resumed.ancestry == expected.ancestry


def test_a_finished_prune_is_not_done_again(tiny, faces, tmp_path):
    first = prune(tiny, faces, QUICK, silent, resume=tmp_path)
    heard = []
    assert same_bits(prune(tiny, faces, QUICK, heard.append, resume=tmp_path), first)
    assert heard == []


def test_an_impossible_target_names_the_most_that_fits(tiny, faces):
    with pytest.raises(ValueError, match=r"the most that can be removed is 0\.\d\d\d"):
        prune(tiny, faces, QUICK.model_copy(update={"remove": 0.99}), silent)


def test_faces_of_another_size_are_refused(tiny):
    with pytest.raises(ValueError, match="the embedder expects 16x16"):
        prune(tiny, LabelledFaces(np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, int), ("a",), ""), QUICK, silent)


def test_the_control_trains_as_long_and_cuts_nothing(tiny, faces):
    pruned, control = (
        prune(tiny, faces, QUICK.model_copy(update={"control": control}), silent) for control in (False, True)
    )
    assert widths_of(control.backbone) == widths_of(tiny.backbone) and control.name == "tiny-control"
    batches = [[phase["batches"] for phase in net.ancestry[-1]["phases"]] for net in (pruned, control)]
    assert batches == [[6, 12], [6, 12]]  # 2 and 4 epochs of 48 faces, 16 at a time


def test_the_epoch_schedule_trains_an_epoch_before_each_cut(tiny, faces):
    recipe = FINE.model_copy(update={"schedule": "epoch", "criterion": "taylor", "signal": "softmax"})
    phases = prune(tiny, faces, recipe, silent).ancestry[-1]["phases"]
    assert [phase["batches"] for phase in phases] == [3, 3, 12]
    parameters_left = [phase["parameters"] for phase in phases]
    assert parameters_left[0] == parameters(tiny.backbone) > parameters_left[1] > parameters_left[2]


def test_the_one_shot_schedule_cuts_once(tiny, faces):
    recipe = QUICK.model_copy(update={"schedule": "one-shot", "epochs_before": 1.0, "epochs": 20.0})
    phases = prune(tiny, faces, recipe, silent).ancestry[-1]["phases"]
    assert [phase["epochs"] for phase in phases] == [1, 1, 20]  # train, cut and check, retrain
    assert phases[0]["parameters"] == parameters(tiny.backbone) > phases[1]["parameters"] == phases[2]["parameters"]


def test_what_does_not_converge_is_cut_less(tiny, faces, monkeypatch):
    recipe = FINE.model_copy(update={"schedule": "one-shot", "epochs": 20.0, "remove": 0.4})
    verdicts, heard = iter([False, False, True]), []
    monkeypatch.setattr(pruner, "loss_fell", lambda state: next(verdicts))
    before, after = prune(tiny, faces, recipe, heard.append).ancestry[-1]["parameters"]
    assert 0.85 < after / before <= 0.9  # of 40 % a quarter
    assert [line for line in heard if "does not converge" in line] == [
        "the cut network does not converge: trying 50% of what should go",
        "the cut network does not converge: trying 25% of what should go",
    ]


def test_a_loss_that_falls_converges():
    def after(first, last):
        return TrainingState(None, notes=[{"batches": 5, "loss_first": first, "loss_last": last}])

    assert pruner.loss_fell(after(2.0, 1.9)) and not pruner.loss_fell(after(2.0, 2.1))


def test_a_cut_that_costs_too_much_is_undone(tiny, faces):
    recipe = FINE.model_copy(update={"steps": 3, "remove": 0.5, "most_lost": 5.0})
    accuracies = iter([0.99, 0.97, 0.93, 0.96])  # unpruned, then after each phase
    pruned = prune(tiny, faces, recipe, silent, judge=lambda embedder: next(accuracies))
    phases = pruned.ancestry[-1]["phases"]
    assert [phase.get("undone", False) for phase in phases] == [False, True, False]
    assert phases[2]["parameters"] == phases[0]["parameters"] == parameters(pruned.backbone) > phases[1]["parameters"]
    assert [phase["accuracy"] for phase in phases] == [0.97, 0.93, 0.96]


def test_a_guard_without_a_judge_is_refused(tiny, faces):
    with pytest.raises(ValueError, match="nobody to judge by"):
        prune(tiny, faces, QUICK.model_copy(update={"most_lost": 1.0}), silent)


def test_milliseconds_without_a_table_are_refused(tiny, faces):
    with pytest.raises(ValueError, match="needs a table of measured costs in milliseconds"):
        prune(tiny, faces, PruneRecipe(by="milliseconds"), silent)


def test_a_pruned_embedder_can_learn_from_the_one_before_it(tiny, faces):
    once = prune(tiny, faces, FINE, silent)
    again = prune(once, faces, FINE, silent, teacher=tiny)
    assert not same_bits(again, prune(once, faces, FINE, silent))
    assert [entry["stage"] for entry in again.ancestry] == ["prune", "prune"]
