// The body of sparse_rows.h for one instruction set.
#include "simd.h"
#include "sparse_rows.h"

namespace cheblienet {
namespace CHEBLIENET_SIMD {

// U vectors of N channels for S samples, in rows [begin, end): the sums stay in registers over all entries of a row,
// and an entry is read once for all samples. Two units that add products in four cycles each need eight sums to be
// busy, so rows of up to four vectors are worked on two at a time. Everything that rows share is in local variables: a
// store through a vector may alias the fields of `s`, which would be read again after every row.
template <int N, int U, int S, class T>
void step_block(const SparseStep<T>& s, int64_t sample, int64_t channel, int64_t begin, int64_t end) {
  using Vector = typename VectorOf<T, N>::type;
  const RowSpan* rows = s.laplacian.rows;
  const int32_t* col = s.laplacian.col;
  const T* value = s.laplacian.value;
  const T scale = s.scale;
  const int64_t stride = s.stride, segment = s.segment, offset = sample * segment + channel;
  const T *in[S], *plus = s.plus ? s.plus + offset : nullptr, *minus = s.minus ? s.minus + offset : nullptr;
  for (int i = 0; i < S; ++i) in[i] = s.in + offset + i * segment;
  T* out = s.out + offset;
  const auto add = [&](Vector(&sum)[S][U], int64_t entry) __attribute__((always_inline)) {
    const int64_t from = col[entry] * stride;
    const T factor = value[entry];
    for (int i = 0; i < S; ++i)
      for (int u = 0; u < U; ++u) sum[i][u] += factor * load<Vector>(in[i] + from + u * N);
  };
  const auto finish = [&](const Vector(&sum)[S][U], int64_t row) __attribute__((always_inline)) {
    for (int i = 0; i < S; ++i) {
      for (int u = 0; u < U; ++u) {
        const int64_t at = row * stride + i * segment + u * N;
        Vector z = sum[i][u] * scale;
        if (plus) z += load<Vector>(plus + at);
        if (minus) z -= load<Vector>(minus + at);
        store(out + at, z);
      }
    }
  };
  int64_t row = begin;
  if constexpr (S * U <= 4) {
    for (; row + 1 < end; row += 2) {
      Vector first[S][U] = {}, second[S][U] = {};
      const int64_t first_end = rows[row].end, second_end = rows[row + 1].end;
      int64_t e = rows[row].begin, f = rows[row + 1].begin;
      for (; e < first_end && f < second_end; ++e, ++f) {
        add(first, e);
        add(second, f);
      }
      for (; e < first_end; ++e) add(first, e);
      for (; f < second_end; ++f) add(second, f);
      finish(first, row);
      finish(second, row + 1);
    }
  }
  for (; row < end; ++row) {
    Vector sum[S][U] = {};
    for (int64_t e = rows[row].begin, last = rows[row].end; e < last; ++e) add(sum, e);
    finish(sum, row);
  }
}

// Channels [channel, end) in blocks of N U, then in ever narrower ones: 1 to N - 1 last channels take at most log2(N)
// passes over the rows.
template <int N, int U, int S, class T>
void step_channels(const SparseStep<T>& s, int64_t sample, int64_t channel, int64_t begin, int64_t end) {
  for (; channel + N * U <= s.channels; channel += N * U) step_block<N, U, S>(s, sample, channel, begin, end);
  if constexpr (U > 1) {
    step_channels<N, U / 2, S>(s, sample, channel, begin, end);
  } else if constexpr (N > 1) {
    step_channels<N / 2, 1, S>(s, sample, channel, begin, end);
  }
}

// Eight vectors of sums at a time: the widest block that leaves registers for what is read.
template <int S, class T>
void step_samples(const SparseStep<T>& s, int64_t sample, int64_t begin, int64_t end) {
  step_channels<CHEBLIENET_SIMD_BYTES / sizeof(T), 8 / S, S>(s, sample, 0, begin, end);
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

// Rows come in no order that the hardware could foresee, so what will be needed is asked for kAhead rows before.
constexpr int64_t kAhead = 8;

template <int kWrite, class T>
inline void prefetch_row(const T* row, int64_t channels) {
  for (int64_t c = 0; c < channels; c += 64 / sizeof(T)) __builtin_prefetch(row + c, kWrite);
}

template <class T>
inline void copy_row(const T* from, int64_t channels, T* to) {
  constexpr int N = CHEBLIENET_SIMD_BYTES / sizeof(T);
  int64_t c = 0;
  for (; c + N <= channels; c += N) store(to + c, load<typename VectorOf<T, N>::type>(from + c));
  for (; c < channels; ++c) to[c] = from[c];
}

template <class T>
void gather(const RowCopy<T>& g, int64_t begin, int64_t end) {
  const RowSpan* rows = g.rows;
  const int64_t channels = g.channels, stride = g.stride;
  const T* sample = g.sample;
  T* to = g.block;
  for (int64_t row = begin; row < end; ++row, to += stride) {
    if (row + kAhead < end) prefetch_row<0>(sample + rows[row + kAhead].vertex * channels, channels);
    copy_row(sample + rows[row].vertex * channels, channels, to);
  }
}

template <class T>
void scatter(const RowCopy<T>& g, int64_t begin, int64_t end) {
  const RowSpan* rows = g.rows;
  const int64_t channels = g.channels, stride = g.stride;
  T* sample = g.sample;
  const T* from = g.block;
  for (int64_t row = begin; row < end; ++row, from += stride) {
    if (row + kAhead < end) prefetch_row<1>(sample + rows[row + kAhead].vertex * channels, channels);
    copy_row(from, channels, sample + rows[row].vertex * channels);
  }
}

// Eight rows at a time: an element of each makes a vector.
template <class T>
void transpose(const T* from, int64_t stride, int64_t rows, int64_t columns, T* to) {
  constexpr int N = 8;
  int64_t row = 0;
  for (; row + N <= rows; row += N)
    for (int64_t c = 0; c < columns; ++c) {
      typename VectorOf<T, N>::type column;
      for (int i = 0; i < N; ++i) column[i] = from[(row + i) * stride + c];
      store(to + c * rows + row, column);
    }
  for (; row < rows; ++row)
    for (int64_t c = 0; c < columns; ++c) to[c * rows + row] = from[row * stride + c];
}

// Columns from c on, U vectors of them at a time with their sums in registers; the first column that is left.
template <int U, class T>
int64_t add_columns(const T* from, int64_t stride, int64_t rows, int64_t c, int64_t columns, T* sum) {
  constexpr int N = CHEBLIENET_SIMD_BYTES / sizeof(T);
  using Vector = typename VectorOf<T, N>::type;
  for (; c + N * U <= columns; c += N * U) {
    Vector total[U];
    for (int u = 0; u < U; ++u) total[u] = load<Vector>(sum + c + u * N);
    for (int64_t row = 0; row < rows; ++row)
      for (int u = 0; u < U; ++u) total[u] += load<Vector>(from + row * stride + c + u * N);
    for (int u = 0; u < U; ++u) store(sum + c + u * N, total[u]);
  }
  return c;
}

template <class T>
void add_rows(const T* from, int64_t stride, int64_t rows, int64_t columns, T* sum) {
  int64_t c = add_columns<8>(from, stride, rows, 0, columns, sum);
  c = add_columns<4>(from, stride, rows, c, columns, sum);
  c = add_columns<1>(from, stride, rows, c, columns, sum);
  for (; c < columns; ++c)
    for (int64_t row = 0; row < rows; ++row) sum[c] += from[row * stride + c];
}

// As above, with vectors of `row` in registers: read again for every row, they would cost a forward of 16 and 32
// channels 3 % (AVX2).
template <int U, class T>
int64_t add_to_columns(const T* row, int64_t stride, int64_t rows, int64_t c, int64_t columns, T* to) {
  constexpr int N = CHEBLIENET_SIMD_BYTES / sizeof(T);
  using Vector = typename VectorOf<T, N>::type;
  for (; c + N * U <= columns; c += N * U) {
    Vector added[U];
    for (int u = 0; u < U; ++u) added[u] = load<Vector>(row + c + u * N);
    T* at = to + c;
    for (int64_t i = 0; i < rows; ++i, at += stride)
      for (int u = 0; u < U; ++u) store(at + u * N, load<Vector>(at + u * N) + added[u]);
  }
  return c;
}

template <class T>
void add_to_rows(const T* row, int64_t stride, int64_t rows, int64_t columns, T* to) {
  int64_t c = add_to_columns<8>(row, stride, rows, 0, columns, to);
  c = add_to_columns<4>(row, stride, rows, c, columns, to);
  c = add_to_columns<1>(row, stride, rows, c, columns, to);
  for (; c < columns; ++c)
    for (int64_t i = 0; i < rows; ++i) to[i * stride + c] += row[c];
}

extern const RowKernels<float> float_kernels = {
    step<float>, edge_dots<float>, gather<float>, scatter<float>, transpose<float>, add_rows<float>, add_to_rows<float>,
};
extern const RowKernels<double> double_kernels = {
    step<double>,      edge_dots<double>, gather<double>,      scatter<double>,
    transpose<double>, add_rows<double>,  add_to_rows<double>,
};

}  // namespace CHEBLIENET_SIMD
}  // namespace cheblienet
