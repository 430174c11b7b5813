// The mathematics is read by the host compiler and by nvcc alike: no framework, no CUDA runtime.
#pragma once
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define CHEBLIENET_HD __host__ __device__ __forceinline__
#else
#define CHEBLIENET_HD inline
#endif
