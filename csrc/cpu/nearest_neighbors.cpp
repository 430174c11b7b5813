// Nearest neighbours on a group. Boxes of elements, then pairs, are bounded from below; near pairs are measured, and
// the K + 1 nearest are kept. The result is that of measuring all pairs.
#include "../math/nearest.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "../math/r2.h"
#include "../math/s2.h"
#include "../math/se2.h"
#include "../torch_api.h"
#include "element_tree.h"

namespace cheblienet {
namespace {

template <class Group>
void search(const double* coordinates, int64_t vertices, const Metric<double>& metric, int64_t k, int64_t* index,
            double* sqdist) {
  const ElementTree<Group> tree(coordinates, vertices, metric);
  // Bounds and boxes are rounded themselves.
  constexpr double margin = 1 - 1e-9;

  torch::stable::parallel_for(0, vertices, 256, [&](int64_t begin, int64_t end) {
    std::vector<double> distance(k + 1);
    std::vector<int64_t> neighbour(k + 1);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t v = tree.vertex(i);
      const auto& element = tree.element(i);
      NearestList<double, int64_t> nearest{distance.data(), neighbour.data(), std::min(k + 1, vertices - 1)};
      const auto rejects = [&](double bound) { return nearest.rejects(bound * margin); };
      tree.search(i, rejects, [&](int64_t j) {
        if (j == i || rejects(Group::lower_bound(element, tree.element(j), metric))) return;
        nearest.insert(Group::squared_distance(element, tree.element(j), metric), tree.vertex(j));
      });
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
