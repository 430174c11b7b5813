// The body of sparse_rows.h for one instruction set. Included once per level, under that level's target pragma, with
//   CHEBLIENET_SIMD        the namespace of the level
//   CHEBLIENET_SIMD_BYTES  the width of its vector registers
// It includes nothing but declarations: code of the standard library compiled here would leak into the other levels.
#include "sparse_rows.h"

namespace cheblienet {
namespace CHEBLIENET_SIMD {

template <class T, int N>
struct VectorOf {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
};
template <class T>
struct VectorOf<T, 1> {
  typedef T type;
};

// Rows are aligned to their elements only; these become unaligned vector moves.
template <class Vector, class T>
inline Vector load(const T* from) {
  Vector v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
template <class Vector, class T>
inline void store(T* to, const Vector& v) {
  __builtin_memcpy(to, &v, sizeof v);
}

// U vectors of N channels of one row: the sums stay in registers over all entries of the row.
template <int N, int U, class T>
inline void step_block(const SparseStep<T>& s, int64_t row, int64_t channel) {
  using Vector = typename VectorOf<T, N>::type;
  Vector sum[U] = {};
  for (int32_t e = s.laplacian.rowptr[row]; e < s.laplacian.rowptr[row + 1]; ++e) {
    const T value = s.laplacian.value[e];
    const T* in = s.in[s.laplacian.col[e]] + channel;
    for (int u = 0; u < U; ++u) sum[u] += value * load<Vector>(in + u * N);
  }
  for (int u = 0; u < U; ++u) {
    const int64_t c = channel + u * N;
    sum[u] *= s.scale;
    if (s.plus.data) sum[u] += load<Vector>(s.plus[row] + c);
    if (s.minus.data) sum[u] -= load<Vector>(s.minus[row] + c);
    store(s.out[row] + c, sum[u]);
  }
}

// Channels in blocks of N U, then in ever narrower ones: 1 to N - 1 last channels take at most log2(N) passes.
template <int N, int U, class T>
inline void step_row(const SparseStep<T>& s, int64_t row, int64_t channel) {
  for (; channel + N * U <= s.channels; channel += N * U) step_block<N, U>(s, row, channel);
  if constexpr (U > 1) {
    step_row<N, U / 2>(s, row, channel);
  } else if constexpr (N > 1) {
    step_row<N / 2, 1>(s, row, channel);
  }
}

template <class T>
void step(const SparseStep<T>& s, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) step_row<CHEBLIENET_SIMD_BYTES / sizeof(T), 8>(s, row, 0);
}

template <class T>
void edge_dots(const EdgeDots<T>& d, int64_t begin, int64_t end) {
  constexpr int N = CHEBLIENET_SIMD_BYTES / sizeof(T);
  using Vector = typename VectorOf<T, N>::type;
  for (int64_t row = begin; row < end; ++row) {
    for (int32_t e = d.laplacian.rowptr[row]; e < d.laplacian.rowptr[row + 1]; ++e) {
      const T *left = d.left[row], *right = d.right[d.laplacian.col[e]];
      Vector sums = {};
      int64_t c = 0;
      for (; c + N <= d.channels; c += N) sums += load<Vector>(left + c) * load<Vector>(right + c);
      T sum = 0;
      for (int n = 0; n < N; ++n) sum += sums[n];
      for (; c < d.channels; ++c) sum += left[c] * right[c];
      d.gradient[e] += d.scale * sum;
    }
  }
}

extern const RowKernels<float> float_kernels = {step<float>, edge_dots<float>};
extern const RowKernels<double> double_kernels = {step<double>, edge_dots<double>};

}  // namespace CHEBLIENET_SIMD
}  // namespace cheblienet
