// Memory for results, kept for the next results of their size.
#pragma once
#include <cstdint>
#include <mutex>
#include <vector>

#include "../torch_api.h"

namespace cheblienet {

// The system clears every page that it hands out, so a fresh result is written twice. A network makes results of the
// same few sizes step after step, so blocks that results give back are kept for the next of exactly their size; beyond
// kKept bytes together the oldest go back to the system.
class ResultMemory {
 public:
  static constexpr int64_t kSmallest = int64_t(1) << 20, kKept = int64_t(1) << 30;

  static ResultMemory& instance();

  ResultMemory();
  void* take(int64_t bytes);
  void give_back(void* block, int64_t bytes) noexcept;  // needs no memory: tensors call it as they end
  void release();                                       // what is kept, to the system

 private:
  struct Block {
    void* data;
    int64_t bytes;
  };

  void drop_oldest(int64_t kept);

  std::mutex mutex_;
  std::vector<Block> blocks_;  // by the time of their return, with room for as many as can be kept
  int64_t kept_ = 0;
};

// A new tensor for the result of a layer, on the CPU, of the dtype of `like`.
inline Tensor recycled_strided(const Tensor& like, torch::headeronly::IntHeaderOnlyArrayRef size,
                               torch::headeronly::IntHeaderOnlyArrayRef stride) {
  int64_t bytes = static_cast<int64_t>(like.element_size());
  for (const int64_t n : size) bytes *= n;
  const ScalarType dtype = like.scalar_type();
  if (bytes < ResultMemory::kSmallest) return new_strided(like, size.size(), size.data(), stride.data(), dtype);
  ResultMemory& memory = ResultMemory::instance();
  void* const data = memory.take(bytes);
  try {
    return torch::stable::from_blob(data, size, stride, like.device(), dtype,
                                    [bytes](void* block) { ResultMemory::instance().give_back(block, bytes); });
  } catch (...) {
    memory.give_back(data, bytes);
    throw;
  }
}

inline Tensor recycled_result(const Tensor& like, std::initializer_list<int64_t> size) {
  const auto stride = contiguous_strides(size);
  return recycled_strided(like, {size.begin(), size.size()}, {stride.data(), size.size()});
}

// With the sizes and strides of `like`, which has no gaps.
inline Tensor recycled_like(const Tensor& like) { return recycled_strided(like, like.sizes(), like.strides()); }

}  // namespace cheblienet
