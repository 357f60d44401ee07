"""A dense layer is `nn.Linear`, whoever multiplies and whatever happens to the weights."""

import copy
import io
import itertools

import pytest
import torch
from torch import nn

from dcase_asd.backbone import dense
from dcase_asd.backbone.dense import Linear, exchange_linear_layers

ONCE = dense.onednn_pays
MEASURE = ONCE.__wrapped__


@pytest.fixture(autouse=True, params=[True, False], ids=["oneDNN", "PyTorch"])
def by_onednn(request, monkeypatch):
    """Both ways, whichever this processor would take."""
    if request.param and not (dense._X86 and dense._ONEDNN):
        pytest.skip("oneDNN is taken on x86 processors only")
    monkeypatch.setattr(dense, "onednn_pays", lambda: request.param)
    return request.param


def layer(bias=True):
    generator = torch.Generator().manual_seed(0)
    made = Linear(24, 40, bias=bias)
    for parameter in made.parameters():
        nn.init.normal_(parameter, generator=generator)
    return made.eval()


def inputs(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def expected(made, x):
    """By numpy in float64."""
    bias = 0.0 if made.bias is None else made.bias.detach().double().numpy()
    weight = made.weight.detach().double().numpy()
    return torch.from_numpy(x.double().numpy() @ weight.T + bias).float()


def computed(made, x):
    with torch.no_grad():
        return made(x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(24,), (7, 24), (2, 5, 24), (2, 3, 5, 24), (0, 24), (3, 0, 24)])
def test_products_are_those_of_the_weights(shape, bias):
    made, x = layer(bias), inputs(*shape)
    with torch.inference_mode():
        found = made(x)
    assert found.shape == (*shape[:-1], 40)
    torch.testing.assert_close(found.clone(), expected(made, x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.clone(), made(x).detach(), rtol=1e-5, atol=1e-5)


def test_inputs_that_are_views_are_taken_as_they_are():
    made, x = layer(), inputs(24, 9).T
    torch.testing.assert_close(computed(made, x), expected(made, x), rtol=1e-5, atol=1e-5)
    x = inputs(5, 48)[:, ::2]
    torch.testing.assert_close(computed(made, x), expected(made, x), rtol=1e-5, atol=1e-5)


def test_onednn_multiplies_only_where_nothing_is_learnt(by_onednn, monkeypatch):
    calls, whole = [], dense._by_onednn
    monkeypatch.setattr(dense, "_by_onednn", lambda *each: calls.append(None) or whole(*each))
    made, x = layer(), inputs(3, 24)
    made(x).sum().backward()
    made.train()
    computed(made, x)
    assert not calls
    made.eval()
    computed(made, x)
    assert len(calls) == by_onednn


def changed_in_place(made):
    with torch.no_grad():
        made.weight.mul_(2)


def changed_in_inference(made):
    with torch.inference_mode():
        made.weight.add_(1)


def learnt(made):
    optimiser = torch.optim.SGD(made.parameters(), lr=0.1)
    made(inputs(3, 24)).sum().backward()
    optimiser.step()


def loaded(made):
    made.load_state_dict({name: value + 1 for name, value in made.state_dict().items()})


def replaced(made):
    made.weight = nn.Parameter(made.weight.detach() + 1)


def given_other_data(made):
    made.weight.data = made.weight.data + 1


def behind_the_back(made):
    made.weight.data.add_(1)


def a_value_behind_the_back(made):
    made.weight.data[3] = 7.0


def through_numpy(made):
    made.weight.detach().numpy()[:, 2] = -7.0


def the_bias_behind_the_back(made):
    made.bias.data -= 1


@pytest.mark.parametrize(
    "change",
    [
        changed_in_place, changed_in_inference, learnt, loaded, replaced, given_other_data,
        behind_the_back, a_value_behind_the_back, through_numpy, the_bias_behind_the_back,
    ],
)  # fmt: skip
def test_changed_weights_are_noticed(change):
    made, x = layer(), inputs(3, 24)
    before = computed(made, x)
    change(made)
    assert not torch.allclose(computed(made, x), before)
    torch.testing.assert_close(computed(made, x), expected(made, x), rtol=1e-5, atol=1e-5)


def test_weights_may_be_views_of_others():
    made, x = layer(), inputs(3, 24)
    made.weight = nn.Parameter(made.weight.detach().T.contiguous().T)
    assert not made.weight.is_contiguous()
    torch.testing.assert_close(computed(made, x), expected(made, x), rtol=1e-5, atol=1e-5)


def test_a_layer_that_computed_is_copied_and_saved():
    made, x = layer(), inputs(3, 24)
    computed(made, x)
    assert set(made.state_dict()) == {"weight", "bias"}
    file = io.BytesIO()
    torch.save(made, file)
    file.seek(0)
    for other in (copy.deepcopy(made), torch.load(file, weights_only=False)):
        assert torch.equal(computed(other, x), computed(made, x))
        changed_in_place(other)
        assert not torch.equal(computed(other, x), computed(made, x))


def test_other_precisions_are_those_of_torch():
    made, x = layer().double(), inputs(3, 24).double()
    assert torch.equal(computed(made, x), nn.functional.linear(x, made.weight, made.bias).detach())
    made = layer()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert made(inputs(3, 24)).dtype == torch.bfloat16


def test_the_layers_of_a_network_of_others_are_exchanged_and_keep_their_weights():
    class Special(nn.Linear):
        pass

    network = nn.Sequential(nn.Linear(24, 8), nn.Sequential(Special(8, 4), nn.Linear(4, 2))).eval()
    x = inputs(3, 24)
    before = computed(network, x)
    exchange_linear_layers(network)
    assert [type(each) for each in (network[0], *network[1])] == [Linear, Special, Linear]
    torch.testing.assert_close(computed(network, x), before, rtol=1e-5, atol=1e-5)


def pays(monkeypatch, **seconds):
    """What a measurement says when products take so long, those of a list one after the other."""
    now = [0.0]

    def taking(times):
        def multiply(*_):
            now[0] += next(times)

        return multiply

    monkeypatch.setattr(dense, "_X86", True)
    monkeypatch.setattr(dense, "_ONEDNN", True)
    monkeypatch.setattr(dense.time, "perf_counter", lambda: now[0])
    onednn, pytorch = (itertools.cycle(seconds[name]) for name in ("onednn", "pytorch"))
    monkeypatch.setattr(dense, "_by_onednn", taking(onednn))
    monkeypatch.setattr(nn.functional, "linear", taking(pytorch))
    return MEASURE()


def test_onednn_is_taken_where_it_is_a_fifth_faster_at_its_best(monkeypatch):
    assert pays(monkeypatch, onednn=[1.0], pytorch=[1.25])
    assert not pays(monkeypatch, onednn=[1.0], pytorch=[1.15])
    assert not pays(monkeypatch, onednn=[2.0], pytorch=[1.0])
    # Other programs disturb some of the products.
    assert pays(monkeypatch, onednn=[9.0, 1.0, 5.0], pytorch=[2.0, 1.3, 1.4])
    assert not pays(monkeypatch, onednn=[1.0, 1.2], pytorch=[8.0, 1.1, 8.0])


def test_the_measurement_leaves_the_number_of_threads_and_is_made_once(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert MEASURE() in (True, False)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    ONCE.cache_clear()
    assert ONCE() == ONCE()
    assert (ONCE.cache_info().misses, ONCE.cache_info().hits) == (1, 1)


@pytest.mark.parametrize("error", [AttributeError, NotImplementedError, RuntimeError])
def test_without_the_operator_everything_is_nn_linear(monkeypatch, error):
    def missing(*_):
        raise error("no such operator")

    monkeypatch.setattr(dense, "_by_onednn", missing)
    assert not MEASURE()
    monkeypatch.setattr(dense, "onednn_pays", MEASURE)
    made, x = layer(), inputs(3, 24)
    assert torch.equal(computed(made, x), nn.functional.linear(x, made.weight, made.bias).detach())
