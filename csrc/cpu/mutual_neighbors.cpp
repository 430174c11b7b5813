// Edges between vertices that are neighbours of each other: every neighbourhood is sorted once, and each of its members
// looks itself up in the neighbourhood of the other, so that time is linear in the number of neighbours.
#include <algorithm>
#include <vector>

#include "../geometry_operands.h"
#include "arena.h"
#include "progress.h"

namespace cheblienet {
namespace {

struct Neighbour {
  int64_t vertex;
  double sqdist;
};

std::tuple<Tensor, Tensor> mutual_neighbors(const Tensor& neighbours, const Tensor& distances_to, double limit,
                                            const std::optional<Tensor>& mailbox) {
  const auto [index, sqdist] = checked_mutual(neighbours, distances_to, limit);
  const Progress progress(mailbox);
  const int64_t vertices = index.size(0), k = index.size(1), grain = 1 + 16384 / (k + 1);
  constexpr double none = -1;  // no squared distance
  const int64_t* neighbour = index.const_data_ptr<int64_t>();
  const double* distance = sqdist.const_data_ptr<double>();
  STD_TORCH_CHECK(std::all_of(neighbour, neighbour + vertices * k, [&](int64_t u) { return u >= -1 && u < vertices; }),
                  "mutual_neighbors: index: expected vertices below ", vertices, ", or -1 for none");
  for (int64_t slot = 0; slot < vertices * k; ++slot) {
    STD_TORCH_CHECK(neighbour[slot] < 0 || distance[slot] >= 0,
                    "mutual_neighbors: sqdist: expected non-negative numbers, got ", distance[slot]);
    STD_TORCH_CHECK(neighbour[slot] != slot / k,
                    "mutual_neighbors: index: expected neighbours other than the vertex, got ", neighbour[slot],
                    " for itself");
  }

  // Lookups read vertices of four bytes: 16 neighbours are one cache line. What they find is kept, not looked up again.
  Tensor sorted = new_result(index, {vertices, k}, ScalarType::Int),
         distances = new_result(index, {vertices, k}, ScalarType::Double),
         means = new_result(index, {vertices, k}, ScalarType::Double);
  int32_t* member = sorted.mutable_data_ptr<int32_t>();
  double *member_sqdist = distances.mutable_data_ptr<double>(), *mean = means.mutable_data_ptr<double>();
  std::vector<int32_t> size(vertices);
  std::vector<int64_t> rowptr(vertices + 1);
  bool twice = false;  // whether a thread has met a neighbour twice
  torch::stable::parallel_for(0, vertices, grain, [&](int64_t first, int64_t last) {
    std::vector<Neighbour> list(k);
    for (int64_t v = first; v < last && !progress.stopped(); ++v) {
      auto end = list.begin();
      for (int64_t slot = v * k; slot < (v + 1) * k; ++slot)
        if (neighbour[slot] >= 0) *end++ = {neighbour[slot], distance[slot]};
      std::sort(list.begin(), end, [](const Neighbour& a, const Neighbour& b) { return a.vertex < b.vertex; });
      const auto same = [](const Neighbour& a, const Neighbour& b) { return a.vertex == b.vertex; };
      if (std::adjacent_find(list.begin(), end, same) != end) __atomic_store_n(&twice, true, __ATOMIC_RELAXED);
      size[v] = static_cast<int32_t>(end - list.begin());
      for (int64_t i = 0; i < size[v]; ++i) {
        member[v * k + i] = static_cast<int32_t>(list[i].vertex);
        member_sqdist[v * k + i] = list[i].sqdist;
      }
    }
  });
  STD_TORCH_CHECK(!twice, "mutual_neighbors: index: expected each neighbour of a vertex once, got one twice");
  torch::stable::parallel_for(0, vertices, grain, [&](int64_t first, int64_t last) {
    for (int64_t v = first; v < last && !progress.stopped(); ++v)
      for (int64_t slot = v * k; slot < v * k + size[v]; ++slot) {
        const int64_t u = member[slot];
        const int32_t *begin = member + u * k, *end = begin + size[u];
        const int32_t* back = std::lower_bound(begin, end, v);
        mean[slot] = none;
        if (back == end || *back != v) continue;
        const double both = (member_sqdist[slot] + member_sqdist[back - member]) / 2;
        if (both > limit) continue;
        mean[slot] = both;
        ++rowptr[v + 1];
      }
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
      for (int64_t slot = v * k; slot < v * k + size[v]; ++slot) {
        if (mean[slot] == none) continue;
        source[e] = v;
        source[edges + e] = member[slot];
        out[e++] = mean[slot];
      }
    }
    progress.add(last - first);
  });
  return {edge_index, edge_sqdist};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) { m.impl("mutual_neighbors", TORCH_BOX(&cheblienet::mutual_neighbors)); }
