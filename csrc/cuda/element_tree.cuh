// A search tree over group elements on the device, without the framework. Elements are sorted by the cells of repeated
// halving; 32 neighbours in that order are a leaf, 32 leaves a node of the next level, and so on to the root, so that
// the tree is implicit: it stores nothing but boxes, and the lanes of a warp test the children of a node at once.
#pragma once
#include <cfloat>

#include "../math/box.h"
#include "pack.cuh"

namespace cheblienet {

// Numbers are kept in groups of 32 records, component by component: a warp reads one component of 32 neighbouring
// records as 256 adjacent bytes.
template <int components>
CHEBLIENET_HD int64_t component_at(int64_t record, int component) {
  return (record / kWarp * components + component) * kWarp + record % kWarp;
}
CHEBLIENET_HD int64_t padded(int64_t records) { return (records + kWarp - 1) / kWarp * kWarp; }

// Level 0 holds the leaves, and the last level, of one node, the root.
CHEBLIENET_HD int64_t tree_nodes(int64_t vertices, int level) { return ((vertices - 1) >> (5 * (level + 1))) + 1; }
CHEBLIENET_HD int tree_levels(int64_t vertices) {
  int levels = 1;
  while (tree_nodes(vertices, levels - 1) > 1) ++levels;
  return levels;
}
// The number of the first node of a level among all boxes; that of the level after the root is the storage needed.
CHEBLIENET_HD int64_t tree_first(int64_t vertices, int level) {
  int64_t first = 0;
  for (int l = 0; l < level; ++l) first += padded(tree_nodes(vertices, l));
  return first;
}

// What is known of an element: its numbers, then where it stands among the boxes.
template <class Group>
struct Record {
  using Element = typename Group::Element;
  static constexpr int numbers = sizeof(Element) / sizeof(double), dimensions = Group::box_dimensions;
  static constexpr int components = numbers + dimensions, box_components = 2 * dimensions;

  static __device__ __forceinline__ Element element(const double* records, int64_t i) {
    double number[numbers];
#pragma unroll
    for (int c = 0; c < numbers; ++c) number[c] = records[component_at<components>(i, c)];
    Element element;
    memcpy(&element, number, sizeof element);
    return element;
  }

  static __device__ __forceinline__ void embedding(const double* records, int64_t i, double* at) {
#pragma unroll
    for (int d = 0; d < dimensions; ++d) at[d] = records[component_at<components>(i, numbers + d)];
  }

  static __device__ __forceinline__ double box_bound(const double* at, const double* boxes, int64_t node,
                                                     const Metric<double>& metric) {
    Box<double, dimensions> own, box;
#pragma unroll
    for (int d = 0; d < dimensions; ++d) {
      own.low[d] = own.high[d] = at[d];
      box.low[d] = boxes[component_at<box_components>(node, d)];
      box.high[d] = boxes[component_at<box_components>(node, dimensions + d)];
    }
    return Group::box_bound(own, box, metric);
  }
};

// Writes the box around what the lanes of a warp hold.
template <int dimensions>
__device__ __forceinline__ void enclose(double* low, double* high, double* boxes, int64_t node) {
#pragma unroll
  for (int d = 0; d < dimensions; ++d) {
    for (int other = kWarp / 2; other > 0; other /= 2) {
      low[d] = fmin(low[d], __shfl_xor_sync(kAllLanes, low[d], other));
      high[d] = fmax(high[d], __shfl_xor_sync(kAllLanes, high[d], other));
    }
    if (threadIdx.x % kWarp == 0) {
      boxes[component_at<2 * dimensions>(node, d)] = low[d];
      boxes[component_at<2 * dimensions>(node, dimensions + d)] = high[d];
    }
  }
}

// One thread per element, one warp per leaf: the records of the elements in the order given, null for their own, and
// the boxes of the leaves. Reads and writes everything once; no shared memory.
template <class Group>
__global__ void __launch_bounds__(kFlatBlock)
    tree_leaves(const double* __restrict__ coordinates, const int64_t* __restrict__ order, double* __restrict__ records,
                double* __restrict__ boxes, int64_t vertices) {
  using R = Record<Group>;
  const int64_t position = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (position >= padded(vertices)) return;
  const int64_t last = vertices - 1, filled = position < last ? position : last;  // the last leaf repeats the last one
  const auto element = Group::prepare(coordinates + (order ? order[filled] : filled) * Group::coordinates);
  double number[R::numbers], low[R::dimensions], high[R::dimensions];
  memcpy(number, &element, sizeof element);
  Group::embed(element, low);
#pragma unroll
  for (int c = 0; c < R::numbers; ++c) records[component_at<R::components>(position, c)] = number[c];
#pragma unroll
  for (int d = 0; d < R::dimensions; ++d) {
    records[component_at<R::components>(position, R::numbers + d)] = low[d];
    // Wider by the rounding of an embedding, so that no box is ever further away than what it holds.
    const double rounding = 8 * 2.220446049250313e-16 * fmax(1.0, fabs(low[d]));
    high[d] = low[d] + rounding;
    low[d] -= rounding;
  }
  enclose<R::dimensions>(low, high, boxes, position / kWarp);
}

// One warp per node: its box from those of its children.
template <int dimensions>
__global__ void __launch_bounds__(kFlatBlock)
    tree_parents(double* boxes, int64_t first_child, int64_t children, int64_t first_parent) {
  const int64_t item = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (item >= padded(children)) return;
  const int64_t child = first_child + (item < children ? item : children - 1);
  double low[dimensions], high[dimensions];
#pragma unroll
  for (int d = 0; d < dimensions; ++d) {
    low[d] = boxes[component_at<2 * dimensions>(child, d)];
    high[d] = boxes[component_at<2 * dimensions>(child, dimensions + d)];
  }
  enclose<dimensions>(low, high, boxes, first_parent + item / kWarp);
}

// One thread per element: the cell it is in after 62 halvings of the root's box, each across the dimension that is the
// widest in the metric by then. These dimensions are the same for all elements.
template <class Group>
__global__ void __launch_bounds__(kFlatBlock)
    tree_keys(const double* __restrict__ records, const double* __restrict__ boxes, int64_t root,
              const double* __restrict__ sigmas, int64_t* __restrict__ keys, int64_t vertices) {
  using R = Record<Group>;
  const int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (i >= vertices) return;
  const Metric<double> metric{sigmas[0], sigmas[1], sigmas[2]};
  double at[R::dimensions], low[R::dimensions], width[R::dimensions];
  R::embedding(records, i, at);
#pragma unroll
  for (int d = 0; d < R::dimensions; ++d) {
    low[d] = boxes[component_at<R::box_components>(root, d)];
    width[d] = boxes[component_at<R::box_components>(root, R::dimensions + d)] - low[d];
  }
  int64_t key = 0;
  for (int bit = 0; bit < 62; ++bit) {
    int widest = 0;
    double largest = -1;
#pragma unroll
    for (int d = 0; d < R::dimensions; ++d) {
      const double size = Group::box_weight(d, metric) * width[d] * width[d];
      if (size > largest) largest = size, widest = d;
    }
    key *= 2;
#pragma unroll
    for (int d = 0; d < R::dimensions; ++d) {
      if (d != widest) continue;
      width[d] /= 2;
      if (at[d] >= low[d] + width[d]) {
        low[d] += width[d];
        ++key;
      }
    }
  }
  keys[i] = key;
}

// Shared memory of one warp: the bounds of the children that are left on each level above the leaves.
struct Pending {
  float bound[6][kWarp];  // 2^31 elements have 2^26 leaves
};

__device__ __forceinline__ float warp_least(float value) {
  for (int other = kWarp / 2; other > 0; other /= 2) value = fminf(value, __shfl_xor_sync(kAllLanes, value, other));
  return value;
}

// Calls visit(leaf) by a whole warp for every leaf but those of nodes whose bound, from the element `at` in leaf `own`,
// rejects(bound) refuses. The element's own leaf comes first, then its siblings, and so on outwards, near ones first,
// so that a search which keeps the nearest soon rejects the others.
template <class Group, class Rejects, class Visit>
__device__ __forceinline__ void tree_search(const double* __restrict__ boxes, int64_t vertices, const double* at,
                                            int64_t own, const Metric<double>& metric, Pending& pending,
                                            const Rejects& rejects, const Visit& visit) {
  const int lane = threadIdx.x % kWarp, root = tree_levels(vertices) - 1;
  int level = 0, around = 0;                // the level, and that of the ancestor whose descendants are being visited
  int64_t parent = own / kWarp, first = 0;  // the parent of the nodes under test, and the first node of the level
  bool entered = true;
  do {
    const int64_t nodes = tree_nodes(vertices, level), child = parent * kWarp + lane;
    float bound = INFINITY;  // done, or no child
    if (!entered) {
      bound = pending.bound[level - 1][lane];
    } else if (child == own >> (5 * level)) {
      if (level == 0) bound = -1;  // before all others; further up, it has been done
    } else if (child < nodes) {
      bound = fminf(__double2float_rd(Record<Group>::box_bound(at, boxes, first + child, metric)), FLT_MAX);
    }
    int nearest = -1;
    for (float least; (least = warp_least(bound)) < INFINITY && !rejects(least);) {
      nearest = __ffs(__ballot_sync(kAllLanes, bound == least)) - 1;
      if (lane == nearest) bound = INFINITY;
      if (level > 0) break;
      visit(parent * kWarp + nearest);
      nearest = -1;
    }
    entered = nearest >= 0;
    if (entered) {
      pending.bound[level - 1][lane] = bound;
      parent = parent * kWarp + nearest;
      first -= padded(tree_nodes(vertices, --level));
    } else {
      if (level == around) {
        ++around;
        entered = true;
      }
      parent /= kWarp;
      first += padded(nodes);
      ++level;
    }
  } while (level < root);
}

}  // namespace cheblienet
