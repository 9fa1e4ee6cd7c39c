"""Batch norms in one process and in two, which this file starts with itself as their script."""

import copy
import sys
from pathlib import Path
from subprocess import Popen

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from pocketface.models.batch_norm import fit_fresh_norms, reestimate_batch_norms, synchronised


class NormAndReLU(nn.BatchNorm2d):
    """A batch norm that does more, as timm has them."""

    def forward(self, x):
        return F.relu(super().forward(x))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, momentum=0.3),
        nn.Conv2d(4, 6, 3),
        NormAndReLU(6, momentum=None),
        nn.Flatten(),
        nn.BatchNorm1d(6 * 4 * 4, affine=False),
        nn.Linear(6 * 4 * 4, 5),
        nn.BatchNorm1d(5, track_running_stats=False),
    )


def batches():
    """Three batches of 8, whose halves differ in mean and variance."""
    generator = torch.Generator().manual_seed(1)
    scale = torch.linspace(0.1, 3, 8)[:, None, None, None]
    return [5 * scale + scale * torch.randn(8, 3, 8, 8, generator=generator) for _ in range(3)]


def test_a_fresh_norm_gets_statistics_and_undoes_them():
    norm = nn.BatchNorm2d(1)
    norm.weight.data.fill_(2 * (1 + norm.eps) ** 0.5)  # so that x becomes 2 x + 1
    norm.bias.data.fill_(1)
    x = torch.tensor([0.0, 4.0]).reshape(2, 1, 1, 1)
    assert fit_fresh_norms(norm, [x]) == 1
    assert (norm.running_mean.item(), norm.running_var.item()) == (2, 4)
    assert norm.weight.item() == pytest.approx(4, abs=1e-4)  # 2 x + 1 = 4 (x - 2) / 2 + 5
    assert norm.bias.item() == pytest.approx(5, abs=1e-4)
    assert norm(x).flatten().tolist() == pytest.approx([1, 9], abs=1e-5)
    assert fit_fresh_norms(norm, [x + 1]) == 0  # it is fresh no more


def run(net, parts, share):
    """Runs every batch forward and backward: the outputs. The loss is `share` times the sum over the batch."""
    outputs = []
    for x in parts:
        outputs.append(net(x))
        (share * (outputs[-1] - 1).pow(2)[:, :3].sum()).backward()
    return torch.stack([output.detach() for output in outputs])


def work(rank, folder):
    """What each of the two processes does: the first has 5 crops of each batch, the second 3."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    net = network()
    mine = [batch[:5] if rank == 0 else batch[5:] for batch in batches()]
    with synchronised(net):
        outputs = run(nn.parallel.DistributedDataParallel(net), mine, share=2)  # it averages over 2 processes
        if rank == 0:
            net[:6].eval()(batches()[0])  # would wait for the other process for ever
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    patched = [name for name, module in net.named_modules() if "forward" in vars(module)]
    torch.save((outputs, gradients, net.state_dict(), patched), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What the two processes saved."""
    folder = tmp_path_factory.mktemp("two")
    processes = [Popen([sys.executable, __file__, str(rank), str(folder)]) for rank in range(2)]
    try:
        assert [process.wait(120) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_outputs_of_two_processes_are_those_of_the_whole_batch(both):
    close(torch.cat([both[0][0], both[1][0]], dim=1), run(network(), batches(), share=1))


@pytest.mark.parametrize("rank", [0, 1])
def test_gradients_and_running_statistics_of_two_processes_are_those_of_the_whole_batch(both, rank):
    net = network()
    run(net, batches(), share=1)
    _, gradients, state, _ = both[rank]
    largest = max(float(parameter.grad.abs().max()) for parameter in net.parameters())
    assert largest > 1
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-5, atol=1e-5 * largest, msg=name)
    assert state.keys() == net.state_dict().keys()
    for name, value in net.state_dict().items():
        close(state[name], value)
    assert int(state["1.num_batches_tracked"]) == 3


def test_parts_alone_would_give_other_outputs(both):
    assert (run(network(), [batch[:5] for batch in batches()], share=1) - both[0][0]).abs().max() > 0.1


def test_nothing_is_left_behind(both):
    assert both[0][3] == both[1][3] == []


def test_a_single_process_is_left_as_it_is_bit_by_bit():
    plain, inside = network(), network()
    expected = run(plain, batches(), share=1)
    with synchronised(inside):
        assert not any("forward" in vars(module) for module in inside.modules())
        got = run(inside, batches(), share=1)
    assert torch.equal(got, expected)
    assert all(
        torch.equal(one, other)
        for one, other in zip(plain.state_dict().values(), inside.state_dict().values(), strict=True)
    )


def test_a_group_of_one_process_changes_nothing(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        net = network()
        with synchronised(net):
            assert not any("forward" in vars(module) for module in net.modules())
    finally:
        dist.destroy_process_group()


# Statistics taken anew


def test_reestimated_statistics_are_averages_over_the_batches():
    net = nn.Sequential(nn.BatchNorm2d(1, momentum=0.5), nn.Dropout())
    net.train()
    first, second = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1), torch.tensor([6.0, 10.0]).view(2, 1, 1, 1)
    reestimate_batch_norms(net, [first, second])
    assert net[0].running_mean.tolist() == [5.0]  # of 2 and 8
    assert net[0].running_var.tolist() == [5.0]  # of 2 and 8, unbiased
    assert (net[0].momentum, net.training, net[1].training) == (0.5, True, True)


def test_reestimating_from_nothing_is_told():
    net = nn.Sequential(nn.BatchNorm2d(1))
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="from no batch at all"):
        reestimate_batch_norms(net, [])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


if __name__ == "__main__":
    torch.set_num_threads(1)
    work(int(sys.argv[1]), Path(sys.argv[2]))
