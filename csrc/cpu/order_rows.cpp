// A sparse matrix by rows in another order of its vertices, as the convolution takes it: one pass, a thread per part of
// the rows.
#include <algorithm>
#include <vector>

#include "../row_span.h"
#include "../checks.h"
#include "arena.h"

namespace cheblienet {
namespace {

std::tuple<Tensor, Tensor, Tensor> order_rows(const Tensor& pointers, const Tensor& columns, const Tensor& vertex_of) {
  const Operands operands("order_rows", columns);
  const Tensor order = operands.contiguous("order", vertex_of, ScalarType::Long, {kAny}),
               col = operands.contiguous("col", columns, ScalarType::Long, {kAny}),
               rowptr = operands.contiguous("rowptr", pointers, ScalarType::Long, {order.size(0) + 1});
  const int64_t vertices = order.size(0), entries = col.size(0);
  STD_TORCH_CHECK(std::max(vertices, entries) < int64_t(1) << 31,
                  "order_rows: expected less than 2^31 vertices and entries, got ", vertices, " and ", entries);
  const int64_t *begin = rowptr.const_data_ptr<int64_t>(), *target = col.const_data_ptr<int64_t>(),
                *vertex = order.const_data_ptr<int64_t>();
  const auto is_vertex = [&](int64_t v) { return 0 <= v && v < vertices; };
  STD_TORCH_CHECK(begin[0] == 0 && begin[vertices] == entries && std::is_sorted(begin, begin + vertices + 1),
                  "order_rows: rowptr: expected ascending numbers from 0 to E = ", entries);
  STD_TORCH_CHECK(std::all_of(target, target + entries, is_vertex), "order_rows: col: expected vertices below ",
                  vertices);
  Tensor rows = new_result(col, {vertices, 4}, ScalarType::Int), column = new_result(col, {entries}, ScalarType::Int),
         entry = new_result(col, {entries}, ScalarType::Long);
  RowSpan* span = static_cast<RowSpan*>(rows.mutable_data_ptr());
  int32_t* to_column = column.mutable_data_ptr<int32_t>();
  int64_t* to_entry = entry.mutable_data_ptr<int64_t>();

  std::vector<int32_t> place(vertices, -1);
  int32_t end = 0;
  for (int64_t i = 0; i < vertices; ++i) {
    const int64_t v = vertex[i];
    STD_TORCH_CHECK(is_vertex(v) && place[v] < 0, "order_rows: order: expected every vertex once, got ", v);
    place[v] = static_cast<int32_t>(i);
    const int32_t first = end;
    end += static_cast<int32_t>(begin[v + 1] - begin[v]);
    span[i] = {static_cast<int32_t>(v), first, end, static_cast<int32_t>(i + 1)};
  }
  torch::stable::parallel_for(0, vertices, 4096, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      RowSpan& row = span[i];
      for (int64_t from = begin[row.vertex], to = row.begin; to < row.end; ++from, ++to) {
        to_entry[to] = from;
        to_column[to] = place[target[from]];
        row.reach = std::max(row.reach, to_column[to] + 1);
      }
    }
  });
  for (int64_t i = 1; i < vertices; ++i) span[i].reach = std::max(span[i].reach, span[i - 1].reach);
  return {rows, column, entry};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) { m.impl("order_rows", TORCH_BOX(&cheblienet::order_rows)); }
