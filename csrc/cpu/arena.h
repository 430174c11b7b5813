// Scratch memory that outlives a call.
#pragma once
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <vector>

#include "../torch_api.h"

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

// A new tensor for a result that stays.
inline Tensor new_result(const Tensor& like, std::initializer_list<int64_t> size, ScalarType dtype) {
  Tensor t = new_empty(like, size, dtype);
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
    if (base_ == nullptr) base_ = size_ <= kKept ? kept() : fresh(block_);
    return reinterpret_cast<T*>(base_ + offset);
  }

 private:
  static constexpr int64_t kKept = int64_t(64) << 20, kHugePage = int64_t(2) << 20;

  char* kept() {
    thread_local std::vector<Tensor> block;
    thread_local int64_t size = 0;
    if (size < size_) {
      block.clear();
      fresh(block);
      size = size_;
    }
    return start(block.front());
  }

  char* fresh(std::vector<Tensor>& block) {
    block.push_back(new_empty(like_, {size_ + kHugePage}, ScalarType::Byte));
    advise_huge_pages(block.front().mutable_data_ptr(), size_ + kHugePage);
    return start(block.front());
  }

  static char* start(Tensor& block) {
    const auto address = reinterpret_cast<uintptr_t>(block.mutable_data_ptr());
    return reinterpret_cast<char*>((address + kHugePage - 1) / kHugePage * kHugePage);
  }

  Tensor like_;
  std::vector<Tensor> block_;
  int64_t size_ = 0;
  char* base_ = nullptr;
};

}  // namespace cheblienet
