// The body of norm_rows.h for one instruction set.
#include "norm_rows.h"
#include "simd.h"

namespace cheblienet {
namespace CHEBLIENET_SIMD {

// Calls f(zero, c) for blocks of channels from c on, with a zero of the widest vector that fits.
template <int N, class T, class F>
inline void for_channels(int64_t c, int64_t channels, const F& f) {
  using Vector = typename VectorOf<T, N>::type;
  for (; c + N <= channels; c += N) f(Vector{}, c);
  if constexpr (N > 1) for_channels<N / 2, T>(c, channels, f);
}

template <class T>
constexpr int kWidest = CHEBLIENET_SIMD_BYTES / sizeof(T);

// The gradient behind the ReLU, zero where y <= 0.
template <class Vector, class T>
inline Vector passed(const NormRows<T>& r, int64_t i, const Vector& y) {
  const Vector g = load<Vector>(r.grad + i);
  return r.relu ? (y <= Vector{} ? Vector{} : g) : g;
}

template <class T>
void moments(const NormRows<T>& r) {
  for_channels<kWidest<T>, T>(0, r.channels, [&](auto zero, int64_t c) {
    using Vector = decltype(zero);
    const Vector center = load<Vector>(r.center + c);
    Vector first = zero, second = zero;
    for (int64_t i = c; i < r.rows * r.channels; i += r.channels) {
      const Vector d = load<Vector>(r.s + i) - center;
      first += d;
      second += d * d;
    }
    store(r.sums + c, load<Vector>(r.sums + c) + first);
    store(r.sums + r.channels + c, load<Vector>(r.sums + r.channels + c) + second);
  });
}

template <class T>
void normalise(const NormRows<T>& r) {
  for_channels<kWidest<T>, T>(0, r.channels, [&](auto zero, int64_t c) {
    using Vector = decltype(zero);
    const Vector scale = load<Vector>(r.scale + c), shift = load<Vector>(r.shift + c);
    for (int64_t i = c; i < r.rows * r.channels; i += r.channels) {
      const Vector y = load<Vector>(r.s + i) * scale + shift;
      store(r.out + i, r.relu ? (y < zero ? zero : y) : y);
    }
  });
}

template <class T>
void gradient_sums(const NormRows<T>& r) {
  for_channels<kWidest<T>, T>(0, r.channels, [&](auto zero, int64_t c) {
    using Vector = decltype(zero);
    const Vector scale = load<Vector>(r.scale + c), shift = load<Vector>(r.shift + c),
                 center = load<Vector>(r.center + c);
    Vector first = zero, second = zero;
    for (int64_t i = c; i < r.rows * r.channels; i += r.channels) {
      const Vector s = load<Vector>(r.s + i), g = passed<Vector>(r, i, s * scale + shift);
      first += g;
      second += g * (s - center);
    }
    store(r.sums + c, load<Vector>(r.sums + c) + first);
    store(r.sums + r.channels + c, load<Vector>(r.sums + r.channels + c) + second);
  });
}

template <class T>
void gradient(const NormRows<T>& r) {
  for_channels<kWidest<T>, T>(0, r.channels, [&](auto zero, int64_t c) {
    using Vector = decltype(zero);
    const Vector scale = load<Vector>(r.scale + c), shift = load<Vector>(r.shift + c),
                 along = load<Vector>(r.along + c), offset = load<Vector>(r.offset + c);
    for (int64_t i = c; i < r.rows * r.channels; i += r.channels) {
      const Vector s = load<Vector>(r.s + i), g = passed<Vector>(r, i, s * scale + shift);
      store(r.out + i, scale * g - along * s - offset);
    }
  });
}

extern const NormKernels<float> float_norm_kernels = {moments<float>, normalise<float>, gradient_sums<float>,
                                                      gradient<float>};
extern const NormKernels<double> double_norm_kernels = {moments<double>, normalise<double>, gradient_sums<double>,
                                                        gradient<double>};

}  // namespace CHEBLIENET_SIMD
}  // namespace cheblienet
