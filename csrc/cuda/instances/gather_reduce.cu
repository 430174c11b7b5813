#include "../gather_reduce.cuh"

namespace cheblienet {

template <class T, int N, Reduction... reduction>
void of_reductions() {
  const void* const kernels[] = {(const void*)gather_reduce<T, N, reduction>...,
                                 (const void*)gather_reduce_backward<T, N, reduction>...};
  (void)kernels;
}

template <class... T>
void of_types() {
  (of_reductions<T, 1, Reduction::max, Reduction::avg, Reduction::rand>(), ...);
  (of_reductions<T, kPackSize<T>, Reduction::max, Reduction::avg, Reduction::rand>(), ...);
}
template void of_types<double, float, __half, __nv_bfloat16>();

}  // namespace cheblienet

__global__ void __launch_bounds__(1)
    geometry(int64_t vertices, int64_t batch, int64_t channels, int size, uint64_t addresses, int* facts) {
  facts[0] = cheblienet::pack_of(channels, size, addresses);
  const cheblienet::GatherLaunch launch = cheblienet::gather_launch(vertices * channels / facts[0], batch);
  facts[1] = launch.grid;
  facts[2] = launch.samples;
  facts[3] = launch.block;
}
