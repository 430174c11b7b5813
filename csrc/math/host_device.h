// The mathematics is read by the host compiler and by nvcc alike: no framework, no CUDA runtime.
#pragma once
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define CHEBLIENET_HD __host__ __device__ __forceinline__
#else
#define CHEBLIENET_HD inline
#endif

namespace cheblienet {

// A product that is rounded before it is added to: fused, a b - b a is not zero but the rounding of one product.
template <class T>
CHEBLIENET_HD T product(T a, T b) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(T) == sizeof(double)) return __dmul_rn(a, b);
  else return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

}  // namespace cheblienet
