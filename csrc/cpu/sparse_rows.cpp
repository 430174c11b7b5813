// The choice among the instruction sets, made once per process.
#include "sparse_rows.h"

#include <cstdlib>
#include <string>

namespace cheblienet {

#define CHEBLIENET_DECLARE_LEVEL(level)           \
  namespace level {                               \
  extern const RowKernels<float> float_kernels;   \
  extern const RowKernels<double> double_kernels; \
  }
CHEBLIENET_DECLARE_LEVEL(baseline)
#if defined(__x86_64__)
CHEBLIENET_DECLARE_LEVEL(avx2)
CHEBLIENET_DECLARE_LEVEL(avx512)
#endif

namespace {

struct Level {
  const char* name;
  const RowKernels<float>* floats;
  const RowKernels<double>* doubles;
};

Level best_level() {
  const char* variable = std::getenv("CHEBLIENET_SIMD");
  [[maybe_unused]] const std::string wanted = variable ? variable : "avx512";
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512dq");
  if (has_avx512 && wanted == "avx512") return {"avx512", &avx512::float_kernels, &avx512::double_kernels};
  if (has_avx2 && wanted != "baseline") return {"avx2", &avx2::float_kernels, &avx2::double_kernels};
#endif
  return {"baseline", &baseline::float_kernels, &baseline::double_kernels};
}

const Level& level() {
  static const Level chosen = best_level();
  return chosen;
}

}  // namespace

template <>
const RowKernels<float>& row_kernels<float>() {
  return *level().floats;
}
template <>
const RowKernels<double>& row_kernels<double>() {
  return *level().doubles;
}

const char* simd_level() { return level().name; }

}  // namespace cheblienet
