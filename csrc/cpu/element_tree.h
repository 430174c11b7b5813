// A search tree over group elements: boxes around their embeddings, divided near the median of the widest dimension
// into leaves of kBlock elements.
#pragma once
#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "../math/box.h"
#include "pair_bounds.h"
#include "progress.h"

namespace cheblienet {

template <class Group>
class ElementTree {
 public:
  using T = typename Group::Scalar;
  using Element = typename Group::Element;

  ElementTree(const T* coordinates, int64_t vertices, const Metric<T>& metric, const Progress& progress)
      : metric_(metric),
        progress_(progress),
        points_(vertices),
        elements_(vertices),
        blocks_(leaves() * kFields * kBlock) {
    std::vector<Element> elements(vertices);
    for (int64_t v = 0; v < vertices; ++v) {
      elements[v] = Group::prepare(coordinates + v * Group::coordinates);
      Group::embed(elements[v], points_[v].at);
      points_[v].vertex = v;
    }
    nodes_.reserve(2 * leaves());
    leaf_nodes_.resize(leaves());
    divide(0, vertices);
    for (int64_t i = 0; i < vertices; ++i) {
      elements_[i] = elements[points_[i].vertex];
      T fields[kFields];
      std::memcpy(fields, &elements_[i], sizeof fields);
      for (int f = 0; f < kFields; ++f) blocks_[(i / kBlock * kFields + f) * kBlock + i % kBlock] = fields[f];
    }
  }

  // Elements in the order of the tree, where near ones are near each other; leaf l holds kBlock of them from l kBlock.
  int64_t vertex(int64_t i) const { return points_[i].vertex; }
  const Element& element(int64_t i) const { return elements_[i]; }
  int64_t leaves() const { return (static_cast<int64_t>(points_.size()) + kBlock - 1) / kBlock; }
  int leaf_size(int64_t leaf) const {
    return static_cast<int>(std::min<int64_t>(kBlock, points_.size() - leaf * kBlock));
  }
  // The fields of a leaf's elements, as pair_bounds.h takes them.
  const T* block(int64_t leaf) const { return blocks_.data() + leaf * kFields * kBlock; }

  // Calls visit(leaf) for every leaf but those in boxes whose bound, from the box of leaf `from`, rejects(bound)
  // refuses. Near boxes come first, the leaf itself before all, so that a search which keeps the nearest soon rejects
  // the others.
  template <class Rejects, class Visit>
  void search(int64_t from, const Rejects& rejects, const Visit& visit) const {
    const auto& box = nodes_[leaf_nodes_[from]].box;
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
        visit(node.begin / kBlock);
        continue;
      }
      const auto waiting = [&](int64_t child) {
        return Waiting{child, Group::box_bound(box, nodes_[child].box, metric_)};
      };
      Waiting near = waiting(next.node + 1), far = waiting(node.right);
      // Boxes overlap: the one that holds the leaf itself goes first, for a tight limit from the start.
      const int64_t position = from * kBlock;
      const bool holds = node.begin <= position && position < node.end;
      if (holds ? position >= nodes_[node.right].begin : far.bound < near.bound) std::swap(near, far);
      stack[depth++] = far;
      stack[depth++] = near;
    }
  }

 private:
  static constexpr int kDimensions = Group::box_dimensions;
  static constexpr int kFields = sizeof(Element) / sizeof(T);
  static constexpr int kDepth = 64;  // the tree is balanced: at most log2(V) levels

  struct Point {
    T at[kDimensions];
    int64_t vertex;
  };
  // The left child follows its parent; right == 0 marks a leaf.
  struct Node {
    Box<T, kDimensions> box;
    int64_t begin, end, right;
  };

  void divide(int64_t begin, int64_t end) {
    const int64_t index = static_cast<int64_t>(nodes_.size());
    nodes_.push_back({});
    Node node{{}, begin, end, 0};
    int widest = 0;
    T width = -1;
    for (int d = 0; d < kDimensions; ++d) {
      T low = points_[begin].at[d], high = low;
      for (int64_t i = begin + 1; i < end; ++i) {
        low = std::min(low, points_[i].at[d]);
        high = std::max(high, points_[i].at[d]);
      }
      const T w = Group::box_weight(d, metric_) * (high - low) * (high - low);
      if (w > width) width = w, widest = d;
      // Wider by the rounding of an embedding, so that no box is ever further away than what it holds.
      const T rounding = 8 * std::numeric_limits<T>::epsilon() * std::max({T(1), std::abs(low), std::abs(high)});
      node.box.low[d] = low - rounding;
      node.box.high[d] = high + rounding;
    }
    if (end - begin > kBlock && !progress_.stopped()) {
      // All leaves are full but the last.
      const int64_t middle = begin + (end - begin + 2 * kBlock - 1) / (2 * kBlock) * kBlock;
      std::nth_element(points_.begin() + begin, points_.begin() + middle, points_.begin() + end,
                       [widest](const Point& a, const Point& b) { return a.at[widest] < b.at[widest]; });
      divide(begin, middle);
      node.right = static_cast<int64_t>(nodes_.size());
      divide(middle, end);
    } else {
      leaf_nodes_[begin / kBlock] = index;
    }
    nodes_[index] = node;
  }

  Metric<T> metric_;
  const Progress& progress_;
  std::vector<Point> points_;
  std::vector<Element> elements_;
  std::vector<T> blocks_;
  std::vector<Node> nodes_;
  std::vector<int64_t> leaf_nodes_;
};

}  // namespace cheblienet
