// SE(2), the plane with an orientation. Element: (x, y, theta).
//
// With (x, y, theta) the parameters of g^-1 h, h = theta / 2 and f = h / sin h, the logarithm is
//   c = (f (x cos h + y sin h), f (-x sin h + y cos h), theta),
// which is (theta/2) (y + x cot h, -x + y cot h) of arXiv:2111.12139, section 3.1, without its removable singularity.
// An element keeps sin and cos of its half angle, so that a distance costs no trigonometric function: the half angle of
// g^-1 h follows from the addition theorem, and the offset of pi in theta swaps its sine and cosine.
#pragma once
#include "box.h"

namespace cheblienet {

template <class T>
struct SE2 {
  static constexpr int coordinates = 3;
  using Scalar = T;
  static constexpr T pi = T(3.14159265358979323846);

  struct Element {
    T x, y, theta, sin_half, cos_half;
  };

  static CHEBLIENET_HD Element prepare(const T* c) {
    return {c[0], c[1], c[2], std::sin(c[2] / 2), std::cos(c[2] / 2)};
  }

  // g^-1 h: the translation in the frame of g, and the half angle in [-pi/2, pi/2] with its sine and cosine.
  struct Relative {
    T x, y, half, sin_half, cos_half;
  };

  static CHEBLIENET_HD Relative relative(const Element& g, const Element& h) {
    const T dx = h.x - g.x, dy = h.y - g.y;
    const T cos_g = g.cos_half * g.cos_half - g.sin_half * g.sin_half, sin_g = 2 * g.sin_half * g.cos_half;
    const T turn = h.theta - g.theta;  // in range wherever orientations are: no call
    const T half = (std::abs(turn) <= pi ? turn : std::remainder(turn, 2 * pi)) / 2;
    // The signs follow from the range of the half angle; products of rounded sines would lose them near pi/2.
    const T s = std::copysign(std::abs(h.sin_half * g.cos_half - h.cos_half * g.sin_half), half);
    const T c = std::abs(h.cos_half * g.cos_half + h.sin_half * g.sin_half);
    return {cos_g * dx + sin_g * dy, cos_g * dy - sin_g * dx, half, s, c};
  }

  // half / sin(half), by its series where the quotient would be 0 / 0.
  static CHEBLIENET_HD T stretch(T half, T sin_half) {
    const T h2 = half * half;
    return h2 < T(1e-6) ? 1 + h2 / 6 + 7 * h2 * h2 / 360 : half / sin_half;
  }

  static CHEBLIENET_HD Tangent<T> log(const Relative& r) {
    const T f = stretch(r.half, r.sin_half);
    return {f * (r.x * r.cos_half + r.y * r.sin_half), f * (r.y * r.cos_half - r.x * r.sin_half), 2 * r.half};
  }

  static CHEBLIENET_HD Tangent<T> log(const Element& g, const Element& h) { return log(relative(g, h)); }

  // The minimum over the offsets -pi, 0, pi of theta. With theta in [-pi, pi] one of the two shifted angles leaves that
  // interval, where the tangent vector only grows: two candidates remain.
  static CHEBLIENET_HD T squared_distance(const Element& g, const Element& h, const Metric<T>& metric) {
    const Relative r = relative(g, h);
    const T quarter = std::copysign(pi / 2, r.half);
    const Relative turned{r.x, r.y, r.half - quarter, std::copysign(r.cos_half, -quarter), std::abs(r.sin_half)};
    const T straight = metric.squared_norm(log(r)), reversed = metric.squared_norm(log(turned));
    return straight < reversed ? straight : reversed;
  }

  // The logarithm is f times the translation in the frame halfway between the two orientations, f >= 1, and an angle is
  // at least its chord. The offset of pi turns that frame by a right angle: free of cancellation and of trigonometry.
  static CHEBLIENET_HD T lower_bound(const Element& g, const Element& h, const Metric<T>& metric) {
    const T dx = h.x - g.x, dy = h.y - g.y;
    const T sin_mid = h.sin_half * g.cos_half + h.cos_half * g.sin_half,
            cos_mid = h.cos_half * g.cos_half - h.sin_half * g.sin_half;
    const T sin_turn = h.sin_half * g.cos_half - h.cos_half * g.sin_half,
            cos_turn = h.cos_half * g.cos_half + h.sin_half * g.sin_half;
    const T along = dx * cos_mid + dy * sin_mid, across = dy * cos_mid - dx * sin_mid;
    const T straight = metric.squared_norm(along, across, 2 * sin_turn),
            reversed = metric.squared_norm(across, along, 2 * cos_turn);
    return straight < reversed ? straight : reversed;
  }

  // Embedded as (x, y, cos(2 theta) / 2, sin(2 theta) / 2), where orientations that differ by pi are one; see box.h.
  static constexpr int box_dimensions = 4;

  static CHEBLIENET_HD void embed(const Element& g, T* at) {
    at[0] = g.x;
    at[1] = g.y;
    at[2] = std::cos(2 * g.theta) / 2;
    at[3] = std::sin(2 * g.theta) / 2;
  }

  static CHEBLIENET_HD T box_weight(int dimension, const Metric<T>& metric) {
    return dimension >= 2 ? metric.sigma3 : metric.least_planar();
  }

  // |(c1, c2)| >= |(x, y)|, and the distance of the last two coordinates is the sine of the turn modulo pi, from which
  // its chord follows.
  static CHEBLIENET_HD T box_bound(const Box<T, 4>& a, const Box<T, 4>& b, const Metric<T>& metric) {
    const T sine2 = squared_gap<2, 2>(a, b), cosine2 = 1 - sine2;
    const T chord2 = 2 * sine2 / (1 + std::sqrt(cosine2 > 0 ? cosine2 : T(0)));
    return metric.least_planar() * squared_gap<0, 2>(a, b) + metric.sigma3 * chord2;
  }
};

}  // namespace cheblienet
