// Numbers in device memory by which the blocks of a launch wait for each other: zero once, and set back by every
// launch.
#pragma once
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "device.cuh"

namespace cheblienet {

constexpr int64_t kBarrierNumbers = 1024, kBarrierSets = 256;

// A set of kBarrierNumbers numbers for what is launched on `stream`, whose launches follow each other; while it is
// captured, for this capture, whose graph may run beside others. Null where there is none left, or where the first call
// on this device is captured: memory that a graph owns is not for others.
inline uint32_t* barriers_for(const Tensor& like, cudaStream_t stream) {
  struct Sets {
    std::optional<Tensor> memory;
    std::map<std::pair<bool, uint64_t>, int64_t> numbers;
  };
  static std::mutex mutex;
  static auto& by_device = *new std::map<int32_t, Sets>;  // outlives the framework's allocator at exit

  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long capture = 0;
  STD_CUDA_CHECK(cudaStreamGetCaptureInfo(stream, &status, &capture));
  const bool captured = status != cudaStreamCaptureStatusNone;

  const std::lock_guard<std::mutex> lock(mutex);
  Sets& sets = by_device[like.get_device_index()];
  if (!sets.memory) {
    if (captured) return nullptr;
    Tensor memory = new_empty(like, {kBarrierSets * kBarrierNumbers}, ScalarType::Int);
    torch::stable::zero_(memory);
    STD_CUDA_CHECK(cudaStreamSynchronize(stream));  // other streams may be next
    sets.memory = memory;
  }
  const auto [found, added] = sets.numbers.try_emplace(
      {captured, captured ? capture : reinterpret_cast<uint64_t>(stream)}, static_cast<int64_t>(sets.numbers.size()));
  if (found->second >= kBarrierSets) return nullptr;
  return static_cast<uint32_t*>(sets.memory->mutable_data_ptr()) + found->second * kBarrierNumbers;
}

}  // namespace cheblienet
