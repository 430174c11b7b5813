// A search tree over group elements: boxes around their embeddings, divided at the median of the widest dimension.
#pragma once
#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "../math/box.h"

namespace cheblienet {

template <class Group>
class ElementTree {
 public:
  using T = typename Group::Scalar;
  using Element = typename Group::Element;
  static constexpr int dimensions = Group::box_dimensions;

  ElementTree(const T* coordinates, int64_t vertices, const Metric<T>& metric)
      : metric_(metric), points_(vertices), elements_(vertices) {
    std::vector<Element> elements(vertices);
    for (int64_t v = 0; v < vertices; ++v) {
      elements[v] = Group::prepare(coordinates + v * Group::coordinates);
      Group::embed(elements[v], points_[v].at);
      points_[v].vertex = v;
    }
    nodes_.reserve(4 * (vertices / kLeaf + 1));
    divide(0, vertices);
    for (int64_t i = 0; i < vertices; ++i) elements_[i] = elements[points_[i].vertex];
  }

  // Elements in the order of the tree, where near ones are near each other, and the vertex of each.
  int64_t vertex(int64_t i) const { return points_[i].vertex; }
  const Element& element(int64_t i) const { return elements_[i]; }

  // Calls visit(i) for every position i but those of boxes whose bound, from position `from`, rejects(bound) refuses.
  // Near boxes come first, the element's own before all, so that a search which keeps the nearest soon rejects the
  // others.
  template <class Rejects, class Visit>
  void search(int64_t from, const Rejects& rejects, const Visit& visit) const {
    const T* at = points_[from].at;
    struct Waiting {
      int64_t node;
      T bound;
    } stack[kDepth];  // one for every level at most
    int depth = 0;
    stack[depth++] = {0, T(0)};
    while (depth > 0) {
      const Waiting next = stack[--depth];
      if (rejects(next.bound)) continue;
      const Node& node = nodes_[next.node];
      if (node.right == 0) {
        for (int64_t i = node.begin; i < node.end; ++i) visit(i);
        continue;
      }
      Waiting near{next.node + 1, bound(at, next.node + 1)}, far{node.right, bound(at, node.right)};
      // Boxes overlap: the one that holds the element itself goes first, for a tight limit from the start.
      const bool holds = node.begin <= from && from < node.end;
      if (holds ? from >= nodes_[node.right].begin : far.bound < near.bound) std::swap(near, far);
      stack[depth++] = far;
      stack[depth++] = near;
    }
  }

 private:
  static constexpr int64_t kLeaf = 16;  // elements
  static constexpr int kDepth = 64;     // the tree is balanced: at most log2(V) levels

  struct Point {
    T at[dimensions];
    int64_t vertex;
  };
  // The left child follows its parent; right == 0 marks a leaf.
  struct Node {
    T low[dimensions], high[dimensions];
    int64_t begin, end, right;
  };

  T bound(const T* at, int64_t node) const {
    return Group::box_bound(at, nodes_[node].low, nodes_[node].high, metric_);
  }

  void divide(int64_t begin, int64_t end) {
    const int64_t index = static_cast<int64_t>(nodes_.size());
    nodes_.push_back({});
    Node node{{}, {}, begin, end, 0};
    int widest = 0;
    T width = -1;
    for (int d = 0; d < dimensions; ++d) {
      T low = points_[begin].at[d], high = low;
      for (int64_t i = begin + 1; i < end; ++i) {
        low = std::min(low, points_[i].at[d]);
        high = std::max(high, points_[i].at[d]);
      }
      const T w = Group::box_weight(d, metric_) * (high - low) * (high - low);
      if (w > width) width = w, widest = d;
      // Wider by the rounding of an embedding, so that no box is ever further away than what it holds.
      const T rounding = 8 * std::numeric_limits<T>::epsilon() * std::max({T(1), std::abs(low), std::abs(high)});
      node.low[d] = low - rounding;
      node.high[d] = high + rounding;
    }
    if (end - begin > kLeaf) {
      const int64_t middle = begin + (end - begin) / 2;
      std::nth_element(points_.begin() + begin, points_.begin() + middle, points_.begin() + end,
                       [widest](const Point& a, const Point& b) { return a.at[widest] < b.at[widest]; });
      divide(begin, middle);
      node.right = static_cast<int64_t>(nodes_.size());
      divide(middle, end);
    }
    nodes_[index] = node;
  }

  Metric<T> metric_;
  std::vector<Point> points_;
  std::vector<Element> elements_;
  std::vector<Node> nodes_;
};

}  // namespace cheblienet
