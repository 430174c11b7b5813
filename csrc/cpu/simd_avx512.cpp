#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512dq,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512dq,avx2,fma,prefer-vector-width=512")
#endif
#define CHEBLIENET_SIMD avx512
#define CHEBLIENET_SIMD_BYTES 64
#include "norm_rows_kernel.h"
#include "pair_bounds_kernel.h"
#include "read_pattern_kernel.h"
#include "sparse_rows_kernel.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
