// R2, the plane under translations. Element: (x, y).
#pragma once
#include "metric.h"

namespace cheblienet {

template <class T>
struct R2 {
  static constexpr int coordinates = 2;
  using Scalar = T;
  struct Element {
    T x, y;
  };

  static CHEBLIENET_HD Element prepare(const T* c) { return {c[0], c[1]}; }

  static CHEBLIENET_HD Tangent<T> log(const Element& g, const Element& h) { return {h.x - g.x, h.y - g.y, T(0)}; }

  static CHEBLIENET_HD T squared_distance(const Element& g, const Element& h, const Metric<T>& metric) {
    return metric.squared_norm(log(g, h));
  }

  static CHEBLIENET_HD T lower_bound(const Element& g, const Element& h, const Metric<T>& metric) {
    return squared_distance(g, h, metric);
  }
};

}  // namespace cheblienet
