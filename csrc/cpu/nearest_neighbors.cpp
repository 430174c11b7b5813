// Nearest neighbours on a group: every pair is bounded from below, near pairs are measured, the K + 1 nearest are kept.
#include "../math/nearest.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "../math/r2.h"
#include "../math/s2.h"
#include "../math/se2.h"
#include "../torch_api.h"

namespace cheblienet {
namespace {

template <class Group>
void search(const double* coordinates, int64_t vertices, const Metric<double>& metric, int64_t k, int64_t* index,
            double* sqdist) {
  std::vector<typename Group::Element> elements(vertices);
  for (int64_t v = 0; v < vertices; ++v) elements[v] = Group::prepare(coordinates + v * Group::coordinates);

  torch::stable::parallel_for(0, vertices, 1 + 16384 / vertices, [&](int64_t begin, int64_t end) {
    std::vector<double> distance(k + 1);
    std::vector<int64_t> neighbour(k + 1);
    for (int64_t v = begin; v < end; ++v) {
      NearestList<double, int64_t> nearest{distance.data(), neighbour.data(), std::min(k + 1, vertices - 1)};
      for (int64_t u = 0; u < vertices; ++u) {
        // The margin covers the rounding of the bound itself.
        if (u == v || nearest.rejects(Group::lower_bound(elements[v], elements[u], metric) * (1 - 1e-9))) continue;
        nearest.insert(Group::squared_distance(elements[v], elements[u], metric), u);
      }
      const int64_t whole = nearest.whole_shells(k);
      nearest.sort_shells(whole);
      std::copy_n(distance.data(), k, sqdist + v * k);
      std::copy_n(neighbour.data(), whole, index + v * k);
      std::fill_n(index + v * k + whole, k - whole, int64_t(-1));
    }
  });
}

std::tuple<Tensor, Tensor> nearest_neighbors(const Tensor& elements, const Tensor& sigmas, int64_t k,
                                             std::string group) {
  const int64_t vertices = elements.size(0);
  STD_TORCH_CHECK(k >= 1 && k < vertices, "nearest_neighbors: expected 1 <= k < V = ", vertices, ", got ", k);
  STD_TORCH_CHECK(elements.scalar_type() == ScalarType::Double && elements.is_contiguous() &&
                      sigmas.scalar_type() == ScalarType::Double,
                  "nearest_neighbors: expected contiguous float64 elements and sigmas");
  Tensor index = new_empty(elements, {vertices, k}, ScalarType::Long),
         sqdist = new_empty(elements, {vertices, k}, ScalarType::Double);
  const double* s = sigmas.const_data_ptr<double>();
  const Metric<double> metric{s[0], s[1], s[2]};
  const auto run = [&](auto zero) {
    using Group = decltype(zero);
    STD_TORCH_CHECK(elements.size(1) == Group::coordinates, "nearest_neighbors: expected ", Group::coordinates,
                    " coordinates, got ", elements.size(1));
    search<Group>(elements.const_data_ptr<double>(), vertices, metric, k, index.mutable_data_ptr<int64_t>(),
                  sqdist.mutable_data_ptr<double>());
  };
  if (group == "r2") run(R2<double>{});
  else if (group == "se2") run(SE2<double>{});
  else if (group == "s2") run(S2<double>{});
  else if (group == "so3") run(SO3<double>{});
  else STD_TORCH_CHECK(false, "nearest_neighbors: expected a group of r2, se2, s2, so3, got ", group);
  return {index, sqdist};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) {
  m.impl("nearest_neighbors", TORCH_BOX(&cheblienet::nearest_neighbors));
}
