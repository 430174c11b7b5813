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

// Squared distance from a point to an axis-parallel box of D dimensions, all of one weight.
template <int D, class T>
CHEBLIENET_HD T squared_distance_to_box(const T* at, const T* low, const T* high) {
  T sum = 0;
  for (int i = 0; i < D; ++i) {
    const T below = low[i] - at[i], above = at[i] - high[i], outside = below > above ? below : above;
    if (outside > 0) sum += outside * outside;
  }
  return sum;
}

}  // namespace cheblienet
