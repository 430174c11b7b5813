// The anisotropic quadratic form on the Lie algebra, d2 = sum_i sigma_i c_i^2 (arXiv:2111.12139, section 3.1).
#pragma once
#include "host_device.h"

namespace cheblienet {

// A tangent vector at the identity: the logarithm of a group element.
template <class T>
struct Tangent {
  T c1, c2, c3;
};

template <class T>
struct Metric {
  T sigma1, sigma2, sigma3;

  CHEBLIENET_HD T squared_norm(T c1, T c2, T c3) const {
    return sigma1 * c1 * c1 + sigma2 * c2 * c2 + sigma3 * c3 * c3;
  }
  // Of the two directions of the plane, or of the sphere, that of the smaller coefficient.
  CHEBLIENET_HD T least_planar() const { return sigma1 < sigma2 ? sigma1 : sigma2; }

  CHEBLIENET_HD T squared_norm(const Tangent<T>& c) const { return squared_norm(c.c1, c.c2, c.c3); }
};

}  // namespace cheblienet
