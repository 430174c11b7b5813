// The list `running` of batch_norm.tracked, as both devices take it.
#pragma once
#include <vector>

#include "math/moments.h"
#include "torch_api.h"

namespace cheblienet {

// `running` holds mean and variance (C,) in the type of the arithmetic and the number of batches, an int64 scalar; or
// nothing, where no statistics are kept. Without a momentum they are averages over all batches.
template <class T>
RunningStatistics<T> running_statistics(const std::vector<Tensor>& running, std::optional<double> momentum,
                                        int64_t channels) {
  if (running.empty()) return {};
  const auto of_channels = [&](const Tensor& t, ScalarType dtype) {
    return t.scalar_type() == dtype && t.numel() == channels && t.is_contiguous();
  };
  const ScalarType dtype = sizeof(T) == sizeof(double) ? ScalarType::Double : ScalarType::Float;
  STD_TORCH_CHECK(running.size() == 3 && of_channels(running[0], dtype) && of_channels(running[1], dtype) &&
                      running[2].scalar_type() == ScalarType::Long && running[2].numel() == 1,
                  "batch_norm: running: expected mean and variance of ", channels, " channels as ",
                  torch::headeronly::toString(dtype), ", and the number of batches");
  return {static_cast<T*>(running[0].mutable_data_ptr()), static_cast<T*>(running[1].mutable_data_ptr()),
          static_cast<int64_t*>(running[2].mutable_data_ptr()), static_cast<T>(momentum.value_or(0)), !momentum};
}

}  // namespace cheblienet
