import math

import numpy as np
import pytest
import scipy.linalg
import torch

from cheblienet.groups import GROUPS, R2, S2, SE2, SO3

METRICS = [(1.0, 1.0, 1.0), (1.0, 0.1, 0.0026), (0.01, 30.0, 2.0)]


def random_elements(group, count, seed=0, dtype=torch.float64):
    u = 2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    polar = math.pi * (u[:, 1] + 1) / 2
    coordinates = {
        "r2": u[:, :2],
        "se2": torch.stack([2 * u[:, 0], 2 * u[:, 1], math.pi * u[:, 2]], -1),
        "s2": torch.stack([polar, math.pi * u[:, 2]], -1),
        "so3": torch.stack([math.pi * u[:, 0], polar, math.pi * u[:, 2]], -1),
    }
    return coordinates[group.name].to(dtype)


def metrics_of(group):
    return [(1.0, 1.0, 1.0), (0.3, 0.3, 7.0)] if group is S2 else METRICS


def hat(group, c):
    """The matrix of a tangent vector in the Lie algebra."""
    c1, c2, c3 = c
    if group in (R2, SE2):
        return np.array([[0, -c3, c1], [c3, 0, c2], [0, 0, 0]])
    return np.array([[0, -c3, c2], [c3, 0, -c1], [-c2, c1, 0]])


# The framework's own, at the first use of forward mode in a process.
forward_mode = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
every_group = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)


@every_group
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_matrix_element_and_inverse(group, dtype, assert_close):
    element = random_elements(group, 200, dtype=dtype)
    matrix = group.matrix(element)
    assert matrix.dtype == dtype
    assert_close(group.inverse(matrix) @ matrix, torch.eye(3, dtype=dtype).expand(200, 3, 3))
    again = group.matrix(group.element(matrix))
    assert_close(again[..., 2] if group is S2 else again, matrix[..., 2] if group is S2 else matrix)
    batched = group.matrix(element.view(4, 50, -1))
    assert torch.equal(batched.view(200, 3, 3), matrix)


def test_so3_element_where_two_angles_act_as_one(assert_close):
    for beta in (0.0, math.pi):
        element = random_elements(SO3, 50)
        element[:, 1] = beta
        matrix = SO3.matrix(element)
        assert_close(SO3.matrix(SO3.element(matrix)), matrix)


@every_group
def test_matrices_compose_as_the_formulas_say(group):
    a, b, c = 0.3, 0.7, -1.1
    rz = lambda t: np.array([[math.cos(t), -math.sin(t), 0], [math.sin(t), math.cos(t), 0], [0, 0, 1]])  # noqa: E731
    ry = lambda t: np.array([[math.cos(t), 0, math.sin(t)], [0, 1, 0], [-math.sin(t), 0, math.cos(t)]])  # noqa: E731
    translation = lambda x, y: np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])  # noqa: E731
    expected = {
        "r2": translation(a, b),
        "se2": translation(a, b) @ rz(c),
        "s2": rz(b) @ ry(a),
        "so3": rz(c) @ ry(b) @ rz(a),
    }[group.name]
    element = torch.tensor([a, b, c][: len(group.coordinates)], dtype=torch.float64)
    np.testing.assert_allclose(group.matrix(element), expected, atol=1e-15)


@pytest.mark.parametrize("group", [R2, SE2, SO3], ids=lambda g: g.name)
def test_exponential_of_the_logarithm_is_the_element(group):
    for element in random_elements(group, 60):
        matrix = group.matrix(element)
        c = group.log(matrix)
        np.testing.assert_allclose(scipy.linalg.expm(hat(group, c)), matrix, atol=1e-10)
        np.testing.assert_allclose(hat(group, c), np.real(scipy.linalg.logm(matrix.numpy())), atol=1e-8)


def test_s2_logarithm_is_that_of_the_rotation_without_torsion():
    for element in random_elements(S2, 60):
        beta, gamma = element
        torsion_free = SO3.matrix(torch.stack([-gamma, beta, gamma]))
        np.testing.assert_allclose(S2.log(S2.matrix(element)), SO3.log(torsion_free), atol=1e-10)
        assert S2.log(S2.matrix(element))[2] == 0


@pytest.mark.parametrize("group", [SE2, SO3, S2], ids=lambda g: g.name)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("offset", [0.0, 1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 2e-3])
@pytest.mark.parametrize("base", [0.0, math.pi])
def test_logarithm_near_and_at_its_limits(group, dtype, offset, base):
    """A known tangent vector goes through the exponential and comes back, angles near 0 and near pi included."""
    angle = abs(base - offset)
    axis = np.array([0.6, -0.8, 0.0]) if group is S2 else np.array([2.0, -1.0, 2.0]) / 3
    c = np.array([0.3, -0.2, angle]) if group is SE2 else angle * axis
    matrix = torch.from_numpy(scipy.linalg.expm(hat(group, c))).to(dtype).requires_grad_()
    log = group.log(matrix)
    (gradient,) = torch.autograd.grad(log.sum(), matrix)
    assert log.isfinite().all()
    assert gradient.isfinite().all()
    log = log.detach().double().numpy()
    if base == math.pi:  # c and its opposite are one rotation there; on S2, every direction is at the antipode
        np.testing.assert_allclose(
            np.linalg.norm(log) if group is not SE2 else abs(log[2]),
            angle,
            atol=2e-3 if dtype == torch.float32 else 1e-7,
        )
    if base == 0 or (offset >= 1e-3 and group is not S2):
        np.testing.assert_allclose(log, c, atol=(4e-3 if base else 1e-6) if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_s2_logarithm_close_to_the_antipode(dtype):
    """Down to sines whose square underflows, the length stays pi and no gradient is NaN or infinite."""
    sine = torch.from_numpy(10.0 ** -np.arange(6, 330, 0.02)).to(dtype)
    matrix = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=dtype)).repeat(len(sine), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = 0.6 * sine, 0.8 * sine
    log = S2.log(matrix.requires_grad_())
    (gradient,) = torch.autograd.grad(log.sum(), matrix)
    assert gradient.isfinite().all()
    assert (log.norm(dim=1) - math.pi).abs().max() < 2e-6


@pytest.mark.parametrize("group", [S2, SO3], ids=lambda g: g.name)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("beta", [0.0, math.pi])
def test_elements_at_the_poles_have_finite_gradients(group, dtype, beta):
    pole = torch.diag(torch.tensor([math.cos(beta), 1.0, math.cos(beta)], dtype=dtype)).requires_grad_()
    element = group.element(pole)
    assert float(element[group.coordinates.index("beta")].detach()) == pytest.approx(beta)
    for coordinate in element:
        (gradient,) = torch.autograd.grad(coordinate, pole, retain_graph=True)
        assert gradient.isfinite().all()


@every_group
def test_distance_is_symmetric_left_invariant_and_zero_on_itself(group):
    g, h, k = (random_elements(group, 300, seed) for seed in (0, 1, 2))
    left = SO3.matrix(random_elements(SO3, 300, 2)) if group is S2 else group.matrix(k)
    moved = [group.element(left @ group.matrix(element)) for element in (g, h)]
    for sigmas in metrics_of(group):
        d2 = group.squared_distance(g, h, sigmas)
        torch.testing.assert_close(group.squared_distance(h, g, sigmas), d2, rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(group.squared_distance(*moved, sigmas), d2, rtol=1e-7, atol=1e-9)
        assert group.squared_distance(g, g, sigmas).max() < 1e-14
        assert (d2 > 0).all()


@pytest.mark.parametrize("group", [SE2, SO3], ids=lambda g: g.name)
def test_orientation_is_periodic_with_pi(group):
    g, h = random_elements(group, 300), random_elements(group, 300, 1)
    angle = group.coordinates.index("theta" if group is SE2 else "alpha")
    expected = group.squared_distance(g, h, METRICS[1])
    for turn in (-math.pi, math.pi, 2 * math.pi):
        turned = h.clone()
        turned[:, angle] += turn
        torch.testing.assert_close(group.squared_distance(g, turned, METRICS[1]), expected, rtol=1e-8, atol=1e-10)


def test_distances_known_by_hand():
    def d2(group, g, h, sigmas):
        g, h = (torch.tensor(element, dtype=torch.float64) for element in (g, h))
        return float(group.squared_distance(g, h, sigmas))

    sigmas = (2.0, 3.0, 5.0)
    assert d2(R2, [0, 0], [1, 2], sigmas) == 2 + 12
    assert d2(SE2, [0, 0, 0], [1, 2, 0], sigmas) == 2 + 12
    assert d2(SE2, [0, 0, math.pi / 2], [1, 2, math.pi / 2], sigmas) == pytest.approx(2 * 4 + 3)  # the frame has turned
    assert d2(SE2, [1, 1, 0.2], [1, 1, 0.5], sigmas) == pytest.approx(5 * 0.09)
    # A quarter circle of radius 1: from the origin along x, turning left, length pi / 2 and angle pi / 2.
    assert d2(SE2, [0, 0, 0], [1, 1, math.pi / 2], sigmas) == pytest.approx((2 + 5) * (math.pi / 2) ** 2)
    assert d2(SO3, [0.4, 1, 2], [0.1, 1, 2], sigmas) == pytest.approx(5 * 0.09)
    assert d2(S2, [0, 0], [1, 0], (1.0, 1.0, 1.0)) == pytest.approx(1)
    assert d2(S2, [0, 0], [math.pi, 0], (1.0, 1.0, 1.0)) == pytest.approx(math.pi**2)


def extreme_elements(group):
    """All combinations of coordinates where something vanishes, wraps or comes close to it; angles of a few turns too."""
    angles = [
        0.0,
        -0.0,
        1e-8,
        1e-4,
        1e-3,
        1.0,
        math.pi / 2,
        math.pi - 1e-3,
        math.pi - 1e-7,
        math.pi,
        -math.pi,
        3 * math.pi,
    ]
    polar = [0.0, 1e-8, 1e-4, 1e-3, 1.0, math.pi / 2, math.pi - 1e-3, math.pi - 1e-7, math.pi]
    places = [0.0, -0.0, 1e-20, 1.0, -3.0]
    ranges = {
        "r2": [places, places],
        "se2": [places, places, angles],
        "s2": [polar, angles],
        "so3": [angles, polar, angles],
    }[group.name]
    return torch.cartesian_prod(*(torch.tensor(values, dtype=torch.float64) for values in ranges))


@forward_mode
@every_group
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_nothing_is_nan_at_the_limits(group, dtype, assert_close):
    """Values, and derivatives in both modes, are finite everywhere; values are right where they are unique."""
    element = extreme_elements(group).to(dtype)
    matrix = group.matrix(element)
    other = element[torch.randperm(len(element))]
    functions = [
        (group.matrix, element),
        (group.element, matrix),
        (group.inverse, matrix),
        (group.log, matrix),
        (lambda g: group.squared_distance(g, other, (1.0, 1.0, 1.0)), element),
        (lambda g: group.squared_distance(g, element, (1.0, 1.0, 1.0)), element),
    ]
    for function, argument in functions:
        value, tangent = torch.func.jvp(function, (argument,), (torch.randn_like(argument),))
        argument = argument.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(function(argument).sum(), argument)
        assert value.dtype == gradient.dtype == dtype
        for found in (value, tangent, gradient):
            assert found.isfinite().all()
    # Half precision is that of arguments and results only.
    exact = group.squared_distance(element.double(), other.double(), (1.0, 1.0, 1.0))
    found = group.squared_distance(element, other, (1.0, 1.0, 1.0)).double()
    assert ((found - exact).abs() / (1 + exact)).max() < max(2e-6, torch.finfo(dtype).eps)
    assert group.squared_distance(element, element, (1.0, 1.0, 1.0)).float().max() < 1e-12
    exact = group.matrix(group.element(matrix.double()))
    assert_close(group.matrix(group.element(matrix))[..., 2], exact[..., 2], factor=3)


@forward_mode
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_derivatives_of_elements_at_and_close_to_the_poles(dtype):
    """An azimuth has the derivative of its formula down to the least normal numbers, and none at the pole."""
    radius = torch.tensor([1.0, 1e-3, 1e-15, 1e-19, 1e-22, 1e-30, 1e-37, 0.0], dtype=dtype)
    x, y = 0.6 * radius, 0.8 * radius
    matrix = torch.eye(3, dtype=dtype).repeat(len(radius), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = x, y
    across = torch.zeros_like(matrix)
    across[:, 0, 2], across[:, 1, 2] = -0.8, 0.6
    for group in (S2, SO3):
        element, tangent = torch.func.jvp(group.element, (matrix,), (across,))
        gamma, beta = element[:, -1], element[:, group.coordinates.index("beta")]
        torch.testing.assert_close(gamma[:-1], torch.full_like(gamma[:-1], math.atan2(0.8, 0.6)))
        torch.testing.assert_close(beta, torch.atan2(radius, matrix[:, 2, 2]))
        torch.testing.assert_close(tangent[:-1, -1] * radius[:-1], torch.ones_like(radius[:-1]))
        assert (gamma[-1], tangent[-1, -1]) == (0, 0)
        for mode in (torch.func.jacfwd, torch.func.jacrev):
            assert mode(torch.func.jacrev(group.element))(matrix[-1]).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sigma", [1e39, 1e-50, 1e-40])
def test_a_metric_that_the_dtype_does_not_hold_is_refused(dtype, sigma):
    element = torch.ones(3)
    for sigmas in ((1.0, sigma, 1.0), torch.tensor([1.0, sigma, 1.0], dtype=torch.float64)):
        with pytest.raises(ValueError, match=rf"se2: sigmas: expected numbers between 1.2e-38 and 3.4e\+38 .*{dtype}"):
            SE2.squared_distance(element.to(dtype), element.to(dtype), sigmas)
        assert SE2.squared_distance(element.double(), 0 * element.double(), sigmas).isfinite()


def test_a_metric_of_any_size_scales_the_distance():
    g, h = random_elements(SE2, 40), random_elements(SE2, 40, 1)
    for dtype, scale in ((torch.float64, 2.0**900), (torch.float64, 2.0**-900), (torch.float32, 2.0**-110)):
        expected = SE2.squared_distance(g.to(dtype), h.to(dtype), (1.0, 0.5, 0.25))
        scaled = SE2.squared_distance(g.to(dtype), h.to(dtype), (scale, 0.5 * scale, 0.25 * scale))
        torch.testing.assert_close(scaled / scale, expected)


@every_group
def test_shapes_and_strides(group):
    d, sigmas = len(group.coordinates), (1.0, 1.0, 1.0)
    none = torch.zeros(0, 4, d)
    assert group.matrix(none).shape == (0, 4, 3, 3)
    for function, shape in ((group.element, (0, d)), (group.log, (0, 3)), (group.inverse, (0, 3, 3))):
        assert function(torch.zeros(0, 3, 3)).shape == shape
    assert group.squared_distance(none, none, sigmas).shape == (0, 4)
    element = random_elements(group, 12)
    matrix = group.matrix(element)
    assert torch.equal(group.matrix(element.T.contiguous().T), matrix)
    for function in (group.element, group.log, group.inverse):
        assert torch.equal(function(matrix.mT.contiguous().mT), function(matrix))
        assert torch.equal(function(matrix.view(3, 4, 3, 3)).flatten(0, 1), function(matrix))
        torch.testing.assert_close(function(matrix[5]), function(matrix)[5])
    for wrong in (
        torch.zeros(()),
        torch.zeros(4, d + 1),
        torch.zeros(4, d).int(),
        torch.zeros(4, d).to_sparse(),
        [0.0],
    ):
        with pytest.raises((TypeError, ValueError), match=f"{group.name}: (g|element): expected"):
            group.matrix(wrong)
        with pytest.raises((TypeError, ValueError), match=f"{group.name}: (g|element): expected"):
            group.squared_distance(wrong, element, sigmas)
    for wrong in (
        torch.zeros(()),
        torch.zeros(3),
        torch.zeros(3, 4),
        torch.eye(3).int(),
        torch.eye(3).to_sparse(),
        [0.0],
    ):
        for function in (group.element, group.log, group.inverse):
            with pytest.raises((TypeError, ValueError), match=f"{group.name}: matrix: expected"):
                function(wrong)


@every_group
def test_gradients(group):
    g, h = random_elements(group, 6).requires_grad_(), random_elements(group, 6, 1).requires_grad_()
    sigmas = torch.tensor([1.0, 1.0 if group is S2 else 0.4, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(group.squared_distance, (g, h, sigmas), atol=1e-4)
    same = g.detach().clone().requires_grad_()
    for gradient in torch.autograd.grad(group.squared_distance(g, same, sigmas).sum(), (g, same, sigmas)):
        assert gradient.isfinite().all()


def test_samplings_follow_the_vertex_order():
    x, y = R2.uniform_sampling(3, 4).unbind(1)
    assert torch.equal(x[:4], torch.tensor([0, 1 / 3, 2 / 3, 0], dtype=torch.float64))
    assert y[3] == 0.25
    x, y, theta = SE2.uniform_sampling(3, 4, 6).unbind(1)
    assert len(x) == 72
    assert (x[1], y[3], float(theta[12])) == (1 / 3, 0.25, pytest.approx(-math.pi / 2 + math.pi / 6))
    assert theta.min() == -math.pi / 2
    assert theta.max() < math.pi / 2
    sphere, rotations = S2.uniform_sampling(42), SO3.uniform_sampling(42, 3, frames="coordinate")
    assert rotations.shape == (126, 3)
    torch.testing.assert_close(rotations[42:84, 1:], sphere)
    assert rotations[0, 0] == -math.pi / 2


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"se2: ntheta: expected an integer at least 2, got 1"):
        SE2.uniform_sampling(4, 4, 1)
    with pytest.raises(ValueError, match=r"se2: ny: expected an integer at least 2, got 1"):
        SE2.uniform_sampling(4, 1, 4)
    with pytest.raises(ValueError, match=r"se2: size: expected nx, ny, ntheta, got \(4, 4\)"):
        SE2.uniform_sampling(4, 4)
    with pytest.raises(ValueError, match=r"s2: size: expected num_vertices, got \(42, 3\)"):
        S2.uniform_sampling(42, 3)
    with pytest.raises(ValueError, match=r"r2: nx: expected an integer at least 2, got 1"):
        R2.uniform_sampling(1, 4)
    with pytest.raises(ValueError, match=r"so3: nalpha: expected an integer at least 2, got 1"):
        SO3.uniform_sampling(42, 1)
    with pytest.raises(ValueError, match=r"vertices of an icosphere, such as 42 or 162, got 100"):
        S2.uniform_sampling(100)
    with pytest.raises(ValueError, match=r"se2: element: expected coordinates x, y, theta .* got shape \(4, 2\)"):
        SE2.matrix(torch.zeros(4, 2))
    with pytest.raises(
        TypeError, match=r"se2: element: expected float64, float32, bfloat16 or float16, got torch.int64"
    ):
        SE2.matrix(torch.zeros(4, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"so3: matrix: expected shape \(..., 3, 3\), got \(2, 2\)"):
        SO3.log(torch.eye(2))
    with pytest.raises(ValueError, match=r"so3: sigmas: expected three positive finite numbers, got \(1.0, 0.0, 1.0\)"):
        SO3.squared_distance(torch.zeros(3), torch.zeros(3), (1.0, 0.0, 1.0))
    with pytest.raises(TypeError, match=r"se2: h: expected torch.float32 as g has, got torch.float64"):
        SE2.squared_distance(torch.zeros(3), torch.zeros(3, dtype=torch.float64), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"se2: h: expected a shape that broadcasts with \(4, 3\) of g, got \(5, 3\)"):
        SE2.squared_distance(torch.zeros(4, 3), torch.zeros(5, 3), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"se2: h: expected a tensor on cpu, got one on meta"):
        SE2.squared_distance(torch.zeros(3), torch.zeros(3, device="meta"), (1.0, 1.0, 1.0))


@every_group
def test_distances_broadcast(group):
    g, h = random_elements(group, 4), random_elements(group, 5, 1)
    d2 = group.squared_distance(g[:, None], h, (1.0, 1.0, 1.0))
    assert d2.shape == (4, 5)
    torch.testing.assert_close(d2[3, 2], group.squared_distance(g[3], h[2], (1.0, 1.0, 1.0)))
