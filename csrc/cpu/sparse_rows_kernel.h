// The body of sparse_rows.h for one instruction set.
#include "simd.h"
#include "sparse_rows.h"

namespace cheblienet {
namespace CHEBLIENET_SIMD {

// U vectors of N channels of one row, for S samples: the sums stay in registers over all entries of the row, and an
// entry is read once for all samples.
template <int N, int U, int S, class T>
inline void step_block(const SparseStep<T>& s, int64_t row, int64_t sample, int64_t channel) {
  using Vector = typename VectorOf<T, N>::type;
  const RowSpan span = s.laplacian.rows[row];
  const T* base = s.in(0, sample) + channel;
  Vector sum[S][U] = {};
  for (int32_t e = span.begin; e < span.end; ++e) {
    const T value = s.laplacian.value[e];
    const T* in = base + s.laplacian.col[e] * s.in.stride;
    for (int i = 0; i < S; ++i)
      for (int u = 0; u < U; ++u) sum[i][u] += value * load<Vector>(in + i * s.in.segment + u * N);
  }
  for (int i = 0; i < S; ++i) {
    for (int u = 0; u < U; ++u) {
      const int64_t c = channel + u * N;
      Vector z = sum[i][u] * s.scale;
      if (s.plus.data) z += load<Vector>(s.plus(row, sample + i) + c);
      if (s.minus.data) z -= load<Vector>(s.minus(row, sample + i) + c);
      store(s.out(row, sample + i) + c, z);
    }
  }
}

// Channels in blocks of N U, then in ever narrower ones: 1 to N - 1 last channels take at most log2(N) passes.
template <int N, int U, int S, class T>
inline void step_row(const SparseStep<T>& s, int64_t row, int64_t sample, int64_t channel, int64_t end) {
  for (; channel + N * U <= end; channel += N * U) step_block<N, U, S>(s, row, sample, channel);
  if constexpr (U > 1) {
    step_row<N, U / 2, S>(s, row, sample, channel, end);
  } else if constexpr (N > 1) {
    step_row<N / 2, 1, S>(s, row, sample, channel, end);
  }
}

// Channels in slices of four cache lines, so that the rows which neighbours share stay in the second-level cache.
template <int S, class T>
void step_samples(const SparseStep<T>& s, int64_t sample, int64_t begin, int64_t end) {
  constexpr int N = CHEBLIENET_SIMD_BYTES / sizeof(T);
  constexpr int64_t slice = 256 / sizeof(T);
  for (int64_t channel = 0; channel < s.channels; channel += slice) {
    const int64_t last = channel + slice < s.channels ? channel + slice : s.channels;
    for (int64_t v = begin; v < end; ++v) step_row<N, 8 / S, S>(s, v, sample, channel, last);
  }
}

template <class T>
void step(const SparseStep<T>& s, int64_t begin, int64_t end) {
  int64_t sample = 0;
  for (; sample + 4 <= s.samples; sample += 4) step_samples<4>(s, sample, begin, end);
  for (; sample + 2 <= s.samples; sample += 2) step_samples<2>(s, sample, begin, end);
  for (; sample < s.samples; ++sample) step_samples<1>(s, sample, begin, end);
}

template <class T>
void edge_dots(const EdgeDots<T>& d, int64_t begin, int64_t end) {
  constexpr int N = CHEBLIENET_SIMD_BYTES / sizeof(T);
  using Vector = typename VectorOf<T, N>::type;
  for (int64_t v = begin; v < end; ++v) {
    const RowSpan& span = d.laplacian.rows[v];
    for (int32_t e = span.begin; e < span.end; ++e) {
      Vector sums = {};
      T sum = 0;
      for (int64_t s = 0; s < d.samples; ++s) {
        const T *left = d.left(v, s), *right = d.right(d.laplacian.col[e], s);
        int64_t c = 0;
        for (; c + N <= d.channels; c += N) sums += load<Vector>(left + c) * load<Vector>(right + c);
        for (; c < d.channels; ++c) sum += left[c] * right[c];
      }
      for (int n = 0; n < N; ++n) sum += sums[n];
      d.gradient[e] += d.scale * sum;
    }
  }
}

extern const RowKernels<float> float_kernels = {step<float>, edge_dots<float>};
extern const RowKernels<double> double_kernels = {step<double>, edge_dots<double>};

}  // namespace CHEBLIENET_SIMD
}  // namespace cheblienet
