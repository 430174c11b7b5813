"""The searches for neighbours of cheblienet.ops, against distances between all pairs."""

import strategies as some
import torch
from hypothesis import given
from hypothesis import strategies as st
from judge import cases, judge

from cheblienet import groups, ops
from cheblienet.ops import reference

SEARCH = ("elements", "sigmas", "K", "group")


@st.composite
def searches(draw):
    group = draw(st.sampled_from(list(groups.GROUPS.values())))
    vertices = draw(st.integers(2, 24))
    shape = vertices, len(group.coordinates)
    elements = draw(some.tensors(shape, torch.float64, ("ordinary", "whole", "zero", "mixed", "huge", "nonfinite")))
    if draw(st.booleans()):
        elements = groups.sample(group, "random", vertices, generator=some.generator(draw(st.integers(0, 999))))
    sigmas = tuple(draw(st.lists(some.SIGMA, min_size=3, max_size=3)))
    if group.name == "s2":  # otherwise a distance is not symmetric
        sigmas = sigmas[0], sigmas[0], sigmas[2]
    return some.Arguments(elements=elements, sigmas=sigmas, K=draw(st.integers(1, vertices - 1)), group=group)


def right_search(arguments):
    def right(found):
        index, sqdist = found
        elements, sigmas, K, group = (arguments[name] for name in SEARCH)
        vertices = len(elements)
        assert index.shape == sqdist.shape == (vertices, K)
        if index.device.type == "meta":
            return
        distances = group.squared_distance(elements.detach()[:, None], elements.detach(), sigmas)
        assert distances.isfinite().all()
        distances.fill_diagonal_(torch.inf)
        ranked = distances.sort(1).values
        scale = sum(sigmas) * (1 + elements.detach().abs().max() ** 2)
        # The square of an angle near zero that is 1e-16 wide of the mark.
        close = {"rtol": 1e-7, "atol": 1e-13 * float(scale)}
        # Members of a shell, 1e-5 wide, come by their index.
        torch.testing.assert_close(sqdist.sort(1).values, ranked[:, :K], **close)
        present = index >= 0
        assert (index < vertices).all()
        assert ((index != torch.arange(vertices)[:, None]) | ~present).all()
        assert (present.int().diff(dim=1) <= 0).all()
        for v in range(vertices):
            named = index[v][present[v]]
            assert len(named.unique()) == len(named)
            torch.testing.assert_close(distances[v][named], sqdist[v][present[v]], **close)
        gaps = ranked[:, 1:] / ranked[:, :-1] - 1
        if ranked.min() > 1e4 * close["atol"] and not ((gaps > 1e-6) & (gaps < 1e-4)).any():
            assert torch.equal(index, reference.nearest_neighbors(elements.detach(), sigmas, K, group)[0])

    return right


def in_range(arguments):
    elements = arguments["elements"].detach()
    return bool(elements.isfinite().all() and (elements.abs() < 1e60).all())


@cases(1.5)
@given(searches(), st.data())
def test_neighbors_are_right_or_refused(arguments, data):
    valid = in_range(arguments)
    spoilt = data.draw(st.sampled_from([None, None, *SEARCH]))
    if spoilt:
        arguments["elements"] = arguments["elements"].detach()
        arguments[spoilt] = data.draw(some.spoilt(arguments[spoilt]))
    judge(ops.nearest_neighbors, arguments, right_search(arguments), valid=valid and not spoilt)


@st.composite
def neighborhoods(draw):
    vertices = draw(st.integers(0, 20))
    K = draw(st.integers(0, max(vertices - 1, 0)))
    g = some.generator(draw(st.integers(0, 999)))
    order = torch.rand(vertices, vertices, generator=g).fill_diagonal_(2.0).argsort(1)[:, :K]
    index = torch.where(torch.rand(order.shape, generator=g) < 0.2, -1, order)
    sqdist = draw(some.tensors(index.shape, torch.float64)).detach().abs()
    index, sqdist = some.placed(index, draw(st.sampled_from(some.MEMORIES[:4]))), sqdist
    limit = draw(st.sampled_from([float("inf"), 0.0, 1.0, 0.3]))
    return some.Arguments(index=index, sqdist=sqdist, limit=limit)


def right_edges(arguments):
    def right(found):
        index, sqdist, limit = arguments.values()
        edges, distances = found
        for v, row in enumerate(index.tolist()):
            named = [u for u in row if u >= 0]
            assert len(set(named)) == len(named)
            assert v not in named
        wanted, wanted_distances = reference.mutual_neighbors(index, sqdist, limit)
        assert torch.equal(edges, wanted)
        torch.testing.assert_close(distances, wanted_distances, rtol=1e-15, atol=0)

    return right


@cases()
@given(neighborhoods(), st.data())
def test_mutual_neighbors_are_right_or_refused(arguments, data):
    spoilt = data.draw(st.sampled_from([None, None, *arguments]))
    if spoilt:
        arguments[spoilt] = data.draw(some.spoilt(arguments[spoilt]))
    judge(ops.mutual_neighbors, arguments, right_edges(arguments), valid=spoilt is None)
