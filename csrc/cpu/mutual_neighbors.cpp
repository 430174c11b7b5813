// Edges between vertices that are neighbours of each other: every neighbourhood is sorted once, and each of its members
// looks itself up in the neighbourhood of the other, so that time is linear in the number of neighbours.
#include <algorithm>
#include <vector>

#include "../torch_api.h"
#include "arena.h"
#include "progress.h"

namespace cheblienet {
namespace {

struct Neighbour {
  int64_t vertex;
  double sqdist;
};

// Calls f(neighbour, mean squared distance) for the mutual neighbours of `v` within the limit, by ascending vertex.
template <class F>
void for_mutual(const Neighbour* sorted, const std::vector<int64_t>& size, int64_t k, int64_t v, double limit,
                const F& f) {
  for (int64_t slot = v * k; slot < v * k + size[v]; ++slot) {
    const Neighbour& u = sorted[slot];
    const Neighbour *begin = sorted + u.vertex * k, *end = begin + size[u.vertex];
    const Neighbour* back =
        std::lower_bound(begin, end, v, [](const Neighbour& n, int64_t vertex) { return n.vertex < vertex; });
    if (back == end || back->vertex != v) continue;
    const double mean = (u.sqdist + back->sqdist) / 2;
    if (mean <= limit) f(u.vertex, mean);
  }
}

std::tuple<Tensor, Tensor> mutual_neighbors(const Tensor& index, const Tensor& sqdist, double limit,
                                            const std::optional<Tensor>& mailbox) {
  const Progress progress(mailbox);
  STD_TORCH_CHECK(index.dim() == 2 && sqdist.dim() == 2 && index.size(0) == sqdist.size(0) &&
                      index.size(1) == sqdist.size(1) && index.is_contiguous() && sqdist.is_contiguous() &&
                      index.scalar_type() == ScalarType::Long && sqdist.scalar_type() == ScalarType::Double,
                  "mutual_neighbors: expected contiguous index (V, K) int64 and sqdist (V, K) float64");
  const int64_t vertices = index.size(0), k = index.size(1), grain = 1 + 16384 / (k + 1);
  const int64_t* neighbour = index.const_data_ptr<int64_t>();
  const double* distance = sqdist.const_data_ptr<double>();
  STD_TORCH_CHECK(std::all_of(neighbour, neighbour + vertices * k, [&](int64_t u) { return u >= -1 && u < vertices; }),
                  "mutual_neighbors: index: expected vertices below ", vertices, ", or -1 for none");

  Tensor memory = new_result(index, {2 * vertices * k}, ScalarType::Double);
  static_assert(sizeof(Neighbour) == 2 * sizeof(double), "two words each");
  Neighbour* sorted = static_cast<Neighbour*>(memory.mutable_data_ptr());
  std::vector<int64_t> size(vertices), rowptr(vertices + 1);
  torch::stable::parallel_for(0, vertices, grain, [&](int64_t first, int64_t last) {
    for (int64_t v = first; v < last && !progress.stopped(); ++v) {
      Neighbour *begin = sorted + v * k, *end = begin;
      for (int64_t slot = v * k; slot < (v + 1) * k; ++slot)
        if (neighbour[slot] >= 0) *end++ = {neighbour[slot], distance[slot]};
      std::sort(begin, end, [](const Neighbour& a, const Neighbour& b) { return a.vertex < b.vertex; });
      size[v] = end - begin;
    }
  });
  torch::stable::parallel_for(0, vertices, grain, [&](int64_t first, int64_t last) {
    for (int64_t v = first; v < last && !progress.stopped(); ++v)
      for_mutual(sorted, size, k, v, limit, [&](int64_t, double) { ++rowptr[v + 1]; });
  });
  for (int64_t v = 0; v < vertices; ++v) rowptr[v + 1] += rowptr[v];

  const int64_t edges = rowptr[vertices];
  Tensor edge_index = new_result(index, {2, edges}, ScalarType::Long),
         edge_sqdist = new_result(index, {edges}, ScalarType::Double);
  int64_t* source = edge_index.mutable_data_ptr<int64_t>();
  double* out = edge_sqdist.mutable_data_ptr<double>();
  torch::stable::parallel_for(0, vertices, grain, [&](int64_t first, int64_t last) {
    for (int64_t v = first; v < last && !progress.stopped(); ++v) {
      int64_t e = rowptr[v];
      for_mutual(sorted, size, k, v, limit, [&](int64_t u, double d) {
        source[e] = v;
        source[edges + e] = u;
        out[e++] = d;
      });
    }
    progress.add(last - first);
  });
  return {edge_index, edge_sqdist};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) { m.impl("mutual_neighbors", TORCH_BOX(&cheblienet::mutual_neighbors)); }
