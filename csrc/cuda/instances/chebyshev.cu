#include "../chebyshev.cuh"

#include "../chebyshev_operands.cuh"
#include "../chebyshev_tile_dots.cuh"

namespace cheblienet {

template <class... T>
void of_types() {
  const void* const kernels[] = {(const void*)chebyshev_step<T, 1>...,   (const void*)chebyshev_step<T, 2>...,
                                 (const void*)chebyshev_edge_dots<T>..., (const void*)chebyshev_prepare<T>...,
                                 (const void*)chebyshev_finish<T>...,    (const void*)tile_orders<T, 16>...,
                                 (const void*)tile_orders<T, 32>...,     (const void*)tile_dots<T, 16>...,
                                 (const void*)tile_dots<T, 32>...};
  (void)kernels;
}
template void of_types<double, float, __half, __nv_bfloat16>();

template <class... V>
void of_sums() {
  const void* const kernels[] = {(const void*)add_shares<V>...};
  (void)kernels;
}
template void of_sums<double, float>();

}  // namespace cheblienet
