#include "nearest_neighbors.cuh"

#include "../math/r2.h"
#include "../math/s2.h"
#include "../math/se2.h"
#include "../math/so3.h"
#include "../geometry_operands.h"
#include "device.cuh"

namespace cheblienet {
namespace {

// Elements and boxes on the device, in the order of the tree.
template <class Group>
struct DeviceTree {
  using R = Record<Group>;
  Tensor order, records, boxes;

  static FlatLaunch per_lane(int64_t items) { return flat_launch(padded(items)); }

  DeviceTree(const Tensor& elements, const Tensor& sigmas, bool sort, cudaStream_t stream)
      : records(new_empty(elements, {R::components * padded(elements.size(0))}, ScalarType::Double)) {
    const int64_t vertices = elements.size(0);
    const int levels = tree_levels(vertices);
    boxes = new_empty(elements, {R::box_components * tree_first(vertices, levels)}, ScalarType::Double);
    leaves(elements, nullptr, stream);
    if (!sort) return;
    parents(vertices, levels, stream);
    Tensor keys = new_empty(elements, {vertices}, ScalarType::Long);
    const FlatLaunch launch = flat_launch(vertices);
    tree_keys<Group><<<launch.grid, launch.block, 0, stream>>>(
        device_data<double>(records), device_data<double>(boxes), tree_first(vertices, levels - 1),
        sigmas.const_data_ptr<double>(), keys.mutable_data_ptr<int64_t>(), vertices);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
    order = std::get<1>(sorted(keys));
    leaves(elements, order.const_data_ptr<int64_t>(), stream);
    parents(vertices, levels, stream);
  }

  void leaves(const Tensor& elements, const int64_t* order, cudaStream_t stream) {
    const FlatLaunch launch = per_lane(elements.size(0));
    tree_leaves<Group><<<launch.grid, launch.block, 0, stream>>>(elements.const_data_ptr<double>(), order,
                                                                 device_data<double>(records),
                                                                 device_data<double>(boxes), elements.size(0));
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  void parents(int64_t vertices, int levels, cudaStream_t stream) {
    for (int level = 1; level < levels; ++level) {
      const int64_t children = tree_nodes(vertices, level - 1);
      const FlatLaunch launch = per_lane(children);
      tree_parents<R::dimensions><<<launch.grid, launch.block, 0, stream>>>(
          device_data<double>(boxes), tree_first(vertices, level - 1), children, tree_first(vertices, level));
      STD_CUDA_KERNEL_LAUNCH_CHECK();
    }
  }
};

// Tensors of Neighborhoods; distance and vertex are empty where one pass lists all.
struct Result {
  Tensor index, sqdist, distance, vertex;

  Result(const Tensor& like, int64_t vertices, int64_t k)
      : index(new_empty(like, {vertices, k}, ScalarType::Long)),
        sqdist(new_empty(like, {vertices, k}, ScalarType::Double)),
        distance(new_empty(like, {in_one_pass(k) ? 0 : vertices, k + 1}, ScalarType::Double)),
        vertex(new_empty(like, {in_one_pass(k) ? 0 : vertices, k + 1}, ScalarType::Int)) {}
};

template <class Group, int rows>
void search(const Tensor& elements, const Tensor& sigmas, Result& to, cudaStream_t stream) {
  const int64_t vertices = elements.size(0), k = to.index.size(1);
  const bool all = vertices <= kAllPairs;
  DeviceTree<Group> tree(elements, sigmas, !all, stream);
  const WarpLaunch launch = warp_launch(vertices);
  if (all)
    nearest_of_all<Group, rows><<<launch.grid, launch.block, 0, stream>>>(
        device_data<double>(tree.records), sigmas.const_data_ptr<double>(), device_data<int64_t>(to.index),
        device_data<double>(to.sqdist), device_data<double>(to.distance), device_data<int>(to.vertex), vertices, k);
  else
    nearest_in_tree<Group, rows><<<launch.grid, launch.block, 0, stream>>>(
        device_data<double>(tree.records), device_data<double>(tree.boxes),
        tree.order.template const_data_ptr<int64_t>(), sigmas.const_data_ptr<double>(), device_data<int64_t>(to.index),
        device_data<double>(to.sqdist), device_data<double>(to.distance), device_data<int>(to.vertex), vertices, k);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  if (in_one_pass(k)) return;
  const FlatLaunch slots = flat_launch(vertices * k);
  whole_shells<<<slots.grid, slots.block, 0, stream>>>(device_data<double>(to.distance), device_data<int>(to.vertex),
                                                       device_data<int64_t>(to.index), device_data<double>(to.sqdist),
                                                       vertices, k);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
}

// Work on a device is too short to show progress, and cannot be stopped.
std::tuple<Tensor, Tensor> nearest_neighbors_cuda(const Tensor& points, const Tensor& coefficients, int64_t k,
                                                  std::string group, const std::optional<Tensor>&) {
  check_on_gpu("nearest_neighbors", "elements", points);
  const SearchOperands given = checked_search(points, coefficients, k, group);
  const Tensor &elements = given.elements, &sigmas = given.sigmas;
  const int64_t vertices = elements.size(0);
  DeviceGuard guard(elements.get_device_index());
  const cudaStream_t stream = current_stream(elements);
  Result result(elements, vertices, k);
  const auto run = [&](auto zero) {
    using Group = decltype(zero);
    switch (list_rows(k)) {
      case 1: return search<Group, 1>(elements, sigmas, result, stream);
      case 2: return search<Group, 2>(elements, sigmas, result, stream);
      default: return search<Group, 3>(elements, sigmas, result, stream);
    }
  };
  if (group == "r2") run(R2<double>{});
  else if (group == "se2") run(SE2<double>{});
  else if (group == "s2") run(S2<double>{});
  else run(SO3<double>{});
  return {result.index, result.sqdist};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CUDA, m) {
  m.impl("nearest_neighbors", TORCH_BOX(&cheblienet::nearest_neighbors_cuda));
}
