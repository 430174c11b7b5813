// The choice among the instruction sets, made once per process.
#include <cstdlib>
#include <string>

#include "norm_rows.h"
#include "pair_bounds.h"
#include "read_pattern.h"
#include "sparse_rows.h"

namespace cheblienet {

#define CHEBLIENET_DECLARE_LEVEL(level)                 \
  namespace level {                                     \
  extern const RowKernels<float> float_kernels;         \
  extern const RowKernels<double> double_kernels;       \
  extern const NormKernels<float> float_norm_kernels;   \
  extern const NormKernels<double> double_norm_kernels; \
  extern const PairBoundKernels pair_bound_kernels;     \
  extern const PatternKernels pattern_kernels;          \
  }
CHEBLIENET_DECLARE_LEVEL(baseline)
#if defined(__x86_64__)
CHEBLIENET_DECLARE_LEVEL(avx2)
CHEBLIENET_DECLARE_LEVEL(avx512)
#endif

namespace {

struct Level {
  const char* name;
  const RowKernels<float>& floats;
  const RowKernels<double>& doubles;
  const NormKernels<float>& norm_floats;
  const NormKernels<double>& norm_doubles;
  const PairBoundKernels& pair_bounds;
  const PatternKernels& patterns;
};

#define CHEBLIENET_LEVEL(level)                                                                                 \
  Level {                                                                                                       \
    #level, level::float_kernels, level::double_kernels, level::float_norm_kernels, level::double_norm_kernels, \
        level::pair_bound_kernels, level::pattern_kernels                                                       \
  }

Level best_level() {
  const char* variable = std::getenv("CHEBLIENET_SIMD");
  [[maybe_unused]] const std::string wanted = variable ? variable : "avx512";
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512dq");
  if (has_avx512 && wanted == "avx512") return CHEBLIENET_LEVEL(avx512);
  if (has_avx2 && wanted != "baseline") return CHEBLIENET_LEVEL(avx2);
#endif
  return CHEBLIENET_LEVEL(baseline);
}

const Level& level() {
  static const Level chosen = best_level();
  return chosen;
}

}  // namespace

template <>
const RowKernels<float>& row_kernels<float>() {
  return level().floats;
}
template <>
const RowKernels<double>& row_kernels<double>() {
  return level().doubles;
}
template <>
const NormKernels<float>& norm_kernels<float>() {
  return level().norm_floats;
}
template <>
const NormKernels<double>& norm_kernels<double>() {
  return level().norm_doubles;
}

const PairBoundKernels& pair_bound_kernels() { return level().pair_bounds; }

const PatternKernels& pattern_kernels() { return level().patterns; }

const char* simd_level() { return level().name; }

}  // namespace cheblienet
