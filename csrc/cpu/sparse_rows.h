// The sparse products of the Chebyshev recurrence on rows of channels, in the widest instruction set of the machine.
#pragma once
#include <cstdint>

#include "../row_span.h"

namespace cheblienet {

// A sparse matrix by rows, in an order of the vertices that keeps neighbours together. Entries are sorted by row, and
// col counts rows, not vertices.
template <class T>
struct Csr {
  const RowSpan* rows;
  const int32_t* col;
  const T* value;
};

// Rows of channels, `stride` elements apart, of several samples, `segment` elements apart.
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0, segment = 0;

  // Inlined without exception: these are compiled once per instruction set, and no level may call another's copy.
  __attribute__((always_inline)) T* operator()(int64_t row, int64_t sample) const {
    return data + row * stride + sample * segment;
  }
  __attribute__((always_inline)) Rows shifted(int64_t elements) const { return {data + elements, stride, segment}; }
};

// out[i] = scale * sum_j L_ij in[j] + plus[i] - minus[i] on rows of one stride and segment; plus and minus may be null,
// and plus may be out itself.
template <class T>
struct SparseStep {
  Csr<T> laplacian;
  T scale;
  int64_t samples, channels, stride, segment;
  const T *in, *plus, *minus;
  T* out;
};

// gradient[e] += scale * sum over samples and channels of left[i] right[j], for the entries e = (i, j) of the pattern.
template <class T>
struct EdgeDots {
  Csr<T> laplacian;
  T scale;
  int64_t samples, channels;
  Rows<T> left, right;
  T* gradient;
};

// A sample (V, C) by vertices on one side, a block of rows in the order of the matrix on the other.
template <class T>
struct RowCopy {
  const RowSpan* rows;
  int64_t channels, stride;  // of the block
  T *sample, *block;
};

// One set of kernels per instruction set; the first four visit the rows [begin, end).
template <class T>
struct RowKernels {
  void (*step)(const SparseStep<T>&, int64_t begin, int64_t end);
  void (*edge_dots)(const EdgeDots<T>&, int64_t begin, int64_t end);
  void (*gather)(const RowCopy<T>&, int64_t begin, int64_t end);   // into the block
  void (*scatter)(const RowCopy<T>&, int64_t begin, int64_t end);  // out of it
  // Rows of `columns` elements, `stride` apart, to columns of a matrix with `rows` columns.
  void (*transpose)(const T* from, int64_t stride, int64_t rows, int64_t columns, T* to);
  // sum[c] += the sum of column c of such rows.
  void (*add_rows)(const T* from, int64_t stride, int64_t rows, int64_t columns, T* sum);
  // Adds `row` to each of such rows.
  void (*add_to_rows)(const T* row, int64_t stride, int64_t rows, int64_t columns, T* to);
};

// The kernels for this machine, chosen once; the environment variable CHEBLIENET_SIMD may name a lower level.
template <class T>
const RowKernels<T>& row_kernels();

// "avx512", "avx2" or "baseline".
const char* simd_level();

}  // namespace cheblienet
