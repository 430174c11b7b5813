// The sparse products of the Chebyshev recurrence on rows of channels, in the widest instruction set of the machine.
#pragma once
#include <cstdint>

namespace cheblienet {

// A sparse matrix by rows: entries rowptr[i] .. rowptr[i + 1] of col and value belong to row i.
template <class T>
struct Csr {
  const int32_t* rowptr;
  const int32_t* col;
  const T* value;
};

// Rows of channels, `stride` elements apart.
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;

  // Inlined without exception: these are compiled once per instruction set, and no level may call another's copy.
  __attribute__((always_inline)) T* operator[](int64_t row) const { return data + row * stride; }
  __attribute__((always_inline)) Rows shifted(int64_t channels) const { return {data + channels, stride}; }
  __attribute__((always_inline)) operator Rows<const T>() const { return {data, stride}; }
};

// out[i] = scale * sum_j L_ij in[j] + plus[i] - minus[i]; plus and minus may be absent, and either may be out itself.
template <class T>
struct SparseStep {
  Csr<T> laplacian;
  T scale;
  Rows<const T> in, plus, minus;
  Rows<T> out;
  int64_t channels;
};

// gradient[e] += scale * sum_c left[i][c] right[j][c] for the entries e = (i, j) of the pattern.
template <class T>
struct EdgeDots {
  Csr<T> laplacian;
  T scale;
  Rows<const T> left, right;
  int64_t channels;
  T* gradient;
};

// One set of kernels per instruction set; each works on the rows [begin, end).
template <class T>
struct RowKernels {
  void (*step)(const SparseStep<T>&, int64_t begin, int64_t end);
  void (*edge_dots)(const EdgeDots<T>&, int64_t begin, int64_t end);
};

// The kernels for this machine, chosen once; the environment variable CHEBLIENET_SIMD may name a lower level.
template <class T>
const RowKernels<T>& row_kernels();

// "avx512", "avx2" or "baseline".
const char* simd_level();

}  // namespace cheblienet
