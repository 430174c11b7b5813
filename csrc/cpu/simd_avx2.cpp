#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define CHEBLIENET_SIMD avx2
#define CHEBLIENET_SIMD_BYTES 32
#include "norm_rows_kernel.h"
#include "pair_bounds_kernel.h"
#include "read_pattern_kernel.h"
#include "sparse_rows_kernel.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
