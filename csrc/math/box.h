// Axis-parallel boxes, by which a search tree bounds the distance to many elements at once. For it, every group says
//   box_dimensions  the number of coordinates of an embedding,
//   embed           where an element stands among the boxes,
//   box_weight      the squared distance, roughly, per squared step along one dimension: it tells which side of a box
//   is
//                   the longest,
//   box_bound       at most the squared distance from the element embedded at `at` to any element inside a box.
#pragma once
#include "metric.h"

namespace cheblienet {

// Squared distance from a point to an axis-parallel box of D dimensions, all of one weight.
template <int D, class T>
CHEBLIENET_HD T squared_distance_to_box(const T* at, const T* low, const T* high) {
  T sum = 0;
  for (int i = 0; i < D; ++i) {
    const T below = low[i] - at[i], above = at[i] - high[i], outside = below > above ? below : above;
    if (outside > 0) sum += outside * outside;
  }
  return sum;
}

}  // namespace cheblienet
