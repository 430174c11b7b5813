#include "../../math/r2.h"
#include "../../math/s2.h"
#include "../../math/se2.h"
#include "../../math/so3.h"
#include "../nearest_neighbors.cuh"

namespace cheblienet {

template <class Group, int... rows>
void of_rows() {
  const void* const kernels[] = {(const void*)nearest_in_tree<Group, rows>...,
                                 (const void*)nearest_of_all<Group, rows>..., (const void*)tree_leaves<Group>,
                                 (const void*)tree_keys<Group>, (const void*)tree_parents<Group::box_dimensions>};
  (void)kernels;
}

template <class... Group>
void of_groups() {
  (of_rows<Group, 1, 2, 3>(), ...);
}
template void of_groups<R2<double>, SE2<double>, S2<double>, SO3<double>>();

}  // namespace cheblienet

__global__ void __launch_bounds__(1) geometry(int64_t items, int64_t k, int64_t* out) {
  using namespace cheblienet;
  const WarpLaunch warps = warp_launch(items);
  const FlatLaunch lanes = flat_launch(padded(items)), threads = flat_launch(items);
  const int levels = tree_levels(items);
  const int64_t facts[] = {warps.grid,   warps.block,   lanes.grid, lanes.block,    threads.grid, threads.block,
                           list_rows(k), padded(items), kAllPairs,  in_one_pass(k), levels};
  for (int64_t fact : facts) *out++ = fact;
  for (int level = 0; level <= levels; ++level) *out++ = tree_first(items, level);
  for (int level = 0; level < levels; ++level) *out++ = tree_nodes(items, level);
}

template <class Group>
__global__ void __launch_bounds__(1) components(int64_t* out) {
  out[0] = cheblienet::Record<Group>::components;
  out[1] = cheblienet::Record<Group>::dimensions;
}
template __global__ void components<cheblienet::R2<double>>(int64_t*);
template __global__ void components<cheblienet::SE2<double>>(int64_t*);
template __global__ void components<cheblienet::S2<double>>(int64_t*);
template __global__ void components<cheblienet::SO3<double>>(int64_t*);
