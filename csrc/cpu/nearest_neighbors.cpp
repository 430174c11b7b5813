// Nearest neighbours on a group. Boxes of elements, then pairs, are bounded from below, for the elements of a leaf of
// the search tree together; near pairs are measured, and the K + 1 nearest are kept. On a regular grid of the plane,
// offsets are measured once for all places. The result is that of measuring all pairs.
#include "../math/nearest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../math/r2.h"
#include "../math/s2.h"
#include "../math/se2.h"
#include "../geometry_operands.h"
#include "arena.h"
#include "element_tree.h"
#include "grid_search.h"

namespace cheblienet {
namespace {

// The K + 1 nearest so far of every element of one leaf.
template <class Group>
class LeafSearch {
 public:
  LeafSearch(const ElementTree<Group>& tree, const Metric<double>& metric, BoundPairs bound_pairs, int64_t capacity,
             const Progress& progress)
      : tree_(tree),
        metric_(metric),
        bound_pairs_(bound_pairs),
        progress_(progress),
        capacity_(capacity),
        distance_(kBlock * capacity),
        vertex_(kBlock * capacity) {}

  void run(int64_t leaf) {
    const int size = tree_.leaf_size(leaf);
    for (int i = 0; i < size; ++i)
      nearest_[i] = {distance_.data() + i * capacity_, vertex_.data() + i * capacity_, capacity_};
    std::fill_n(limit_, size, std::numeric_limits<double>::infinity());
    double widest = std::numeric_limits<double>::infinity();
    tree_.search(
        leaf, [&](double bound) { return bound > widest || progress_.stopped(); },
        [&](int64_t other) {
          measure(leaf, other);
          widest = *std::max_element(limit_, limit_ + size);
        });
  }

  NearestList<double, int64_t>& nearest(int i) { return nearest_[i]; }

 private:
  // Offers the elements of leaf `other` to those of `leaf`.
  void measure(int64_t leaf, int64_t other) {
    PairBounds bounds;
    const int size = tree_.leaf_size(leaf), others = tree_.leaf_size(other);
    bound_pairs_(tree_.block(leaf), tree_.block(other), others, metric_, bounds);
    for (int i = 0; i < size; ++i) {
      if (bounds.least[i] > limit_[i]) continue;
      for (int j = 0; j < others; ++j) {
        if (bounds.bound[j][i] > limit_[i] || (leaf == other && i == j)) continue;
        const int64_t from = leaf * kBlock + i, to = other * kBlock + j;
        nearest_[i].insert(Group::squared_distance(tree_.element(from), tree_.element(to), metric_), tree_.vertex(to));
        // Bounds and boxes are rounded themselves.
        if (nearest_[i].size == capacity_) limit_[i] = distance_[(i + 1) * capacity_ - 1] * (1 + 1e-9);
      }
    }
  }

  const ElementTree<Group>& tree_;
  const Metric<double>& metric_;
  BoundPairs bound_pairs_;
  const Progress& progress_;
  int64_t capacity_;
  std::vector<double> distance_;
  std::vector<int64_t> vertex_;
  NearestList<double, int64_t> nearest_[kBlock];
  double limit_[kBlock];  // what a bound must not exceed
};

template <class Group>
constexpr bool has_translations = std::is_same_v<Group, R2<double>> || std::is_same_v<Group, SE2<double>>;

template <class Group>
void search(const double* coordinates, int64_t vertices, const Metric<double>& metric, BoundPairs bound_pairs,
            int64_t k, int64_t* index, double* sqdist, const Progress& progress) {
  if constexpr (has_translations<Group>) {
    const auto grid = find_grid(coordinates, vertices, Group::coordinates);
    if (grid && GridSearch<Group>(coordinates, *grid, metric, k, progress).run(index, sqdist)) {
      progress.add(vertices);
      return;
    }
  }
  const ElementTree<Group> tree(coordinates, vertices, metric, progress);
  torch::stable::parallel_for(0, tree.leaves(), 16, [&](int64_t begin, int64_t end) {
    LeafSearch<Group> leaf_search(tree, metric, bound_pairs, std::min(k + 1, vertices - 1), progress);
    for (int64_t leaf = begin; leaf < end; ++leaf) {
      leaf_search.run(leaf);
      if (progress.stopped()) return;
      progress.add(tree.leaf_size(leaf));
      for (int i = 0; i < tree.leaf_size(leaf); ++i) {
        auto& nearest = leaf_search.nearest(i);
        const int64_t v = tree.vertex(leaf * kBlock + i), whole = nearest.whole_shells(k);
        nearest.sort_shells(whole);
        std::copy_n(nearest.distance, k, sqdist + v * k);
        std::copy_n(nearest.index, whole, index + v * k);
        std::fill_n(index + v * k + whole, k - whole, int64_t(-1));
      }
    }
  });
}

std::tuple<Tensor, Tensor> nearest_neighbors(const Tensor& points, const Tensor& coefficients, int64_t k,
                                             std::string group, const std::optional<Tensor>& mailbox) {
  const auto [elements, sigmas] = checked_search(points, coefficients, k, group);
  const Progress progress(mailbox);
  const int64_t vertices = elements.size(0);
  const auto all_of = [](const Tensor& t, const auto& f) {
    return std::all_of(t.const_data_ptr<double>(), t.const_data_ptr<double>() + t.numel(), f);
  };
  // Squared distances of these are finite, and not rounded to zero.
  constexpr double largest = 1e100;
  STD_TORCH_CHECK(all_of(elements, [](double c) { return std::abs(c) <= largest; }),
                  "nearest_neighbors: elements: expected finite coordinates up to ", largest);
  STD_TORCH_CHECK(all_of(sigmas, [](double s) { return 1 / largest <= s && s <= largest; }),
                  "nearest_neighbors: sigmas: expected three positive finite numbers from ", 1 / largest, " to ",
                  largest);
  Tensor index = new_result(elements, {vertices, k}, ScalarType::Long),
         sqdist = new_result(elements, {vertices, k}, ScalarType::Double);
  const double* s = sigmas.const_data_ptr<double>();
  const Metric<double> metric{s[0], s[1], s[2]};
  const auto run = [&](auto zero, BoundPairs bound_pairs) {
    using Group = decltype(zero);
    search<Group>(elements.const_data_ptr<double>(), vertices, metric, bound_pairs, k,
                  index.mutable_data_ptr<int64_t>(), sqdist.mutable_data_ptr<double>(), progress);
  };
  const PairBoundKernels& bounds = pair_bound_kernels();
  if (group == "r2") run(R2<double>{}, bounds.r2);
  else if (group == "se2") run(SE2<double>{}, bounds.se2);
  else if (group == "s2") run(S2<double>{}, bounds.s2);
  else run(SO3<double>{}, bounds.so3);
  return {index, sqdist};
}

}  // namespace
}  // namespace cheblienet

STABLE_TORCH_LIBRARY_IMPL(cheblienet, CPU, m) {
  m.impl("nearest_neighbors", TORCH_BOX(&cheblienet::nearest_neighbors));
}
