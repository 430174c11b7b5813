// SO(3), the rotations of the sphere. Element: (alpha, beta, gamma) with G = Rz(gamma) Ry(beta) Rz(alpha).
//
// Elements are kept as unit quaternions (w, x, y, z). With q = (w, v) that of g^-1 h, w >= 0, the logarithm is
//   c = 2 atan2(|v|, w) / |v| v,
// equal to phi / (2 sin phi) (G32 - G23, G13 - G31, G21 - G12) of arXiv:2111.12139, section 3.1, and well conditioned
// at phi = pi as well, where the matrix form loses the axis.
#pragma once
#include "box.h"

namespace cheblienet {

template <class T>
struct Quaternion {
  T w, x, y, z;

  // Rz(gamma) Ry(beta) Rz(alpha)
  static CHEBLIENET_HD Quaternion from_euler(T alpha, T beta, T gamma) {
    const T s = std::sin(beta / 2), c = std::cos(beta / 2), sum = (gamma + alpha) / 2, difference = (gamma - alpha) / 2;
    return {c * std::cos(sum), -s * std::sin(difference), s * std::cos(difference), c * std::sin(sum)};
  }

  // conj(g) h. Equal arguments give an exact zero vector part: the products cancel in pairs.
  static CHEBLIENET_HD Quaternion relative(const Quaternion& g, const Quaternion& h) {
    return {g.w * h.w + g.x * h.x + g.y * h.y + g.z * h.z,
            (product(g.w, h.x) - product(g.x, h.w)) + (product(g.z, h.y) - product(g.y, h.z)),
            (product(g.w, h.y) - product(g.y, h.w)) + (product(g.x, h.z) - product(g.z, h.x)),
            (product(g.w, h.z) - product(g.z, h.w)) + (product(g.y, h.x) - product(g.x, h.y))};
  }

  // Where the rotation carries the pole e_z.
  CHEBLIENET_HD void pole(T* at) const {
    at[0] = 2 * (x * z + w * y);
    at[1] = 2 * (y * z - w * x);
    at[2] = 1 - 2 * (x * x + y * y);
  }
};

// 2 atan2(s, c) / s for s = sin and c = |cos| of half a rotation angle: at least 2, by its series near s = 0.
template <class T>
CHEBLIENET_HD T angle_over_sine(T s, T c) {
  const T s2 = s * s;
  return s2 < T(1e-6) ? 2 + s2 / 3 + 3 * s2 * s2 / 20 : 2 * std::atan2(s, std::abs(c)) / s;
}

template <class T>
struct SO3 {
  static constexpr int coordinates = 3;
  using Scalar = T;
  using Element = Quaternion<T>;

  static CHEBLIENET_HD Element prepare(const T* c) { return Element::from_euler(c[0], c[1], c[2]); }

  static CHEBLIENET_HD Tangent<T> log(const Element& g, const Element& h) {
    const Quaternion<T> q = Quaternion<T>::relative(g, h);
    const T f = std::copysign(angle_over_sine(std::sqrt(q.x * q.x + q.y * q.y + q.z * q.z), q.w), q.w);
    return {f * q.x, f * q.y, f * q.z};
  }

  static CHEBLIENET_HD T squared_angle_over_sine(T squared_sine, T cosine) {
    const T f = angle_over_sine(std::sqrt(squared_sine), cosine);
    return f * f;
  }

  // The minimum over the offsets -pi, 0, pi of alpha: Rz(-pi) and Rz(pi) are one matrix, and q Rz(pi) = (-z, y, -x, w).
  static CHEBLIENET_HD T squared_distance(const Element& g, const Element& h, const Metric<T>& metric) {
    const Quaternion<T> q = Quaternion<T>::relative(g, h);
    const T xy = q.x * q.x + q.y * q.y;
    const T straight = squared_angle_over_sine(xy + q.z * q.z, q.w) * metric.squared_norm(q.x, q.y, q.z);
    const T reversed = squared_angle_over_sine(xy + q.w * q.w, q.z) * metric.squared_norm(q.y, q.x, q.w);
    return straight < reversed ? straight : reversed;
  }

  // The factor is at least 2 and tends to 2 for near elements, so the chord bounds the distance closely from below.
  static CHEBLIENET_HD T lower_bound(const Element& g, const Element& h, const Metric<T>& metric) {
    const Quaternion<T> q = Quaternion<T>::relative(g, h);
    const T straight = metric.squared_norm(q.x, q.y, q.z), reversed = metric.squared_norm(q.y, q.x, q.w);
    return 4 * (straight < reversed ? straight : reversed);
  }

  // Embedded as its point of the sphere, then its quaternion, one of the four, q, -q, q Rz(pi) and -q Rz(pi), that are
  // one element; see box.h.
  static constexpr int box_dimensions = 7;

  static CHEBLIENET_HD void embed(const Element& g, T* at) {
    g.pole(at);
    at[3] = g.w;
    at[4] = g.x;
    at[5] = g.y;
    at[6] = g.z;
  }

  static CHEBLIENET_HD T box_weight(int dimension, const Metric<T>& metric) {
    return dimension >= 3 ? 4 * metric.sigma3 : metric.least_planar();
  }

  // With q = (w, x, y, z) that of g^-1 h, |c_i| >= 2 |q_i|. Boxes of points hold s = x^2 + y^2 = sin(angle / 2)^2
  // between two values, and boxes of quaternions x^2 + y^2 + z^2 = c2 (1 - c2 / 4) above one, with c the chord: sigma s
  // + sigma3 z^2 is least at one end.
  static CHEBLIENET_HD T box_bound(const Box<T, 7>& a, const Box<T, 7>& b, const Metric<T>& metric) {
    const T sigma = metric.least_planar();
    const T nearest = squared_gap<0, 3>(a, b) / 4;
    // From q to the four quaternions of the other element: q', -q', q' Rz(pi) = (-z, y, -x, w) and -q' Rz(pi).
    T chords[4] = {0, 0, 0, 0};
    for (int i = 3; i < 7; ++i) {
      const int turned = 9 - i;
      const bool odd = i % 2;
      chords[0] += squared_gap(a, i, b, i, false);
      chords[1] += squared_gap(a, i, b, i, true);
      chords[2] += squared_gap(a, i, b, turned, odd);
      chords[3] += squared_gap(a, i, b, turned, !odd);
    }
    T chord2 = 2;
    for (const T chord : chords) chord2 = chord < chord2 ? chord : chord2;
    const T sine2 = chord2 * (1 - chord2 / 4);
    T s = nearest;
    if (metric.sigma3 > sigma && sine2 > nearest) {
      T farthest = 0;
      for (int i = 0; i < 3; ++i) {
        const T below = a.high[i] - b.low[i], above = b.high[i] - a.low[i], d = below > above ? below : above;
        farthest += d * d / 4;
      }
      s = sine2 < farthest ? sine2 : farthest;
    }
    return 4 * (sigma * s + metric.sigma3 * (sine2 > s ? sine2 - s : T(0)));
  }
};

}  // namespace cheblienet
