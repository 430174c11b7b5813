// Axis-parallel boxes, by which a search tree bounds the distances between many elements at once. For it, every group
// says
//   box_dimensions  the number of coordinates of an embedding,
//   embed           where an element stands among the boxes,
//   box_weight      the squared distance, roughly, per squared step along one dimension: it tells which side of a box
//                   is the longest,
//   box_bound       at most the squared distance from any element inside one box to any inside another.
#pragma once
#include "metric.h"

namespace cheblienet {

template <class T, int D>
struct Box {
  T low[D], high[D];
};

// Squared distance between the intervals of two boxes in dimensions i and j, the second one mirrored at zero or not.
template <class T, int D>
CHEBLIENET_HD T squared_gap(const Box<T, D>& a, int i, const Box<T, D>& b, int j, bool mirrored = false) {
  const T low = mirrored ? -b.high[j] : b.low[j], high = mirrored ? -b.low[j] : b.high[j];
  const T below = a.low[i] - high, above = low - a.high[i], gap = below > above ? below : above;
  return gap > 0 ? gap * gap : T(0);
}

// Squared distance between two boxes in N of their dimensions, from the first named one on, all of one weight.
template <int First, int N, class T, int D>
CHEBLIENET_HD T squared_gap(const Box<T, D>& a, const Box<T, D>& b) {
  T sum = 0;
  for (int i = First; i < First + N; ++i) sum += squared_gap(a, i, b, i);
  return sum;
}

}  // namespace cheblienet
