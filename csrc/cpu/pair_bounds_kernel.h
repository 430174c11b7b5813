// The body of pair_bounds.h for one instruction set: the bounds of csrc/math with a vector for their scalar type, which
// makes them other types at every level.
#include "../math/r2.h"
#include "../math/s2.h"
#include "../math/se2.h"
#include "pair_bounds.h"
#include "simd.h"

namespace cheblienet {
namespace CHEBLIENET_SIMD {

// Lanes are elements of `from`, so that the least bound of each needs no reduction across lanes.
template <template <class> class Group>
void bound_pairs(const double* from, const double* to, int count, const Metric<double>& metric, PairBounds& out) {
  constexpr int N = CHEBLIENET_SIMD_BYTES / sizeof(double);
  using Vector = typename VectorOf<double, N>::type;
  using Element = typename Group<Vector>::Element;
  constexpr int fields = sizeof(Element) / sizeof(Vector);
  const Vector zero = {};
  const Metric<Vector> wide{zero + metric.sigma1, zero + metric.sigma2, zero + metric.sigma3};
  for (int i = 0; i < kBlock; i += N) {
    Element g, h;
    Vector g_fields[fields], h_fields[fields];
    for (int f = 0; f < fields; ++f) g_fields[f] = load<Vector>(from + f * kBlock + i);
    __builtin_memcpy(&g, g_fields, sizeof g);
    Vector least = zero + __builtin_inf();
    for (int j = 0; j < count; ++j) {
      for (int f = 0; f < fields; ++f) h_fields[f] = zero + to[f * kBlock + j];
      __builtin_memcpy(&h, h_fields, sizeof h);
      const Vector bound = Group<Vector>::lower_bound(g, h, wide);
      least = bound < least ? bound : least;
      store(out.bound[j] + i, bound);
    }
    store(out.least + i, least);
  }
}

extern const PairBoundKernels pair_bound_kernels = {bound_pairs<R2>, bound_pairs<SE2>, bound_pairs<S2>,
                                                    bound_pairs<SO3>};

}  // namespace CHEBLIENET_SIMD
}  // namespace cheblienet
