#include "../chebyshev.cuh"

namespace cheblienet {

template <class... T>
void of_types() {
  const void* const kernels[] = {(const void*)chebyshev_step<T, 1>..., (const void*)chebyshev_step<T, 2>...,
                                 (const void*)chebyshev_edge_dots<T>...};
  (void)kernels;
}
template void of_types<double, float, __half, __nv_bfloat16>();

template <class... V>
void of_sums() {
  const void* const kernels[] = {(const void*)chebyshev_edges<V>...};
  (void)kernels;
}
template void of_sums<double, float>();

}  // namespace cheblienet
