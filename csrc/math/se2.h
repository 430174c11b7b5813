// SE(2), the plane with an orientation. Element: (x, y, theta).
//
// With (x, y, theta) the parameters of g^-1 h, h = theta / 2 and f = h / sin h, the logarithm is
//   c = (f (x cos h + y sin h), f (-x sin h + y cos h), theta),
// which is (theta/2) (y + x cot h, -x + y cot h) of arXiv:2111.12139, section 3.1, without its removable singularity.
// An element keeps sin and cos of its half angle, so that a distance costs no trigonometric function: the half angle of
// g^-1 h follows from the addition theorem, and the offset of pi in theta swaps its sine and cosine.
#pragma once
#include "metric.h"

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
    const T half = std::remainder(h.theta - g.theta, 2 * pi) / 2;
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

  // |(c1, c2)| >= |(x, y)| because half / sin(half) >= 1, and an angle is at least its chord: modulo pi,
  // turn^2 >= 4 sin(turn / 2)^2 = 4 min(sin(half)^2, cos(half)^2), free of cancellation and of trigonometry.
  static CHEBLIENET_HD T lower_bound(const Element& g, const Element& h, const Metric<T>& metric) {
    const T dx = h.x - g.x, dy = h.y - g.y;
    const T s = h.sin_half * g.cos_half - h.cos_half * g.sin_half,
            c = h.cos_half * g.cos_half + h.sin_half * g.sin_half;
    const T sigma = metric.sigma1 < metric.sigma2 ? metric.sigma1 : metric.sigma2;
    const T s2 = s * s, c2 = c * c;
    return sigma * (dx * dx + dy * dy) + 4 * metric.sigma3 * (s2 < c2 ? s2 : c2);
  }
};

}  // namespace cheblienet
