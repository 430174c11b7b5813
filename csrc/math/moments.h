// Mean and variance of many numbers from those of their parts, and the running statistics that follow them.
#pragma once
#include "host_device.h"

namespace cheblienet {

// Adds the moments of b numbers to those of a: their mean, and the sum of their squared distances from it. b > 0. Sums
// of non-negative terms, so no digits cancel (Chan, Golub and LeVeque, The American Statistician 37 (1983), 242).
template <class T>
struct MomentSum {
  T share, weight;

  CHEBLIENET_HD MomentSum(T a, T b) : share(b / (a + b)), weight(a * share) {}

  CHEBLIENET_HD void add(T& mean, T& squares, T other_mean, T other_squares) const {
    const T step = other_mean - mean;
    mean += step * share;
    squares += other_squares + step * step * weight;
  }
};

// Running statistics of C channels, which follow those of each batch: by an exponential average with `momentum`, or as
// the average over all batches so far. Nothing is kept where mean is null.
template <class T>
struct RunningStatistics {
  T *mean, *var;
  int64_t* batches;  // their number, this one included
  T momentum;
  bool cumulative;

  // How far they move towards those of this batch.
  CHEBLIENET_HD T step() const { return cumulative ? 1 / static_cast<T>(*batches) : momentum; }

  // The variance that is kept is the unbiased one, of `count` numbers.
  CHEBLIENET_HD void follow(int64_t c, T batch_mean, T batch_var, T count, T step) const {
    mean[c] = between(mean[c], batch_mean, step);
    var[c] = between(var[c], batch_var * (count / (count - 1)), step);
  }

  // Exact at both ends, as the framework's lerp.
  static CHEBLIENET_HD T between(T from, T to, T step) {
    return step < T(0.5) ? from + step * (to - from) : to - (to - from) * (1 - step);
  }
};

}  // namespace cheblienet
