"""A dense layer with packed weights is `nn.Linear`, whatever happens to the weights."""

import copy
import io

import pytest
import torch
from torch import nn

from dcase_asd import dense
from dcase_asd.dense import Linear, pack_linear_layers

packing = pytest.mark.skipif(
    not (dense._X86 and dense._ONEDNN), reason="weights are packed on x86 processors by oneDNN only"
)


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


@packing
def test_weights_are_packed_once_and_given_up_for_training():
    made, x = layer(), inputs(3, 24)
    assert made(x).requires_grad
    assert made._packed is None
    computed(made, x)
    packed = made._packed
    computed(made, x)
    assert made._packed is packed is not None
    nn.Sequential(made).train()
    assert made._packed is None
    computed(made, x)
    assert made._packed is None


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


def behind_the_back_before_training(made):
    made.weight.data.add_(1)
    made.train()
    made.eval()


@pytest.mark.parametrize(
    "change",
    [
        changed_in_place, changed_in_inference, learnt, loaded, replaced, given_other_data,
        behind_the_back_before_training,
    ],
)  # fmt: skip
def test_changed_weights_are_noticed(change):
    made, x = layer(), inputs(3, 24)
    before = computed(made, x)
    change(made)
    assert not torch.allclose(computed(made, x), before)
    torch.testing.assert_close(computed(made, x), expected(made, x), rtol=1e-5, atol=1e-5)


def test_a_layer_that_computed_is_copied_and_saved_without_its_packed_weights():
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
    pack_linear_layers(network)
    assert [type(each) for each in (network[0], *network[1])] == [Linear, Special, Linear]
    torch.testing.assert_close(computed(network, x), before, rtol=1e-5, atol=1e-5)
