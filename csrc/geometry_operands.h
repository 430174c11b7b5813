// The operands of the searches for neighbours, checked alike on every device.
#pragma once
#include "checks.h"

namespace cheblienet {

struct SearchOperands {
  Tensor elements, sigmas;
};

// Elements (V, d) of a group of d = `coordinates`, whose name decides on them, and the coefficients of its metric.
inline SearchOperands checked_search(const Tensor& elements, const Tensor& sigmas, int64_t k,
                                     const std::string& group) {
  const Operands operands("nearest_neighbors", elements);
  const int64_t coordinates = group == "r2" || group == "s2" ? 2 : group == "se2" || group == "so3" ? 3 : 0;
  STD_TORCH_CHECK(coordinates > 0, "nearest_neighbors: group: expected one of r2, se2, s2, so3, got ", group);
  SearchOperands given{operands.contiguous("elements", elements, ScalarType::Double, {kAny, coordinates}),
                       operands.contiguous("sigmas", sigmas, ScalarType::Double, {3})};
  const int64_t vertices = elements.size(0);
  STD_TORCH_CHECK(k >= 1 && k < vertices && vertices < (int64_t(1) << 31) - 1,
                  "nearest_neighbors: expected 1 <= k < V < 2^31 - 1, got k = ", k, ", V = ", vertices);
  return given;
}

struct MutualOperands {
  Tensor index, sqdist;
};

inline MutualOperands checked_mutual(const Tensor& index, const Tensor& sqdist, double limit) {
  const Operands operands("mutual_neighbors", index);
  const Tensor neighbours = operands.contiguous("index", index, ScalarType::Long, {kAny, kAny});
  STD_TORCH_CHECK(limit >= 0, "mutual_neighbors: limit: expected a non-negative number, got ", limit);
  STD_TORCH_CHECK(index.size(0) < int64_t(1) << 31, "mutual_neighbors: index: expected less than 2^31 vertices, got ",
                  index.size(0));
  return {neighbours, operands.contiguous("sqdist", sqdist, ScalarType::Double, {index.size(0), index.size(1)})};
}

}  // namespace cheblienet
