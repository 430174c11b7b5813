// 128-bit vectors are in every 64-bit target: SSE2 on x86, NEON on Arm.
#define CHEBLIENET_SIMD baseline
#define CHEBLIENET_SIMD_BYTES 16
#include "norm_rows_kernel.h"
#include "pair_bounds_kernel.h"
#include "read_pattern_kernel.h"
#include "sparse_rows_kernel.h"
