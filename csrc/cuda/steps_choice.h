// Which implementation of the recurrence is fastest for a shape on this device: measured once, at the first call. All
// give the same bits, so the choice changes no result.
#pragma once
#include <array>
#include <cstdlib>
#include <map>
#include <mutex>

#include "chebyshev_steps.h"
#include "device.cuh"

namespace cheblienet {

// What CHEBLIENET_STEPS says; nothing for "auto".
inline std::optional<Steps> fixed_steps() {
  const char* name = std::getenv("CHEBLIENET_STEPS");
  return name == nullptr ? std::optional<Steps>() : steps_by_name(name);
}

// Whether other processes train along: a grid that fills the device would wait for their collectives' kernels, and
// those for it, instead of overlapping.
inline bool several_processes() {
  const char* size = std::getenv("WORLD_SIZE");  // as torchrun sets it
  return size != nullptr && std::atoi(size) > 1;
}

inline bool is_captured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  STD_CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
  return status != cudaStreamCaptureStatusNone;
}

// Milliseconds that f's launches take on a stream.
template <class F>
float milliseconds(cudaStream_t stream, const F& f) {
  struct Event {
    cudaEvent_t event = nullptr;
    Event() { STD_CUDA_CHECK(cudaEventCreate(&event)); }
    ~Event() { cudaEventDestroy(event); }
  } begin, end;
  STD_CUDA_CHECK(cudaEventRecord(begin.event, stream));
  f();
  STD_CUDA_CHECK(cudaEventRecord(end.event, stream));
  STD_CUDA_CHECK(cudaEventSynchronize(end.event));
  float time = 0;
  STD_CUDA_CHECK(cudaEventElapsedTime(&time, begin.event, end.event));
  return time;
}

// What was measured, by everything that a time depends on.
class Choices {
 public:
  using Key = std::array<int64_t, 12>;

  static Choices& all() {
    static auto& choices = *new Choices;
    return choices;
  }
  std::optional<Steps> find(const Key& key) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = choices_.find(key);
    return found == choices_.end() ? std::optional<Steps>() : found->second;
  }
  void keep(const Key& key, Steps by) {
    const std::lock_guard<std::mutex> lock(mutex_);
    choices_.emplace(key, by);
  }

 private:
  std::mutex mutex_;
  std::map<Key, Steps> choices_;
};

}  // namespace cheblienet
