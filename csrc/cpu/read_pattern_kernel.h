// The body of read_pattern.h for one instruction set. Without branches: nearly all patterns are right.
#include "read_pattern.h"
#include "simd.h"

namespace cheblienet {
namespace CHEBLIENET_SIMD {

// What is wrong with two rows, one after the other, shows in four numbers of the first and `begin` of the second: here
// of N / 4 rows at a time, whose numbers are those of a vector and of vectors that start a few numbers later.
inline bool rows_fit(const RowSpan* rows, int64_t vertices, int64_t entries, bool& in_order) {
  constexpr int N = CHEBLIENET_SIMD_BYTES / 4;
  using Vector = typename VectorOf<int32_t, N>::type;
  if (vertices == 0) return entries == 0;
  const int32_t* const number = reinterpret_cast<const int32_t*>(rows);
  const int32_t most = static_cast<int32_t>(vertices);
  Vector row = {}, moved = {}, wrong = {};  // of the lanes that start a row
  for (int i = 0; i < N; ++i) row[i] = i / 4;
  int64_t r = 0;
  for (; r + N / 4 + 1 < vertices; r += N / 4, row += N / 4) {  // `next` ends inside one row more
    const Vector vertex = load<Vector>(number + 4 * r), begin = load<Vector>(number + 4 * r + 1),
                 end = load<Vector>(number + 4 * r + 2), next = load<Vector>(number + 4 * r + 5);
    moved |= vertex ^ row;
    wrong |= (vertex < 0) | (vertex >= most) | (end < begin) | (end ^ next);
  }
  int32_t any_moved = 0, any_wrong = rows[0].begin;
  for (int i = 0; i < N; i += 4) {
    any_moved |= moved[i];
    any_wrong |= wrong[i];
  }
  for (; r < vertices; ++r) {
    const RowSpan& one = rows[r];
    const int64_t next = r + 1 < vertices ? int64_t(rows[r + 1].begin) : entries;
    any_moved |= one.vertex != r;
    any_wrong |= one.vertex < 0 || one.vertex >= most || one.end < one.begin || one.end != next;
  }
  in_order = any_moved == 0;
  return any_wrong == 0;
}

// Four accumulators: a comparison waits for none before it.
template <bool kLargest>
inline uint32_t extreme(const int32_t* numbers, int64_t count) {
  constexpr int N = CHEBLIENET_SIMD_BYTES / 4, U = 4;
  using Vector = typename VectorOf<uint32_t, N>::type;
  const auto better = [](uint32_t a, uint32_t b)
                          __attribute__((always_inline)) { return kLargest ? (a > b ? a : b) : (a < b ? a : b); };
  uint32_t result = kLargest ? 0 : 0xffffffffu;
  Vector best[U];
  for (int u = 0; u < U; ++u) best[u] = Vector{} + result;
  int64_t i = 0;
  for (; i + U * N <= count; i += U * N)
    for (int u = 0; u < U; ++u) {
      const Vector next = load<Vector>(numbers + i + u * N);
      best[u] = (kLargest ? next > best[u] : next < best[u]) ? next : best[u];
    }
  for (int u = 0; u < U; ++u)
    for (int n = 0; n < N; ++n) result = better(result, best[u][n]);
  for (; i < count; ++i) result = better(result, static_cast<uint32_t>(numbers[i]));
  return result;
}

inline uint32_t largest(const int32_t* numbers, int64_t count) { return extreme<true>(numbers, count); }
inline uint32_t least(const int32_t* numbers, int64_t count) { return extreme<false>(numbers, count); }

extern const PatternKernels pattern_kernels = {rows_fit, largest, least};

}  // namespace CHEBLIENET_SIMD
}  // namespace cheblienet
