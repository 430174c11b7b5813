#include "result_memory.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif
#include <pthread.h>

#include <algorithm>
#include <cstdlib>

#include "arena.h"

namespace cheblienet {
namespace {

// Null where there is no memory.
void* allocate(int64_t bytes) {
#if defined(__linux__)
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) data = nullptr;
#else
  void* data = std::malloc(bytes);
#endif
  if (data != nullptr) advise_huge_pages(data, bytes);
  return data;
}

void release_block(void* data, [[maybe_unused]] int64_t bytes) {
#if defined(__linux__)
  munmap(data, bytes);
#else
  std::free(data);
#endif
}

void empty_cache() { ResultMemory::instance().release(); }

// Never destroyed: tensors may outlive all static objects.
ResultMemory& memory = *new ResultMemory;

}  // namespace

// Made while the module loads, before any thread of its user can fork.
ResultMemory& ResultMemory::instance() { return memory; }

ResultMemory::ResultMemory() {
  blocks_.reserve(kKept / kSmallest + 1);
  // A child has one thread, and finds the lock as another one of its parent's left it. So the thread that forks takes
  // the lock first, and gives it back on both sides.
  pthread_atfork([] { memory.mutex_.lock(); }, [] { memory.mutex_.unlock(); }, [] { memory.mutex_.unlock(); });
}

void* ResultMemory::take(int64_t bytes) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    // The last one given back is the likeliest to be in a cache.
    const auto found =
        std::find_if(blocks_.rbegin(), blocks_.rend(), [&](const Block& block) { return block.bytes == bytes; });
    if (found != blocks_.rend()) {
      void* data = found->data;
      blocks_.erase(std::next(found).base());
      kept_ -= bytes;
      return data;
    }
  }
  void* data = allocate(bytes);
  if (data == nullptr) {
    release();
    data = allocate(bytes);
  }
  STD_TORCH_CHECK(data != nullptr, "not enough memory for a result of ", bytes, " bytes");
  return data;
}

void ResultMemory::give_back(void* block, int64_t bytes) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  blocks_.push_back({block, bytes});
  kept_ += bytes;
  drop_oldest(kKept);
}

void ResultMemory::release() {
  const std::lock_guard<std::mutex> lock(mutex_);
  drop_oldest(0);
}

void ResultMemory::drop_oldest(int64_t kept) {
  auto first = blocks_.begin();
  for (; first != blocks_.end() && kept_ > kept; ++first) {
    release_block(first->data, first->bytes);
    kept_ -= first->bytes;
  }
  blocks_.erase(blocks_.begin(), first);
}

}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CompositeExplicitAutograd, m) {
  m.impl("empty_cache", TORCH_BOX(&cheblienet::empty_cache));
}
