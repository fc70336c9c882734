"""Another border for a trained network: worked by hand on small maps, and against networks that were built so."""

from __future__ import annotations

import itertools
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from evofool import networks
from evofool.errors import ClassifierError, UserError
from evofool.padding import Bordered, outside, swapped
from evofool.rng import untouched

MODES = ("zeros", "reflect", "replicate", "circular")
NINE = torch.arange(1.0, 10.0).view(1, 1, 3, 3)  # 1 2 3 / 4 5 6 / 7 8 9
PAD = {
    "zeros": nn.ZeroPad2d,
    "reflect": nn.ReflectionPad2d,
    "replicate": nn.ReplicationPad2d,
    "circular": nn.CircularPad2d,
}


@pytest.fixture(autouse=True)
def layers_draw_by_themselves():
    """PyTorch draws the first weights of a layer from the global generator; no test looks at them."""
    with untouched():
        yield


def ones(kernel=3, **more):
    """A convolution that adds up what it sees."""
    layer = nn.Conv2d(1, 1, kernel, bias=False, **{"padding": 1, **more})
    nn.init.ones_(layer.weight)
    return layer


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def fresh(*layers, seed=0):
    """Layers in a row, with weights of their own."""
    net = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return net.eval()


def names(layers):
    return [layer.name for layer in layers]


# By hand --------------------------------------------------------------------------------------------------------------

SUMS = {"zeros": (12, 21), "reflect": (33, 36), "replicate": (21, 27), "circular": (45, 45)}  # corner, top middle


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("built", MODES)
def test_one_convolution_by_hand(built, mode):
    found = swapped(nn.Sequential(ones(padding_mode=built)), mode, (1, 3, 3))
    sums = found.module(NINE)
    assert (sums[0, 0, 0, 0], sums[0, 0, 0, 1], sums[0, 0, 1, 1]) == (*SUMS[mode], 45)
    (layer,) = found.kept if built == mode else found.changed
    assert layer == ("0", "Conv2d 3 x 3, padding 1", "")
    assert len(found.changed + found.kept + found.skipped) == 1


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("mode", "last"), [("zeros", 3), ("reflect", 5), ("replicate", 6), ("circular", 4)])
def test_an_even_kernel_with_padding_same_pads_more_behind(mode, last):
    row = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    sums = swapped(ones((1, 2), padding="same"), mode, (1, 1, 3)).module(row)
    assert sums.flatten().tolist() == [3, 5, last]


def test_padding_set_after_the_layer_was_made_is_the_one_that_counts():
    layer = ones(padding=0)
    layer.padding = (1, 1)
    sums = swapped(nn.Sequential(layer), "circular", (1, 3, 3)).module(NINE)
    assert sums.tolist() == torch.full((1, 1, 3, 3), 45.0).tolist()


@pytest.mark.parametrize("mode", MODES)
def test_average_pooling_by_hand(mode):
    counted, uncounted = (
        swapped(nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=count)), mode, (1, 3, 3))
        for count in (True, False)
    )
    corner = counted.module(NINE)[0, 0, 0, 0]
    assert corner == pytest.approx(SUMS[mode][0] / 9)
    # Left as it is under "zeros": the mean over what there is.
    assert uncounted.module(NINE)[0, 0, 0, 0] == pytest.approx(3 if mode == "zeros" else SUMS[mode][0] / 9)
    assert names(counted.kept if mode == "zeros" else counted.changed) == ["0"]


@pytest.mark.parametrize("mode", MODES)
def test_max_pooling_never_sees_a_zero(mode):
    assert swapped(nn.Sequential(nn.MaxPool2d(3, 1, 1)), mode, (1, 3, 3)).module(-NINE).max() == -1


def test_max_pooling_by_hand():
    pooled = swapped(nn.MaxPool2d(3, 1, 1), "circular", (1, 3, 3))
    assert pooled.module(NINE).unique().tolist() == [9]
    assert swapped(nn.MaxPool2d(3, 1, 1), "reflect", (1, 3, 3)).module(NINE)[0, 0, 0, 0] == 5
    assert pooled.changed == (("MaxPool2d", "MaxPool2d 3 x 3, padding 1", ""),)


@pytest.mark.parametrize(
    ("mode", "means"),
    [("zeros", (4.5, 9)), ("reflect", (4, 7)), ("replicate", (4.5, 9)), ("circular", (3.5, 5))],
)
def test_windows_that_reach_over_the_border_by_ceil_mode_see_what_is_there(mode, means):
    found = swapped(nn.AvgPool2d(2, 2, ceil_mode=True), mode, (1, 3, 3))
    pooled = found.module(NINE)
    assert (pooled[0, 0, 0, 1], pooled[0, 0, 1, 1]) == means
    assert found.changed[:1] == (
        () if mode == "zeros" else (("AvgPool2d", "AvgPool2d 2 x 2, padding 0, ceil_mode", ""),)
    )


def windows(x, like, kernel, stride, padding, dilation, reduce):
    """Pooling in plain loops over a map that goes on for ever as "replicate" says; as large as `like`."""
    far = 12
    wide = functional.pad(x, (far, far, far, far), mode="replicate")
    out = torch.empty_like(like)
    for row, column in itertools.product(range(like.shape[2]), range(like.shape[3])):
        tops = [far + row * stride - padding + dilation * step for step in range(kernel)]
        lefts = [far + column * stride - padding + dilation * step for step in range(kernel)]
        out[:, :, row, column] = reduce(wide[:, :, tops][:, :, :, lefts].flatten(2))
    return out


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [
    (3, 2, 1, 1), (3, 2, 0, 1), (2, 2, 1, 1), (3, 1, 1, 1), (5, 3, 2, 1), (2, 3, 1, 1), (3, 2, 1, 2), (4, 3, 2, 1),
])  # fmt: skip
def test_pools_of_every_geometry_agree_with_plain_loops(kernel, stride, padding, dilation, ceil_mode):
    for height, width in [(5, 6), (7, 8), (9, 10), (11, 13)]:
        x = drawn(2, 3, height, width) - 0.5
        pools = [(nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode), lambda w: w.amax(-1))]
        if dilation == 1:
            pools.append((nn.AvgPool2d(kernel, stride, padding, ceil_mode), lambda w: w.mean(-1)))
        for pool, reduce in pools:
            expected = windows(x, pool(x), kernel, stride, padding, dilation, reduce)
            found = swapped(nn.Sequential(pool), "replicate", (3, height, width)).module(x)
            torch.testing.assert_close(found, expected)


# Against networks that were built so ----------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["small_cnn", "judge_cnn"])
@pytest.mark.parametrize(("built", "mode"), list(itertools.product(MODES, MODES)))
def test_a_swap_is_bit_equal_to_the_network_built_with_the_mode(built, mode, architecture):
    arguments = {"in_channels": 3, "classes": 4, "size": (16, 12), "width": 6}
    nets = {
        padding: networks.initialise(
            networks.build(architecture, {**arguments, "padding": padding}), torch.Generator().manual_seed(1)
        ).eval()
        for padding in (built, mode)
    }
    x = drawn(5, 3, 16, 12)
    found = swapped(nets[built], mode, (3, 16, 12))
    assert torch.equal(found.module(x), nets[mode](x))
    assert torch.equal(found.module(x), nets[built](x)) == (built == mode)
    assert len(found.kept if built == mode else found.changed) == (2 if architecture == "small_cnn" else 4)
    assert found.skipped == ()


@pytest.mark.parametrize("mode", MODES[1:])
def test_what_is_far_from_the_border_stays_the_same(mode):
    net = fresh(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1))
    x = drawn(2, 1, 12, 12) + 1
    before, after = net(x), swapped(net, mode, (1, 12, 12)).module(x)
    assert torch.allclose(before[:, :, 2:-2, 2:-2], after[:, :, 2:-2, 2:-2], atol=1e-5)
    for ring in (0, 1):
        assert not torch.allclose(before[:, :, ring, 3:-3], after[:, :, ring, 3:-3], atol=1e-3)


def test_going_round_makes_a_network_blind_to_shifts():
    net = fresh(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(3, 1, 1), nn.Conv2d(4, 2, 3, padding="same"),
                nn.MaxPool2d(3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # fmt: skip
    x = drawn(2, 1, 8, 8)
    round_ = swapped(net, "circular", (1, 8, 8))
    shifted = x.roll((3, 5), (2, 3))
    assert names(round_.changed) == ["0", "2", "3", "4"]
    torch.testing.assert_close(round_.module(x), round_.module(shifted))
    assert not torch.allclose(net(x), net(shifted), atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("built", MODES)
def test_layers_that_only_pad(built, mode):
    found = swapped(nn.Sequential(PAD[built]((1, 2, 0, 1))), mode, (1, 3, 3))
    assert torch.equal(found.module(NINE), PAD[mode]((1, 2, 0, 1))(NINE))
    assert names(found.kept if built == mode else found.changed) == ["0"]


def test_a_constant_beyond_the_border_becomes_zero_unless_it_is_that_of_a_max_pool():
    net = nn.Sequential(nn.ConstantPad2d(1, 5.0))
    assert torch.equal(swapped(net, "zeros", (1, 3, 3)).module(NINE), functional.pad(NINE, (1, 1, 1, 1)))
    net = nn.Sequential(nn.ConstantPad2d(1, -torch.inf), nn.MaxPool2d(3, 1))
    same = swapped(net, "zeros", (1, 3, 3))
    assert names(same.kept) == ["0"]
    assert torch.equal(same.module(-NINE), net(-NINE))
    assert swapped(net, "circular", (1, 3, 3)).module(-NINE).unique().tolist() == [-1]


def everything():
    return fresh(nn.Conv2d(2, 3, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.Sequential(nn.ZeroPad2d(1),
                 nn.Sequential(nn.Conv2d(3, 3, 3))), nn.AvgPool2d(3, 2, 1, ceil_mode=True))  # fmt: skip


@pytest.mark.parametrize("mode", MODES[1:])
def test_there_and_back_again(mode):
    net, x = everything(), drawn(2, 2, 9, 9)
    there = swapped(net, mode, (2, 9, 9))
    back = swapped(there.module, "zeros", (2, 9, 9))
    assert names(there.changed) == names(back.changed) == ["0", "1", "2.0", "3"]
    assert not torch.allclose(there.module(x), net(x), atol=1e-3)
    assert torch.equal(back.module(x), net(x))
    assert not any(isinstance(layer, Bordered) for layer in back.module.modules())
    again = swapped(there.module, mode, (2, 9, 9))
    assert names(again.kept) == names(there.changed)
    assert torch.equal(again.module(x), there.module(x))


def test_the_original_is_untouched():
    net, x = everything(), drawn(2, 2, 9, 9)
    before, text = net(x), str(net)
    found = (swapped(net, "circular", (2, 9, 9)), outside(net, 1.0, (2, 9, 9)))
    assert torch.equal(net(x), before)
    assert str(net) == text
    assert {id(p) for p in net.parameters()}.isdisjoint(id(p) for f in found for p in f.module.parameters())
    for module in (net, *(f.module for f in found)):
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_a_network_in_training_mode_is_only_looked_at():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)).train()
    found = swapped(net, "reflect", (1, 5, 5))
    assert net.training
    assert not found.module.training
    assert torch.equal(found.module[1].running_mean, net[1].running_mean)
    assert int(net[1].num_batches_tracked) == 0


def test_a_layer_that_stands_in_two_places_is_changed_in_both():
    pool = nn.MaxPool2d(3, 1, 1)
    net = nn.Sequential(pool, ones(), pool, nn.Sequential(pool))
    found = swapped(net, "circular", (1, 6, 6))
    assert names(found.changed) == ["0", "1"]
    assert found.module[0] is found.module[2] is found.module[3][0]
    x = drawn(1, 1, 6, 6)
    torch.testing.assert_close(found.module(x.roll((2, 3), (2, 3))), found.module(x).roll((2, 3), (2, 3)))
    assert not torch.equal(net(x.roll((2, 3), (2, 3))), net(x).roll((2, 3), (2, 3)))


def test_steps_groups_and_divisors_stay():
    pool = nn.AvgPool2d(3, 1, 1, divisor_override=5)
    assert swapped(pool, "circular", (1, 3, 3)).module(NINE).unique().tolist() == [9]
    net, x = fresh(nn.Conv2d(2, 4, 3, stride=2, padding=2, dilation=2, groups=2)), drawn(2, 2, 9, 8)
    torch.testing.assert_close(outside(net, 0.0, (2, 9, 8)).module(x), net(x))


def test_a_map_may_be_given_by_name():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = ones()

        def forward(self, x):
            return self.conv(input=x)

    assert swapped(Named(), "circular", (1, 3, 3)).module(NINE).unique().tolist() == [45]


def test_other_types_of_numbers():
    net = nn.Sequential(ones(), nn.MaxPool2d(3, 1, 1)).double()
    assert swapped(net, "circular", (1, 3, 3)).module(NINE.double()).unique().tolist() == [45]
    assert outside(net, 1.0, (1, 3, 3)).module(NINE.double()).dtype == torch.float64


# What stays -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("padding", "size", "mode", "why"), [
    (1, 1, "reflect", "its map of 1 x 1 is not larger than its padding of 1"), (1, 1, "circular", ""),
    (1, 1, "replicate", ""), (2, 2, "reflect", "its map of 2 x 2 is not larger than its padding of 2"),
    (2, 2, "circular", ""), (3, 2, "circular", "its map of 2 x 2 is smaller than its padding of 3"),
    (2, 3, "reflect", ""), (5, 2, "replicate", ""),
])  # fmt: skip
def test_maps_that_are_too_small_are_skipped(padding, size, mode, why):
    net = fresh(nn.Conv2d(1, 1, 3, padding=1), nn.AdaptiveAvgPool2d(size), nn.Conv2d(1, 1, 3, padding=padding))
    found = swapped(net, mode, (1, 6, 6))
    assert [layer.why for layer in found.skipped] == [why] * bool(why)
    assert names(found.changed) == (["0"] if why else ["0", "2"])
    x = drawn(2, 1, 6, 6)
    inner = net[1](functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode=mode), net[0].weight, net[0].bias))
    around = functional.pad(inner, (padding,) * 4, mode="constant" if why else mode)
    torch.testing.assert_close(found.module(x), functional.conv2d(around, net[2].weight, net[2].bias))


def test_a_long_map_is_judged_by_the_side_that_is_padded():
    net = nn.Sequential(ones((1, 3), padding=(0, 1)))
    assert names(swapped(net, "reflect", (1, 1, 4)).changed) == ["0"]
    assert names(swapped(net, "reflect", (1, 4, 1)).skipped) == ["0"]


def test_a_layer_that_meets_two_maps_is_judged_by_the_smaller():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = ones()

        def forward(self, x):
            return self.conv(functional.avg_pool2d(self.conv(x), 4))

    assert names(swapped(Twice(), "reflect", (1, 4, 4)).skipped) == ["conv"]
    assert names(swapped(Twice(), "reflect", (1, 8, 8)).changed) == ["conv"]


class Same(nn.Conv2d):
    """Pads by itself, as others' layers do."""

    def forward(self, x):
        return functional.conv2d(functional.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


class Inside(nn.Module):
    """Pads between its layers."""

    def __init__(self, how):
        super().__init__()
        self.first = ones()
        self.how = how

    def forward(self, x):
        return self.how(self.first(x))


HOWS = {
    "pad": lambda x: functional.pad(x, (0, 1)),
    "reflect": lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect"),
    "circular": lambda x: functional.pad(x, (1, 1, 1, 1), mode="circular"),
    "conv": lambda x: functional.conv2d(x, torch.ones(1, 1, 3, 3), padding=1),
    "same": lambda x: functional.conv2d(x, torch.ones(1, 1, 3, 3), padding="same"),
    "max": lambda x: functional.max_pool2d(x, 3, 2, 1),
    "avg": lambda x: functional.avg_pool2d(x, 2, 2, ceil_mode=True),
}
HARMLESS = {
    "channels": lambda x: functional.pad(x, (0, 0, 0, 0, 1, 1)),
    "crop": lambda x: functional.pad(x, (-1, -1)),
    "nothing": lambda x: functional.pad(x, (0, 0)),
    "conv": lambda x: functional.conv2d(x, torch.ones(1, 1, 1, 1), padding="same"),
    "up": lambda x: functional.conv_transpose2d(x, torch.ones(1, 1, 3, 3), padding=1),
    "max": lambda x: functional.max_pool2d(x, 2, 2),
    "tokens": lambda x: functional.pad(x.flatten(2), (1, 0)),
}


@pytest.mark.parametrize("how", HOWS)
def test_padding_between_layers_is_listed(how):
    found = swapped(nn.Sequential(Inside(HOWS[how])), "circular", (1, 5, 5))
    assert names(found.changed) == ["0.first"]
    assert [(layer.name, layer.why) for layer in found.skipped] == [("0", "pads in a forward of its own")]


@pytest.mark.parametrize("how", HARMLESS)
def test_what_is_no_padding_is_not_listed(how):
    found = swapped(nn.Sequential(Inside(HARMLESS[how])), "circular", (1, 5, 5))
    assert (names(found.changed), found.skipped) == (["0.first"], ())


def test_a_layer_with_a_forward_of_its_own_is_skipped():
    net = nn.Sequential(Same(1, 1, 3), ones())
    found = swapped(net, "circular", (1, 4, 4))
    assert names(found.changed) == ["1"]
    assert found.skipped == (("0", "Same 3 x 3, padding 0", "pads in a forward of its own"),)
    assert outside(net, 1.0, (1, 4, 4)).changed == ()
    assert names(outside(net, 1.0, (1, 4, 4)).skipped) == ["0"]
    patched = nn.Sequential(ones())
    patched[0].forward = lambda x: functional.conv2d(x, patched[0].weight, padding=1)
    assert names(swapped(patched, "circular", (1, 4, 4)).skipped) == ["0"]


def test_a_pool_that_gives_indices_is_skipped():
    class Indices(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool2d(3, 1, 1, return_indices=True)

        def forward(self, x):
            return self.pool(x)[0]

    (layer,) = swapped(Indices(), "circular", (1, 4, 4)).skipped
    assert layer == ("pool", "MaxPool2d 3 x 3, padding 1", "gives indices into a map that was not padded before")


def test_a_layer_that_no_image_reaches_is_listed():
    net = Inside(lambda x: x)
    net.aside = ones()
    found = swapped(net, "circular", (1, 4, 4))
    assert (names(found.changed), found.skipped) == (
        ["first"], (("aside", "Conv2d 3 x 3, padding 1", "no image reaches it"),)
    )  # fmt: skip


@pytest.mark.parametrize(
    "make", [lambda: fresh(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 2, 2, padding="valid")), nn.Flatten]
)
def test_a_network_that_does_not_pad_stays(make):
    net, x = make(), drawn(2, 1, 8, 8)
    found = swapped(net, "reflect", (1, 8, 8))
    assert found[1:] == ((), (), ())
    assert torch.equal(found.module(x), net(x))
    assert outside(net, 1.0, (1, 8, 8))[1:] == ((), (), ())


def test_what_cannot_be_swapped_says_so_in_one_line():
    locked = nn.Sequential(ones())
    locked.lock = threading.Lock()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.jit.trace(ones(), NINE)
    for module, shape, words in [
        (program, (1, 3, 3), "TorchScript"),
        (locked, (1, 3, 3), "cannot be copied"),
        (ones(), (2, 3, 3), "takes no image of 2 x 3 x 3"),
    ]:
        for change in (lambda m, s: swapped(m, "reflect", s), lambda m, s: outside(m, 1.0, s)):
            with pytest.raises(ClassifierError, match=words) as caught:
                change(module, shape)
            assert isinstance(caught.value, UserError)
            assert "\n" not in str(caught.value)


# A gray level outside -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("more", [{}, {"padding": "same"}, {"padding_mode": "circular"}])
def test_a_gray_level_outside_by_hand(more, level):
    found = outside(nn.Sequential(ones(**more), ones()), level, (1, 3, 3))
    sums = found.module[0](NINE)
    assert (sums[0, 0, 0, 0], sums[0, 0, 0, 1], sums[0, 0, 1, 1]) == (12 + 5 * level, 21 + 3 * level, 45)
    assert names(found.changed) == ["0"]
    expected = functional.conv2d(sums, torch.ones(1, 1, 3, 3), padding=1)
    assert torch.equal(found.module(NINE), expected)  # the second layer still sees 0


def test_black_outside_is_the_original_and_white_is_not():
    net, x = everything(), drawn(3, 2, 9, 9)
    torch.testing.assert_close(outside(net, 0.0, (2, 9, 9)).module(x), net(x))
    assert not torch.allclose(outside(net, 1.0, (2, 9, 9)).module(x), net(x), atol=1e-3)


def test_white_outside_a_white_canvas_is_a_first_layer_that_replicates():
    net, white = everything(), torch.ones(1, 2, 9, 9)
    found = outside(net, 1.0, (2, 9, 9)).module(white)
    first = swapped(net[0], "replicate", (2, 9, 9)).module
    torch.testing.assert_close(found, net[1:](first(white)))
    assert not torch.allclose(found, net(white), atol=1e-3)


class Normalise(nn.Module):
    def forward(self, x):
        return (x - torch.tensor([0.5, 0.25]).view(1, 2, 1, 1)) / 0.25


def test_a_network_that_normalises_pads_with_its_mean():
    net = fresh(Normalise(), nn.Conv2d(2, 3, 3, padding=1))
    x = drawn(2, 2, 5, 5)
    mean = torch.tensor([0.5, 0.25]).view(1, 2, 1, 1).expand(1, 2, 5, 5)
    torch.testing.assert_close(outside(net, mean, (2, 5, 5)).module(x), net(x))
    black = functional.pad(x, (1, 1, 1, 1))
    expected = functional.conv2d(net[0](black), net[1].weight, net[1].bias)
    torch.testing.assert_close(outside(net, 0.0, (2, 5, 5)).module(x), expected)
    assert not torch.allclose(expected, net(x), atol=1e-3)


def test_all_layers_that_read_the_image_first_are_changed():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = ones(), ones(5, padding=2), ones()

        def forward(self, x):
            return self.c(self.a(x) + self.b(x))

    assert names(outside(Branches(), 1.0, (1, 6, 6)).changed) == ["a", "b"]


def test_what_takes_no_number_from_outside_is_passed_over():
    net = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.AvgPool2d(3, 1, 1))
    found = outside(net, 1.0, (1, 3, 3))
    assert names(found.changed) == ["2"]
    assert found.module[2](NINE)[0, 0, 0, 0] == pytest.approx((12 + 5) / 9)
    over = outside(nn.Sequential(nn.AvgPool2d(3, 2, 1, ceil_mode=True), ones()), 1.0, (1, 4, 4))
    assert (over.changed, names(over.skipped)) == ((), ["0"])


def test_a_canvas_that_is_not_even_where_it_is_padded_is_skipped():
    class Places(nn.Module):
        def forward(self, x):
            return x + torch.linspace(0, 1, x.shape[-1])

    class Alone(nn.Module):  # an image without a batch
        def forward(self, x):
            return x[0]

    for first in (Places(), Alone()):
        found = outside(nn.Sequential(first, ones()), 1.0, (1, 5, 5))
        assert (found.changed, [layer.why for layer in found.skipped]) == (
            (),
            ["does not see a gray canvas as an even one"],
        )


def test_padding_swapped_and_then_a_gray_level():
    net, x = everything(), drawn(2, 2, 9, 9)
    both = outside(swapped(net, "replicate", (2, 9, 9)).module, 0.5, (2, 9, 9)).module(x)
    first = outside(net[0], 0.5, (2, 9, 9)).module
    rest = swapped(net[1:], "replicate", (3, 9, 9)).module
    torch.testing.assert_close(both, rest(first(x)))
    back = swapped(outside(net, 0.5, (2, 9, 9)).module, "zeros", (2, 9, 9))
    assert names(back.changed) == ["0"]
    assert torch.equal(back.module(x), net(x))
