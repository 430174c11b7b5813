// The reduction that an operator's argument names.
#pragma once
#include "math/reduction.h"
#include "torch_api.h"

namespace cheblienet {

inline Reduction reduction_from(const std::string& name) {
  if (name == "max") return Reduction::max;
  if (name == "avg") return Reduction::avg;
  STD_TORCH_CHECK(name == "rand", "gather_reduce: expected a reduction of max, avg, rand, got ", name);
  return Reduction::rand;
}

}  // namespace cheblienet
