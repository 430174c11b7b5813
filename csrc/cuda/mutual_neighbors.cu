#include "mutual_neighbors.cuh"

#include "../geometry_operands.h"
#include "device.cuh"

namespace cheblienet {
namespace {

// Waits for the device once, in nonzero, to learn the number of edges.
std::tuple<Tensor, Tensor> mutual_neighbors_cuda(const Tensor& neighbours, const Tensor& distances, double limit,
                                                 const std::optional<Tensor>&) {
  check_on_gpu("mutual_neighbors", "index", neighbours);
  const MutualOperands given = checked_mutual(neighbours, distances, limit);
  const Tensor &index = given.index, &sqdist = given.sqdist;
  DeviceGuard guard(index.get_device_index());
  const int64_t vertices = index.size(0), k = index.size(1);
  if (index.numel() == 0)
    return {new_empty(index, {2, 0}, ScalarType::Long), new_empty(index, {0}, ScalarType::Double)};
  const cudaStream_t stream = current_stream(index);
  auto [vertex, slot] = sorted(index);
  vertex = torch::stable::contiguous(vertex);
  slot = torch::stable::contiguous(slot);
  Tensor mutual = new_empty(index, {vertices * k}, ScalarType::Bool),
         mean = new_empty(index, {vertices * k}, ScalarType::Double);
  const FlatLaunch slots = flat_launch(vertices * k);
  find_mutual<<<slots.grid, slots.block, 0, stream>>>(
      vertex.const_data_ptr<int64_t>(), slot.const_data_ptr<int64_t>(), sqdist.const_data_ptr<double>(), limit,
      mutual.mutable_data_ptr<bool>(), mean.mutable_data_ptr<double>(), vertices, k);
  STD_CUDA_KERNEL_LAUNCH_CHECK();

  const Tensor entry = torch::stable::contiguous(nonzero(mutual));
  const int64_t edges = entry.size(0);
  Tensor edge_index = new_empty(index, {2, edges}, ScalarType::Long),
         edge_sqdist = new_empty(index, {edges}, ScalarType::Double);
  if (edges == 0) return {edge_index, edge_sqdist};
  const FlatLaunch launch = flat_launch(edges);
  write_edges<<<launch.grid, launch.block, 0, stream>>>(
      entry.const_data_ptr<int64_t>(), vertex.const_data_ptr<int64_t>(), mean.const_data_ptr<double>(),
      edge_index.mutable_data_ptr<int64_t>(), edge_sqdist.mutable_data_ptr<double>(), edges, k);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {edge_index, edge_sqdist};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CUDA, m) {
  m.impl("mutual_neighbors", TORCH_BOX(&cheblienet::mutual_neighbors_cuda));
}
