// R2, the plane under translations. Element: (x, y).
#pragma once
#include "box.h"

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
    const T dx = h.x - g.x, dy = h.y - g.y;
    return metric.sigma1 * dx * dx + metric.sigma2 * dy * dy;
  }

  // Embedded as (x, y); see box.h.
  static constexpr int box_dimensions = 2;

  static CHEBLIENET_HD void embed(const Element& g, T* at) {
    at[0] = g.x;
    at[1] = g.y;
  }

  static CHEBLIENET_HD T box_weight(int dimension, const Metric<T>& metric) {
    return dimension == 0 ? metric.sigma1 : metric.sigma2;
  }

  static CHEBLIENET_HD T box_bound(const Box<T, 2>& a, const Box<T, 2>& b, const Metric<T>& metric) {
    return metric.sigma1 * squared_gap<0, 1>(a, b) + metric.sigma2 * squared_gap<1, 1>(a, b);
  }
};

}  // namespace cheblienet
