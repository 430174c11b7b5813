// Every instance of the kernels that the launcher chooses from, and the geometry that it asks for, without the
// framework: for simulators and for the compiler's reports. The other files beside this one do the same.
#include "../batch_norm.cuh"

namespace cheblienet {

template <class T, int N>
void of_pack() {
  const void* const kernels[] = {(const void*)norm_moments<T, N>, (const void*)norm_apply<T, N>,
                                 (const void*)norm_gradient_sums<T, N>, (const void*)norm_gradient<T, N>};
  (void)kernels;
}

template <class... T>
void of_types() {
  (of_pack<T, 1>(), ...);
  (of_pack<T, kPackSize<T>>(), ...);
}
template void of_types<double, float, __half, __nv_bfloat16>();

}  // namespace cheblienet

__global__ void __launch_bounds__(1)
    geometry(int64_t rows, int64_t channels, int size, uint64_t addresses, cheblienet::NormShape* shape, int* facts) {
  facts[0] = cheblienet::pack_of(channels, size, addresses);
  facts[1] = cheblienet::kNormBlock;
  *shape = cheblienet::norm_shape(rows, channels, facts[0]);
  facts[2] = shape->tiles;
  facts[3] = shape->parts;
}
