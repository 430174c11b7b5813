#include "pattern.h"

namespace cheblienet {

Pattern::Pattern(const char* op, const Tensor& rows, const Tensor& col) {
  const int64_t vertices = rows.size(0), entries = col.numel();
  const auto* const span = static_cast<const RowSpan*>(rows.const_data_ptr());
  const int32_t* const column = col.const_data_ptr<int32_t>();
  const PatternKernels& kernels = pattern_kernels();
  STD_TORCH_CHECK(kernels.rows_fit(span, vertices, entries, in_order_), op, ": rows: expected vertices from 0 to ",
                  vertices - 1, " and entries one row after the other from 0 to E = ", entries);
  if (!in_order_) {  // a vertex that no row is of would be left without a result
    std::vector<bool> seen(vertices);
    for (int64_t r = 0; r < vertices; ++r) {
      STD_TORCH_CHECK(!seen[span[r].vertex], op, ": rows: expected each vertex once, got ", span[r].vertex, " twice");
      seen[span[r].vertex] = true;
    }
  }
  group_ = vertices <= kInCache ? std::max<int64_t>(vertices, 1) : kGroup;
  const int64_t groups = (vertices + group_ - 1) / group_;
  farthest_.assign(groups + 1, static_cast<int32_t>(vertices));
  nearest_.assign(groups + 1, static_cast<int32_t>(groups > 1 ? vertices : 0));
  if (groups <= 1) {
    const uint32_t largest = kernels.largest(column, entries);
    STD_TORCH_CHECK(entries == 0 || largest < uint64_t(vertices), op, ": col: expected rows from 0 to ", vertices - 1,
                    ", got ", static_cast<int32_t>(largest));
    return;
  }
  torch::stable::parallel_for(0, groups, 128, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      const int64_t first = g * group_, last = std::min(vertices, first + group_);
      const int32_t* const from = column + span[first].begin;
      const int64_t count = span[last - 1].end - span[first].begin;
      farthest_[g] = static_cast<int32_t>(std::min<int64_t>(
          std::max<int64_t>(count > 0 ? int64_t(kernels.largest(from, count)) + 1 : 0, last), vertices + 1));
      nearest_[g] = static_cast<int32_t>(std::min<int64_t>(kernels.least(from, count), first));
    }
  });
  for (int64_t g = 1; g < groups; ++g) farthest_[g] = std::max(farthest_[g], farthest_[g - 1]);
  STD_TORCH_CHECK(farthest_[groups - 1] <= vertices, op, ": col: expected rows from 0 to ", vertices - 1,
                  ", got others");
  for (int64_t g = groups - 1; g > 0; --g) nearest_[g - 1] = std::min(nearest_[g - 1], nearest_[g]);
}

}  // namespace cheblienet
