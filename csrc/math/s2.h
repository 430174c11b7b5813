// S2, the sphere. Element: (beta, gamma), the point Rz(gamma) Ry(beta) e_z.
//
// The logarithm is that of the rotation without torsion, Rz(gamma) Ry(beta) Rz(-gamma), that carries the pole where
// g^-1 h carries it (arXiv:2111.12139, section 3.1): the swing of the swing-twist decomposition of the quaternion of
// g^-1 h, whose third component is zero. A metric with sigma1 == sigma2 is symmetric and invariant; the sphere has no
// invariant direction field, so any other one depends on the chart.
#pragma once
#include "so3.h"

namespace cheblienet {

template <class T>
struct S2 {
  static constexpr int coordinates = 2;
  using Scalar = T;
  using Element = Quaternion<T>;

  static CHEBLIENET_HD Element prepare(const T* c) { return Element::from_euler(T(0), c[0], c[1]); }

  // The first two components of the swing's quaternion, its sine and its cosine.
  struct Swing {
    T x, y, sine, cosine;
  };

  static CHEBLIENET_HD Swing swing(const Element& g, const Element& h) {
    const Quaternion<T> q = Quaternion<T>::relative(g, h);
    const T sine = std::sqrt(q.x * q.x + q.y * q.y), cosine = std::sqrt(q.w * q.w + q.z * q.z);
    if (cosine == 0) return {T(0), T(1), T(1), T(0)};  // the antipode: every direction leads there, e_y by convention
    return {(q.x * q.w - q.y * q.z) / cosine, (q.y * q.w + q.x * q.z) / cosine, sine, cosine};
  }

  static CHEBLIENET_HD Tangent<T> log(const Element& g, const Element& h) {
    const Swing s = swing(g, h);
    const T f = angle_over_sine(s.sine, s.cosine);
    return {f * s.x, f * s.y, T(0)};
  }

  static CHEBLIENET_HD T squared_distance(const Element& g, const Element& h, const Metric<T>& metric) {
    return metric.squared_norm(log(g, h));
  }

  static CHEBLIENET_HD T lower_bound(const Element& g, const Element& h, const Metric<T>& metric) {
    const Quaternion<T> q = Quaternion<T>::relative(g, h);
    return 4 * metric.least_planar() * (q.x * q.x + q.y * q.y);
  }

  // Embedded as its point; see box.h.
  static constexpr int box_dimensions = 3;

  static CHEBLIENET_HD void embed(const Element& g, T* at) { g.pole(at); }

  static CHEBLIENET_HD T box_weight(int, const Metric<T>& metric) { return metric.least_planar(); }

  // An angle is at least its chord.
  static CHEBLIENET_HD T box_bound(const Box<T, 3>& a, const Box<T, 3>& b, const Metric<T>& metric) {
    return metric.least_planar() * squared_gap<0, 3>(a, b);
  }
};

}  // namespace cheblienet
