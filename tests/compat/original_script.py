"""A script as one writes it for the original package: graphs, layers, a network, engines. Run by test_scripts.py."""

import argparse
import os

import numpy as np
import torch
from beside import NUM_CLASSES
from cheblienet.datas.transforms import BoolToInt, Compose, Normalize, ToGEGraphSignal, ToTensor
from cheblienet.engines.engines import create_supervised_evaluator, create_supervised_trainer
from cheblienet.engines.utils import PerClassAccuracy, output_transform_mAP, prepare_batch
from cheblienet.geometry.se import se2_log, se2_matrix, se2_riemannian_sqdist, se2_uniform_sampling
from cheblienet.geometry.utils import rotation_matrix
from cheblienet.graphs.graphs import R2GEGraph, RandomSubGraph, S2GEGraph, SE2GEGraph, SO3GEGraph
from cheblienet.nn.layers.convs import ChebConv, cheb_conv
from cheblienet.nn.layers.pools import GlobalPool, SE2SpatialPool, SO3OrientationPool, SO3SpatialPool
from cheblienet.nn.layers.unpools import SE2SpatialUnpool, SO3SpatialUnpool
from cheblienet.nn.models.chebnets import SO3GEUChebNet, WideResSE2GEChebNet
from cheblienet.nn.models.utils import capacity
from cheblienet.utils.utils import delta_kronecker, shuffle_tensor
from torch.nn.functional import nll_loss
from torch.optim import Adam


def graphs(folder):
    se2 = SE2GEGraph([6, 6, 4], K=8, sigmas=(1.0, 0.1, 0.05), path_to_graph=folder)
    r2 = R2GEGraph(size=[6, 6, 1], K=8, sigmas=(1.0, 1.0, 1.0), path_to_graph=folder)
    assert se2.manifold == "se2"
    assert se2.dim == (4, 36)
    assert se2.vertex_attributes == ("vertex_x", "vertex_y", "vertex_theta")
    assert se2.edge_index.shape == (2, se2.num_edges)
    neighbors, weights, sqdist = r2.neighborhood(9)
    assert len(neighbors) == len(weights) == len(sqdist) == 8
    eigenvalues, eigenvectors = r2.get_eigen_space()
    eigenvectors[:, 0] = 0
    assert eigenvalues.dtype == torch.float32
    signal = delta_kronecker((r2.num_vertices), r2.centroid_vertex)
    spread = r2.diff_kernel(lambda x: np.exp(-10.0 * x)) @ signal
    assert spread.shape == (36,)
    assert (r2.get_eigen_space()[1][:, 0] != 0).any()
    laplacian = se2.get_laplacian(rescale=True, device=torch.device("cpu"))
    assert laplacian._indices().shape == (2, se2.num_edges)
    conv = ChebConv(1, 2, 3, se2, bias=False)
    x = torch.rand(1, 1, 144)
    torch.testing.assert_close(conv(x), cheb_conv(x, conv.weight, laplacian).permute(1, 2, 0))
    return se2


def layers():
    assert SE2SpatialPool(2, (4, 4, 1), "rand")(torch.rand(16)).shape == (4,)
    assert SE2SpatialUnpool(2, (4, 4, 1), "rand")(torch.rand(16)).shape == (64,)
    assert SO3SpatialPool(2, (42, 1), "max")(torch.rand(42)).shape == (12,)
    assert SO3SpatialUnpool(2, (12, 1), "avg")(torch.rand(3, 12)).shape == (3, 42)
    assert SO3OrientationPool(2, (12, 2), "max")(torch.rand(1, 2, 24)).shape == (1, 2, 12)
    assert GlobalPool("max")(torch.rand(1, 2, 24)).shape == (1, 2)


def geometry():
    x, y, theta = se2_uniform_sampling(4, 3, 2)
    G = se2_matrix(x, y, theta)
    assert se2_log(G).shape == (24, 3, 1)
    assert se2_riemannian_sqdist(G[5], G, torch.diag(torch.tensor([1.0, 0.1, 1.0])))[5] == 0
    torch.testing.assert_close(rotation_matrix(theta, "z")[:, :2, :2], G[:, :2, :2])


def train(graph, args):
    sub_graph = RandomSubGraph(graph)
    model = WideResSE2GEChebNet(1, NUM_CLASSES, 3, graph_lvl0=sub_graph, res_depth=1).to(torch.device("cpu"))
    transform = Compose([ToTensor(), ToGEGraphSignal(4), Normalize((0.5,), (0.5,))])
    data = [(transform(np.eye(6, dtype=np.float32)[None]), i % NUM_CLASSES) for i in range(8)]
    loader = torch.utils.data.DataLoader(data, batch_size=args.batch_size)
    trainer = create_supervised_trainer(
        graph=sub_graph,
        model=model,
        optimizer=Adam(model.parameters(), lr=1e-3),
        loss_fn=nll_loss,
        device=torch.device("cpu"),
        prepare_batch=prepare_batch,
    )
    evaluator = create_supervised_evaluator(sub_graph, model, {"acc": PerClassAccuracy(1)}, prepare_batch=prepare_batch)
    from ignite.engine import Events

    trainer.add_event_handler(Events.ITERATION_STARTED, sub_graph.reinit)
    trainer.add_event_handler(Events.ITERATION_STARTED, sub_graph.vertices_sampling, 0.5)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, sub_graph.reinit)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run(loader))
    trainer.run(loader, max_epochs=2)
    assert isinstance(trainer.state.output, float)
    assert 0 <= evaluator.state.metrics["acc"] <= 1
    print("capacity", capacity(model))


def segment(folder):
    levels = [SO3GEGraph(size=[n, 2], sigmas=(1.0, 0.1, 10.0 / n), K=4, path_to_graph=folder) for n in (12, 42)]
    sphere = S2GEGraph(size=[42, 1], sigmas=(1.0, 1.0, 1.0), K=4, path_to_graph=folder)
    network = SO3GEUChebNet(16, 3, 3, graphs=levels, output_graph=sphere)
    target = Compose([ToTensor(), BoolToInt()])(np.eye(3, dtype=bool)[:, shuffle_tensor(torch.arange(42)) % 3])
    scores, classes = output_transform_mAP((network(torch.rand(2, 16, 84)), target.expand(2, 42)))
    assert scores.shape == classes.shape == (84, 3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--path_to_graph", type=str)
    parser.add_argument("--batch_size", type=int, default=4)
    args = parser.parse_args()
    layers()
    geometry()
    train(graphs(args.path_to_graph), args)
    segment(args.path_to_graph)
    print("graphs", len(os.listdir(args.path_to_graph)))
