// The body of norm_rows.h for one instruction set.
#include "norm_rows.h"
#include "simd.h"

namespace cheblienet {
namespace CHEBLIENET_SIMD {

// U vectors of N channels.
template <class T, int N, int U>
struct Channels {
  using Vector = typename VectorOf<T, N>::type;
  static constexpr int width = N, count = U;
};

// Calls f(Channels, c) for blocks of channels from c on, of U of the widest vectors and then of ever fewer and narrower
// ones.
template <class T, int U, int N = CHEBLIENET_SIMD_BYTES / sizeof(T), class F>
inline void for_channels(int64_t c, int64_t channels, const F& f) {
  for (; c + N * U <= channels; c += N * U) f(Channels<T, N, U>{}, c);
  if constexpr (U > 1) {
    for_channels<T, U / 2, N>(c, channels, f);
  } else if constexpr (N > 1) {
    for_channels<T, 1, N / 2>(c, channels, f);
  }
}

// Everything that rows share is in local variables, for a store through a vector may alias the fields of an argument.
// Sums over rows stay in registers: vectors for as many channels as there are registers, so that memory is read in
// runs of 256 bytes or more.
constexpr int kRegisters = CHEBLIENET_SIMD_BYTES == 64 ? 32 : 16;
constexpr int kMomentVectors = kRegisters / 4, kGradientVectors = kRegisters / 4;

// The gradient behind the ReLU, zero where y <= 0.
template <class Vector, class T>
inline Vector passed(const NormRows<T>& r, int64_t i, const Vector& y) {
  const Vector g = load<Vector>(r.grad + i);
  return r.relu ? (y <= Vector{} ? Vector{} : g) : g;
}

template <class Vector, int N, int U, class T>
inline void store_all(T* to, const Vector (&values)[U]) {
  for (int u = 0; u < U; ++u) store(to + u * N, values[u]);
}

// Twice over rows that the first-level cache holds: about their own mean, sums of squares keep their digits whatever
// the rows are.
template <class T>
void moments(const NormRows<T>& rows) {
  const NormRows<T> r = rows;
  for_channels<T, kMomentVectors>(0, r.channels, [&](auto block, int64_t c) {
    using Vector = typename decltype(block)::Vector;
    constexpr int N = decltype(block)::width, U = decltype(block)::count;
    Vector center[U] = {}, first[U] = {}, second[U] = {};
    for (int64_t i = c; i < r.rows * r.channels; i += r.channels)
      for (int u = 0; u < U; ++u) center[u] += load<Vector>(r.s + i + u * N);
    for (int u = 0; u < U; ++u) center[u] *= 1 / T(r.rows);
    for (int64_t i = c; i < r.rows * r.channels; i += r.channels)
      for (int u = 0; u < U; ++u) {
        const Vector d = load<Vector>(r.s + i + u * N) - center[u];
        first[u] += d;
        second[u] += d * d;
      }
    store_all<Vector, N>(r.sums + c, center);
    store_all<Vector, N>(r.sums + r.channels + c, first);
    store_all<Vector, N>(r.sums + 2 * r.channels + c, second);
  });
}

template <class T>
void gradient_sums(const NormRows<T>& rows) {
  const NormRows<T> r = rows;
  for_channels<T, kGradientVectors>(0, r.channels, [&](auto block, int64_t c) {
    using Vector = typename decltype(block)::Vector;
    constexpr int N = decltype(block)::width, U = decltype(block)::count;
    Vector scale[U], shift[U], center[U], first[U] = {}, second[U] = {};
    for (int u = 0; u < U; ++u) {
      scale[u] = load<Vector>(r.scale + c + u * N);
      shift[u] = load<Vector>(r.shift + c + u * N);
      center[u] = load<Vector>(r.center + c + u * N);
    }
    for (int64_t i = c; i < r.rows * r.channels; i += r.channels)
      for (int u = 0; u < U; ++u) {
        const Vector s = load<Vector>(r.s + i + u * N), g = passed<Vector>(r, i + u * N, s * scale[u] + shift[u]);
        first[u] += g;
        second[u] += g * (s - center[u]);
      }
    store_all<Vector, N>(r.sums + c, first);
    store_all<Vector, N>(r.sums + r.channels + c, second);
  });
}

// The passes that write a signal go through memory row by row, and find the coefficients in the first-level cache.
template <class T, class F>
inline void for_rows(const NormRows<T>& r, const F& f) {
  for (int64_t row = 0; row < r.rows; ++row)
    for_channels<T, 1>(0, r.channels,
                       [&](auto block, int64_t c) { f(typename decltype(block)::Vector{}, row * r.channels + c, c); });
}

template <class T>
void normalise(const NormRows<T>& rows) {
  const NormRows<T> r = rows;
  for_rows(r, [&](auto zero, int64_t i, int64_t c) {
    using Vector = decltype(zero);
    const Vector y = load<Vector>(r.s + i) * load<Vector>(r.scale + c) + load<Vector>(r.shift + c);
    store(r.out + i, r.relu ? (y < zero ? zero : y) : y);
  });
}

template <class T>
void gradient(const NormRows<T>& rows) {
  const NormRows<T> r = rows;
  for_rows(r, [&](auto zero, int64_t i, int64_t c) {
    using Vector = decltype(zero);
    const Vector scale = load<Vector>(r.scale + c), s = load<Vector>(r.s + i);
    const Vector g = passed<Vector>(r, i, s * scale + load<Vector>(r.shift + c));
    store(r.out + i, scale * g - load<Vector>(r.along + c) * s - load<Vector>(r.offset + c));
  });
}

extern const NormKernels<float> float_norm_kernels = {moments<float>, normalise<float>, gradient_sums<float>,
                                                      gradient<float>};
extern const NormKernels<double> double_norm_kernels = {moments<double>, normalise<double>, gradient_sums<double>,
                                                        gradient<double>};

}  // namespace CHEBLIENET_SIMD
}  // namespace cheblienet
