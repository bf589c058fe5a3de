"""MLPs agree with their oracles: torch, finite differences, and formulas written out."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bow2gpt import ruler
from bow2gpt.chapters import mlps
from bow2gpt.chapters.language_features import ByteTokenizer
from bow2gpt.chapters.mlps import Value

# The perceptron


def test_perceptron_moves_only_when_wrong():
    weights, bias = mlps.perceptron_update(np.array([1.0, -1.0]), 0.5, np.array([2.0, 1.0]), 1)
    assert weights.tolist() == [1, -1]
    assert bias == 0.5
    weights, bias = mlps.perceptron_update(np.array([1.0, -1.0]), 0.5, np.array([2.0, 1.0]), -1, learning_rate=0.5)
    assert weights.tolist() == [0, -1.5]
    assert bias == 0.0


@pytest.mark.parametrize("target", [1, -1])
def test_perceptron_counts_a_score_of_zero_as_wrong(target):
    weights, bias = mlps.perceptron_update(np.zeros(3), 0.0, np.array([1.0, 2.0, 3.0]), target)
    assert weights.tolist() == [target, 2 * target, 3 * target]
    assert bias == target


def test_perceptron_never_changes_its_arguments():
    for target in (1, -1):
        weights, inputs = np.array([1.0, 2.0]), np.array([1.0, 1.0])
        new, _ = mlps.perceptron_update(weights, 0.0, inputs, target)
        new += 5
        assert weights.tolist() == [1, 2]
        assert inputs.tolist() == [1, 1]


def test_perceptron_works_on_integers():
    weights, bias = mlps.perceptron_update(np.array([0, 0]), 0, np.array([1, 1]), 1, learning_rate=0.5)
    assert weights.tolist() == [0.5, 0.5]
    assert bias == 0.5


def test_perceptron_finds_a_separating_line():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3))
    targets = np.where(points @ [1.0, -2.0, 0.5] + 0.3 > 0, 1, -1)
    weights, bias = np.zeros(3), 0.0
    for _ in range(1000):
        for point, target in zip(points, targets, strict=True):
            weights, bias = mlps.perceptron_update(weights, bias, point, int(target))
    assert np.all(np.sign(points @ weights + bias) == targets)


def test_perceptron_refuses_other_targets_and_shapes():
    with pytest.raises(ValueError, match="got target 0"):
        mlps.perceptron_update(np.zeros(2), 0.0, np.zeros(2), 0)
    with pytest.raises(ValueError, match="got weights of shape"):
        mlps.perceptron_update(np.zeros(2), 0.0, np.zeros(3), 1)


# Scalar autograd


def both_ways(function, *numbers):
    """Value, and slopes of each input: ours and torch's."""
    ours = [Value(number) for number in numbers]
    theirs = [torch.tensor(float(number), dtype=torch.float64, requires_grad=True) for number in numbers]
    answer, expected = function(*ours), function(*theirs)
    answer.backward()
    expected.backward()
    return answer.data, expected.item(), [v.grad for v in ours], [t.grad.item() for t in theirs]


EXPRESSIONS = {
    "sum": lambda a, b: a + b + 3 + a,
    "difference": lambda a, b: 1 - a - b - 2,
    "product": lambda a, b: 2 * a * b * a,
    "quotient": lambda a, b: a / b + 1 / a + b / 4,
    "power": lambda a, b: a**3 + b**-2 + a**0.5 + b**0 + a**1,
    "negation": lambda a, b: -a * -b,
    "exp and log": lambda a, b: (a.exp() + b.exp()).log(),
    "tanh": lambda a, b: (a * b - 1).tanh(),
    "relu": lambda a, b: (a - b).relu() + (b - a).relu() * 3,
    "shared": lambda a, b: (a * b + (a * b) ** 2) * (a * b),
    "the same twice": lambda a, b: (a + a) * (b * b) - a / a,
}


@pytest.mark.parametrize("name", EXPRESSIONS)
@pytest.mark.parametrize("seed", range(3))
def test_value_equals_torch(name, seed):
    numbers = np.random.default_rng(seed).uniform(0.3, 2.0, 2)
    got, expected, slopes, expected_slopes = both_ways(EXPRESSIONS[name], *numbers)
    assert got == pytest.approx(expected, rel=1e-12)
    assert slopes == pytest.approx(expected_slopes, rel=1e-10, abs=1e-12)


def test_value_of_a_random_expression_equals_torch():
    rng = np.random.default_rng(5)

    def grow(*numbers):
        pool, dice = list(numbers), np.random.default_rng(7)
        for _ in range(60):
            first, second = (pool[i] for i in dice.integers(len(pool), size=2))
            grown = (first + second, first * second, first.tanh() - second, (first - second).relu())
            pool.append(grown[dice.integers(4)].tanh())
        return sum(pool)

    got, expected, slopes, expected_slopes = both_ways(grow, *rng.normal(size=5))
    assert got == pytest.approx(expected, rel=1e-10)
    assert slopes == pytest.approx(expected_slopes, rel=1e-8, abs=1e-10)


def test_value_slopes_add_up_over_two_calls():
    a = Value(3.0)
    middle = a * a
    loss = middle * 2
    loss.backward()
    once = a.grad, middle.grad
    loss.backward()
    assert (a.grad, middle.grad) == (2 * once[0], 2 * once[1])
    assert once == (12.0, 2.0)


def test_value_takes_long_chains():
    a = Value(1.0)
    total = a
    for _ in range(50_000):
        total = total + 1e-3
    total.backward()
    assert a.grad == 1.0


def test_value_takes_numpy_numbers_on_either_side():
    a = Value(2.0)
    for result in (np.float64(3) * a, a * np.float64(3), np.float64(8) - a, a + np.int64(4), np.float64(12) / a):
        assert isinstance(result, Value)
        assert result.data == 6.0


def test_value_at_the_edges():
    zero = Value(0.0)
    zero.relu().backward()
    assert zero.grad == 0.0
    (zero**0).backward()
    assert zero.grad == 0.0
    (zero**1).backward()
    assert zero.grad == 1.0
    assert "2" in repr(Value(2.0))


def test_value_refuses_what_has_no_answer():
    with pytest.raises(ValueError, match="logarithm of 0"):
        Value(0.0).log()
    with pytest.raises(ValueError, match="no real number"):
        Value(-1.0) ** 0.5
    with pytest.raises(TypeError, match="plain number"):
        Value(1.0) ** Value(2.0)


# Arrays


@pytest.mark.parametrize(("batch", "fan_in", "fan_out"), [(1, 1, 1), (5, 3, 4), (4, 4, 4), (2, 7, 1)])
def test_linear_backward_equals_torch(batch, fan_in, fan_out):
    rng = np.random.default_rng(batch)
    inputs, weight = rng.normal(size=(batch, fan_in)), rng.normal(size=(fan_out, fan_in))
    grad_output, bias = rng.normal(size=(batch, fan_out)), rng.normal(size=fan_out)
    tensors = [torch.tensor(array, requires_grad=True) for array in (inputs, weight, bias)]
    F.linear(*tensors).backward(torch.tensor(grad_output))
    for got, tensor in zip(mlps.linear_backward(grad_output, inputs, weight), tensors, strict=True):
        np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-12, atol=1e-12)


def test_linear_backward_refuses_a_transposed_weight():
    with pytest.raises(ValueError, match="expected"):
        mlps.linear_backward(np.ones((2, 3)), np.ones((2, 4)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="transposed"):
        mlps.linear_backward(np.ones((2, 3)), np.ones((2, 4)), np.ones((3, 5)))


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e-3])
def test_softmax_cross_entropy_equals_torch(scale):
    rng = np.random.default_rng(0)
    logits, targets = scale * rng.normal(size=(8, 5)), rng.integers(0, 5, 8)
    tensor = torch.tensor(logits, requires_grad=True)
    expected = F.cross_entropy(tensor, torch.tensor(targets))
    expected.backward()
    kept = logits.copy()
    loss, grad = mlps.softmax_cross_entropy(logits, targets)
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(grad, tensor.grad.numpy(), atol=1e-14)
    assert np.array_equal(logits, kept)


def test_softmax_cross_entropy_never_overflows():
    loss, grad = mlps.softmax_cross_entropy(np.array([[1e4, -1e4], [0.0, 1e308]]), np.array([0, 0]))
    assert loss == pytest.approx(0.5e308)
    assert np.isfinite(grad).all()
    loss, _ = mlps.softmax_cross_entropy(np.array([[0.0, -np.inf]]), np.array([0]))
    assert loss == 0.0


def test_softmax_cross_entropy_takes_whole_numbers():
    loss, grad = mlps.softmax_cross_entropy(np.array([[0, 0]]), np.array([1]))
    assert loss == pytest.approx(math.log(2))
    assert grad.tolist() == [[0.5, -0.5]]


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        (np.zeros((2, 3)), np.array([0, 3])),
        (np.zeros((2, 3)), np.array([0, -1])),
        (np.zeros((2, 3)), np.array([0])),
        (np.zeros((2, 3)), np.array([0.0, 1.0])),
        (np.zeros((0, 3)), np.array([], dtype=int)),
        (np.zeros(3), np.array([0, 1, 2])),
        (np.array([[np.nan, 0.0]]), np.array([0])),
    ],
)
def test_softmax_cross_entropy_refuses(logits, targets):
    with pytest.raises(ValueError, match="got"):
        mlps.softmax_cross_entropy(logits, targets)


def test_gradient_check_tells_right_from_wrong():
    point = np.random.default_rng(0).normal(size=(3, 4))
    kept = point.copy()
    assert mlps.gradient_check(lambda x: float(np.sum(np.sin(x))), np.cos, point) < 1e-7
    assert mlps.gradient_check(lambda x: float(np.sum(np.sin(x))), lambda x: 1.01 * np.cos(x), point) > 5e-3
    assert mlps.gradient_check(lambda x: float(np.sum(np.sin(x))), lambda x: -np.cos(x), point) > 1.5
    one_wrong = np.where(np.arange(12).reshape(3, 4) == 7, 1.5, 1.0)
    assert mlps.gradient_check(lambda x: float(np.sum(np.sin(x))), lambda x: one_wrong * np.cos(x), point) > 0.3
    assert np.array_equal(point, kept)


def test_gradient_check_shields_the_point_and_takes_integers():
    def spoil(x):
        total = float(np.sum(x**2))
        x += 1
        return total

    point = np.array([1, 2])
    assert mlps.gradient_check(spoil, lambda x: 2 * x, point) < 1e-6
    assert point.tolist() == [1, 2]
    assert mlps.gradient_check(lambda x: float(x**2), lambda x: 2 * x, np.array(3.0)) < 1e-6
    assert mlps.gradient_check(lambda x: 0.0, lambda x: 0 * x, np.zeros(3)) == 0.0


def test_gradient_check_refuses_another_shape():
    with pytest.raises(ValueError, match="they must agree"):
        mlps.gradient_check(lambda x: float(x.sum()), lambda x: np.ones(3), np.ones((3, 1)))
    with pytest.raises(ValueError, match="epsilon"):
        mlps.gradient_check(lambda x: float(x.sum()), np.ones_like, np.ones(3), epsilon=0)


# Optimisers and initialisation, step by step


def run_beside_torch(step, library, shape=(4, 3), num_steps=200):
    rng = np.random.default_rng(0)
    ours, state = rng.normal(size=shape), {}
    theirs = torch.tensor(ours.copy(), requires_grad=True)
    optimiser = library([theirs])
    for _ in range(num_steps):
        gradient = rng.normal(size=shape) * rng.choice([1e-6, 1.0, 100.0])
        before, kept = ours.copy(), gradient.copy()
        new = step(ours, gradient, state)
        theirs.grad = torch.tensor(gradient)
        optimiser.step()
        assert np.array_equal(ours, before), "the parameter was changed in place"
        assert np.array_equal(gradient, kept), "the gradient was changed"
        ours = new
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-7)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_equals_torch(momentum):
    run_beside_torch(
        lambda p, g, s: mlps.sgd_step(p, g, s, 0.01, momentum),
        lambda ps: torch.optim.SGD(ps, lr=0.01, momentum=momentum),
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"learning_rate": 0.1, "weight_decay": 0.3},
        {"betas": (0.5, 0.6), "epsilon": 1e-3, "weight_decay": 0.0},
        {"betas": (0.0, 0.0)},
    ],
)
def test_adamw_equals_torch(options):
    names = {"learning_rate": "lr", "epsilon": "eps"}
    theirs = {names.get(name, name): value for name, value in options.items()}
    run_beside_torch(lambda p, g, s: mlps.adamw_step(p, g, s, **options), lambda ps: torch.optim.AdamW(ps, **theirs))


def test_adam_equals_torch():
    run_beside_torch(lambda p, g, s: mlps.adam_step(p, g, s, 0.02), lambda ps: torch.optim.Adam(ps, lr=0.02))


def test_adamw_keeps_step_and_moments_in_its_state():
    state = {}
    mlps.adamw_step(np.ones(3), np.full(3, 2.0), state)
    assert state["step"] == 1
    np.testing.assert_allclose(state["first_moment"], 0.2)
    np.testing.assert_allclose(state["second_moment"], 0.004)
    snapshot = dict(state)
    mlps.adamw_step(np.ones(3), np.ones(3), state)
    np.testing.assert_allclose(snapshot["first_moment"], 0.2)


def test_optimisers_refuse_what_does_not_fit():
    for step in (mlps.sgd_step, mlps.adamw_step, mlps.adam_step):
        with pytest.raises(ValueError, match="got a parameter of shape"):
            step(np.ones(3), np.ones((3, 1)), {})
    with pytest.raises(ValueError, match="betas"):
        mlps.adamw_step(np.ones(3), np.ones(3), {}, betas=(0.9, 1.0))


class TorchsChance:
    """A numpy generator's methods, with torch's random numbers behind them."""

    def uniform(self, low, high, shape):
        return torch.empty(shape, dtype=torch.float64).uniform_(low, high).numpy()

    def normal(self, mean, spread, shape):
        return torch.empty(shape, dtype=torch.float64).normal_(mean, spread).numpy()


@pytest.mark.parametrize("shape", [(5, 7), (64, 3), (1, 100)])
def test_initialisation_equals_torch_number_by_number(shape):
    recipes = [
        (mlps.glorot_uniform, torch.nn.init.xavier_uniform_),
        (mlps.he_normal, lambda t: torch.nn.init.kaiming_normal_(t, nonlinearity="relu")),
    ]
    for ours, theirs in recipes:
        torch.manual_seed(3)
        expected = theirs(torch.empty(shape, dtype=torch.float64))
        torch.manual_seed(3)
        np.testing.assert_allclose(ours(shape, TorchsChance()), expected.numpy(), rtol=0, atol=1e-7)


def test_initialisation_has_the_variance_it_promises():
    rng = np.random.default_rng(0)
    assert mlps.glorot_uniform((300, 500), rng).var() == pytest.approx(2 / 800, rel=0.02)
    assert mlps.he_normal((300, 500), rng).var() == pytest.approx(2 / 500, rel=0.02)
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        mlps.he_normal((3,), rng)


# Layer norm and dropout


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_layer_norm_equals_torch(shape):
    rng = np.random.default_rng(1)
    inputs, gain, bias = 5 + 3 * rng.normal(size=shape), rng.normal(size=4), rng.normal(size=4)
    for epsilon in (1e-5, 0.1):
        expected = F.layer_norm(*(torch.tensor(inputs), (4,), torch.tensor(gain), torch.tensor(bias)), eps=epsilon)
        np.testing.assert_allclose(mlps.layer_norm(inputs, gain, bias, epsilon), expected.numpy(), atol=1e-12)


def test_layer_norm_of_equal_numbers_is_the_bias():
    assert mlps.layer_norm(np.full((2, 3), 7.0), np.ones(3), np.array([1.0, 2, 3])).tolist() == [[1, 2, 3]] * 2
    with pytest.raises(ValueError, match="expected"):
        mlps.layer_norm(np.ones((2, 3)), np.ones(2), np.ones(3))


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_dropout_silences_a_share_and_keeps_the_mean(probability):
    inputs = np.full((200, 500), 3.0)
    got = mlps.dropout(inputs, probability, np.random.default_rng(0))
    assert (got == 0).mean() == pytest.approx(probability, abs=0.01)
    np.testing.assert_allclose(got[got != 0], 3 / (1 - probability))
    assert got.mean() == pytest.approx(3, rel=0.05)
    assert np.all(inputs == 3)


def test_dropout_follows_its_generator_and_rests_outside_training():
    inputs = np.random.default_rng(1).normal(size=(6, 7))
    first, again, other = (mlps.dropout(inputs, 0.5, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(mlps.dropout(inputs, 0.5, np.random.default_rng(3), training=False), inputs)
    assert np.array_equal(mlps.dropout(inputs, 0.0, np.random.default_rng(3)), inputs)
    assert not mlps.dropout(inputs, 1.0, np.random.default_rng(3)).any()
    with pytest.raises(ValueError, match="got probability 1.5"):
        mlps.dropout(inputs, 1.5, np.random.default_rng(3))


# Many networks side by side


@pytest.mark.parametrize("helped", [False, True])
def test_networks_side_by_side_equal_one_at_a_time(helped):
    networks = mlps.ManyMLPs([4, 6, 6, 3], copies=3, seed=1, helped=helped).eval()
    inputs = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    got = networks(inputs)
    for copy in range(3):
        passing = inputs[copy]
        for layer, (weight, bias) in enumerate(zip(networks.weights, networks.biases, strict=True)):
            before = passing
            if layer:
                passing = torch.relu(F.layer_norm(passing, passing.shape[-1:]) if helped else passing)
            passing = passing @ weight[copy] + bias[copy]
            if helped and layer == 1:
                passing = passing + before
        torch.testing.assert_close(got[copy], passing, rtol=1e-5, atol=1e-5)
    assert networks.num_parameters == 4 * 6 + 6 + 6 * 6 + 6 + 6 * 3 + 3


def test_networks_side_by_side_learn():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 200, 2, generator=generator)
    targets = (inputs[..., 0] * inputs[..., 1] > 0).long()
    networks = mlps.ManyMLPs([2, 16, 2], copies=2)
    mlps.train_many(networks, inputs, targets, num_steps=200, batch_size=50)
    assert mlps.accuracies(networks, inputs, targets).min() > 0.9
    with pytest.raises(ValueError, match="two sizes or more"):
        mlps.ManyMLPs([2], copies=1)


# The neural language model


def random_language_model(rng, vocabulary=9, context=3, d=4, hidden=5):
    shapes = [(vocabulary, d), (hidden, context * d), (hidden,), (vocabulary, hidden), (vocabulary,)]
    return [rng.normal(size=shape) for shape in shapes]


def test_neural_lm_forward_is_the_formula_for_each_context():
    rng = np.random.default_rng(0)
    embedding, hidden_weight, hidden_bias, output_weight, output_bias = random_language_model(rng)
    context_ids = rng.integers(0, 9, (7, 3))
    got = mlps.neural_lm_forward(context_ids, embedding, hidden_weight, hidden_bias, output_weight, output_bias)
    for row, ids in enumerate(context_ids):
        inputs = np.concatenate([embedding[token] for token in ids])
        hidden = [math.tanh(weights @ inputs + b) for weights, b in zip(hidden_weight, hidden_bias, strict=True)]
        np.testing.assert_allclose(got[row], output_weight @ hidden + output_bias, rtol=1e-10)


def test_neural_lm_forward_depends_on_order():
    parameters = random_language_model(np.random.default_rng(0))
    one, other = mlps.neural_lm_forward(np.array([[1, 2, 3], [3, 2, 1]]), *parameters)
    assert not np.allclose(one, other)


def test_neural_lm_forward_refuses():
    parameters = random_language_model(np.random.default_rng(0))
    with pytest.raises(ValueError, match="ids from -1 to 2"):
        mlps.neural_lm_forward(np.array([[-1, 1, 2]]), *parameters)
    with pytest.raises(ValueError, match="ids from 0 to 9"):
        mlps.neural_lm_forward(np.array([[0, 1, 9]]), *parameters)
    with pytest.raises(ValueError, match="expected \\(hidden, 8\\)"):
        mlps.neural_lm_forward(np.array([[0, 1]]), *parameters)
    with pytest.raises(ValueError, match="expected integers"):
        mlps.neural_lm_forward(np.array([[0.0, 1.0, 2.0]]), *parameters)


def test_torch_model_equals_neural_lm_forward():
    model = mlps.NeuralLanguageModel(ByteTokenizer(), context_length=3, embedding_dim=4, hidden_dim=6).double()
    windows = model.windows(ByteTokenizer().encode("war and peace"))
    arrays = [parameter.detach().numpy() for _, parameter in model.named_parameters()]
    expected = mlps.neural_lm_forward(windows, *arrays)
    np.testing.assert_allclose(model(torch.tensor(windows)).detach().numpy(), expected, atol=1e-12)


def test_windows_hold_what_came_before():
    model = mlps.NeuralLanguageModel(ByteTokenizer(), context_length=3, embedding_dim=1, hidden_dim=1)
    nothing = 256
    assert model.windows(np.array([5, 6])).tolist() == [[nothing] * 3, [nothing, nothing, 5], [nothing, 5, 6]]
    assert model.windows(np.array([], dtype=int)).tolist() == [[nothing] * 3]


def test_shuffled_windows_keep_their_tokens_and_their_end():
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 50, (200, 6))
    for keep in range(7):
        mixed = mlps.shuffle_windows(windows, keep, rng)
        assert np.array_equal(np.sort(mixed, axis=1), np.sort(windows, axis=1))
        assert np.array_equal(mixed[:, 6 - keep :], windows[:, 6 - keep :])
        assert np.array_equal(mixed, windows) is (keep >= 5)
    with pytest.raises(ValueError, match="got keep_order 7"):
        mlps.shuffle_windows(windows, 7, rng)


def small_model(text, **options):
    model = mlps.NeuralLanguageModel(ByteTokenizer(), context_length=4, embedding_dim=8, hidden_dim=16)
    return mlps.train_language_model(model, ByteTokenizer().encode(text), batch_size=64, **options)


def test_training_learns_a_rule():
    text = "to be or not to be, that is the question. " * 40
    losses = []
    model = small_model(text, num_steps=300, report=lambda step, loss: losses.append(loss))
    assert len(losses) == 300
    assert losses[-1] < 0.5 < 2 < losses[0]
    assert ruler.bits_per_byte(model, text) < 0.7
    assert "question" in model.generate(60, "to be or not to be, ", temperature=0)


def test_training_before_the_first_step_is_a_unigram_model():
    text = "aaab" * 20
    model = small_model(text, num_steps=1, learning_rate=0.0)
    probability = np.exp(model.next_token_log_probs("a")[ord("a")])
    assert probability == pytest.approx(61 / (80 + 256), rel=0.2)


def test_training_refuses_nothing():
    with pytest.raises(ValueError, match="training text is empty"):
        small_model("", num_steps=1)
    with pytest.raises(ValueError, match="at least 1"):
        mlps.NeuralLanguageModel(ByteTokenizer(), context_length=0)


# Three times the same network


def test_value_arrays_and_torch_learn_alike():
    """XOR from the same numbers: losses equal to 1e-6 at each of 50 steps."""
    corners, targets = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    rng = np.random.default_rng(11)
    arrays = [rng.normal(size=shape) for shape in [(3, 2), (3,), (2, 3), (2,)]]
    scalars = [[[Value(n) for n in np.atleast_1d(row)] for row in array] for array in arrays]
    tensors = [torch.tensor(array.copy(), requires_grad=True) for array in arrays]
    for _ in range(50):
        hidden = np.tanh(corners @ arrays[0].T + arrays[1])
        loss, grad = mlps.softmax_cross_entropy(hidden @ arrays[2].T + arrays[3], targets)
        grad_hidden, *last = mlps.linear_backward(grad, hidden, arrays[2])
        _, *first = mlps.linear_backward(grad_hidden * (1 - hidden**2), corners, arrays[0])
        arrays = [array - 0.3 * slope for array, slope in zip(arrays, [*first, *last], strict=True)]

        output = F.linear(torch.tanh(F.linear(torch.tensor(corners), *tensors[:2])), *tensors[2:])
        theirs = F.cross_entropy(output, torch.tensor(targets))
        slopes = torch.autograd.grad(theirs, tensors)
        tensors = [(t - 0.3 * s).detach().requires_grad_() for t, s in zip(tensors, slopes, strict=True)]

        total = Value(0.0)
        for corner, target in zip(corners, targets, strict=True):
            cells = [
                (w[0] * corner[0] + w[1] * corner[1] + b[0]).tanh() for w, b in zip(scalars[0], scalars[1], strict=True)
            ]
            logits = [
                sum(w * c for w, c in zip(row, cells, strict=True)) + b[0]
                for row, b in zip(scalars[2], scalars[3], strict=True)
            ]
            total = total + (logits[0].exp() + logits[1].exp()).log() - logits[target]
        total = total / 4
        total.backward()
        scalars = [[[Value(n.data - 0.3 * n.grad) for n in row] for row in array] for array in scalars]

        assert total.data == pytest.approx(loss, abs=1e-6)
        assert theirs.item() == pytest.approx(loss, abs=1e-6)
