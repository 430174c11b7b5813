// Long work as another thread sees it: int64 (2,), how many vertices are done and whether the work shall stop.
#pragma once
#include <optional>

#include "../torch_api.h"

namespace cheblienet {

class Progress {
 public:
  explicit Progress(const std::optional<Tensor>& mailbox) {
    if (!mailbox) return;
    STD_TORCH_CHECK(mailbox->dim() == 1 && mailbox->size(0) == 2 && mailbox->is_contiguous() &&
                        mailbox->scalar_type() == ScalarType::Long && mailbox->is_cpu(),
                    "progress: expected a contiguous int64 tensor (2,) on the CPU");
    done_ = mailbox->mutable_data_ptr<int64_t>();
  }

  void add(int64_t vertices) const {
    if (done_) __atomic_fetch_add(done_, vertices, __ATOMIC_RELAXED);
  }
  // Whoever sees this leaves its loop; the results are not used.
  bool stopped() const { return done_ && __atomic_load_n(done_ + 1, __ATOMIC_RELAXED) != 0; }

 private:
  int64_t* done_ = nullptr;
};

}  // namespace cheblienet
