// The list `running` of batch_norm.tracked, as both devices take it.
#pragma once
#include <vector>

#include "checks.h"
#include "math/moments.h"

namespace cheblienet {

// `running` holds mean and variance (C,) in the type of the arithmetic on x, without gaps since they are written into,
// and the number of batches, an int64 scalar; or nothing, where no statistics are kept.
inline void check_running(const char* op, const std::vector<Tensor>& running, const Tensor& x, int64_t channels) {
  if (running.empty()) return;
  STD_TORCH_CHECK(running.size() == 3, op, ": running: expected mean, variance and number of batches, got ",
                  running.size(), " tensors");
  const Operands operands(op, x);
  for (const int i : {0, 1}) {
    operands.check(i == 0 ? "running mean" : "running variance", running[i], arithmetic_type(x), {channels});
    STD_TORCH_CHECK(running[i].is_contiguous(), op, ": running: expected tensors without gaps");
  }
  operands.check("number of batches", running[2], ScalarType::Long, {});
}

// The statistics of such a list. Without a momentum they are averages over all batches.
template <class T>
RunningStatistics<T> running_statistics(const std::vector<Tensor>& running, std::optional<double> momentum) {
  if (running.empty()) return {};
  return {static_cast<T*>(running[0].mutable_data_ptr()), static_cast<T*>(running[1].mutable_data_ptr()),
          static_cast<int64_t*>(running[2].mutable_data_ptr()), static_cast<T>(momentum.value_or(0)), !momentum};
}

}  // namespace cheblienet
