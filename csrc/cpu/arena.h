// Scratch memory that outlives a call.
#pragma once
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <optional>
#include <stdexcept>

#include "../torch_api.h"
#include "result_memory.h"

namespace cheblienet {

// Asks for huge pages where a block is made of memory that has not been touched yet: the first write to every page
// of 4 KiB interrupts the program. Advice that cannot be taken does no harm.
inline void advise_huge_pages([[maybe_unused]] void* block, [[maybe_unused]] int64_t bytes) {
#if defined(__linux__)
  constexpr uintptr_t page = uintptr_t(2) << 20;
  const auto address = reinterpret_cast<uintptr_t>(block), begin = (address + page - 1) / page * page;
  const uintptr_t end = (address + static_cast<uintptr_t>(bytes)) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

// A new tensor of memory that stays. What is kept for results may be what is missing.
inline Tensor new_result(const Tensor& like, std::initializer_list<int64_t> size, ScalarType dtype) {
  const auto make = [&] {
    try {
      return new_empty(like, size, dtype);
    } catch (const std::runtime_error&) {
      ResultMemory::instance().release();
      return new_empty(like, size, dtype);
    }
  };
  Tensor t = make();
  advise_huge_pages(t.mutable_data_ptr(), t.numel() * t.element_size());
  return t;
}

// Hands out parts of one block of the framework's memory, which the calling thread keeps for its next call: fresh pages
// would have to be mapped and cleared at every call. Blocks beyond kKept are given back.
class Arena {
 public:
  explicit Arena(const Tensor& like) : like_(like) {}

  // Reserves `elements` of T, at the start of a cache line; to be called before `get`.
  template <class T>
  int64_t reserve(int64_t elements) {
    const int64_t offset = size_;
    size_ += (elements * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return offset;
  }

  template <class T>
  T* get(int64_t offset) {
    if (base_ == nullptr) {
      if (bytes() > kKept) block_ = fresh();
      base_ = start(block_ ? *block_ : kept());
    }
    return reinterpret_cast<T*>(base_ + offset);
  }

 private:
  static constexpr int64_t kHugePage = int64_t(2) << 20, kKept = (int64_t(64) << 20) + kHugePage;

  int64_t bytes() const { return size_ + kHugePage; }

  // The block itself tells its size: one that could not be had leaves none.
  Tensor& kept() const {
    thread_local std::optional<Tensor> block;
    if (!block || block->numel() < bytes()) {
      block.reset();
      block = fresh();
    }
    return *block;
  }

  Tensor fresh() const { return new_result(like_, {bytes()}, ScalarType::Byte); }

  static char* start(Tensor& block) {
    const auto address = reinterpret_cast<uintptr_t>(block.mutable_data_ptr());
    return reinterpret_cast<char*>((address + kHugePage - 1) / kHugePage * kHugePage);
  }

  Tensor like_;
  std::optional<Tensor> block_;
  int64_t size_ = 0;
  char* base_ = nullptr;
};

}  // namespace cheblienet
