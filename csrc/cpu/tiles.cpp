#include "tiles.h"

#include <cstring>
#include <string_view>

#include "sparse_rows.h"

// The framework's own CPU kernels multiply by these (ATen/native/CPUBlas.h), which are not in the stable interface; a
// framework without them leaves them null.
namespace at::native::cpublas {
__attribute__((weak)) void brgemm(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add,
                                  const torch::headeronly::BFloat16* a, const torch::headeronly::BFloat16* b, float* c,
                                  bool vnni);
__attribute__((weak)) void brgemm_release(bool vnni);
__attribute__((weak)) bool could_pack(torch::headeronly::ScalarType type);
}  // namespace at::native::cpublas

namespace cheblienet {

bool has_tiles() {
  using namespace at::native::cpublas;
  return brgemm && brgemm_release && could_pack && could_pack(ScalarType::BFloat16) &&
         std::string_view(simd_level()) == "avx512";
}

void multiply_tiles(const BFloat16* a, const BFloat16* b, int64_t m, int64_t n, int64_t k, float* out, int64_t stride,
                    bool add) {
  at::native::cpublas::brgemm(m, n, even(k), even(k), n, stride, add, a, b, out, true);
  // Others on this thread may set the tiles up for themselves.
  at::native::cpublas::brgemm_release(true);
}

// A processor with tiles has AVX-512.
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,prefer-vector-width=512")
#endif
#endif
namespace {

constexpr int N = 16;
typedef float Floats __attribute__((vector_size(4 * N)));
typedef uint32_t Words __attribute__((vector_size(4 * N)));
typedef uint16_t Halves __attribute__((vector_size(2 * N)));

// Rounded to nearest, ties to even, in the upper half; NaN stays NaN.
inline Words rounded(const float* from) {
  Floats value;
  Words bits;
  std::memcpy(&value, from, sizeof value);
  std::memcpy(&bits, from, sizeof bits);
  return value == value ? bits + 0x7fff + (bits >> 16 & 1) : bits | 0x400000;
}

// Fewer than N elements, and zeros.
inline Words rounded(const float* from, int64_t count) {
  float padded[N] = {};
  std::memcpy(padded, from, count * sizeof(float));
  return rounded(padded);
}

}  // namespace

void round_left(const float* from, int64_t stride, int64_t rows, int64_t columns, BFloat16* to) {
  if (stride == columns && columns == even(columns)) {  // without gaps: one long row
    columns *= rows;
    rows = 1;
  }
  for (int64_t row = 0; row < rows; ++row, from += stride, to += even(columns)) {
    int64_t c = 0;
    for (; c + N <= columns; c += N) {
      const Halves halves = __builtin_convertvector(rounded(from + c) >> 16, Halves);
      std::memcpy(to + c, &halves, sizeof halves);
    }
    if (c == columns) continue;
    const Halves halves = __builtin_convertvector(rounded(from + c, columns - c) >> 16, Halves);
    std::memcpy(to + c, &halves, (even(columns) - c) * sizeof(BFloat16));
  }
}

void round_right(const float* from, int64_t stride, int64_t rows, int64_t columns, BFloat16* to) {
  constexpr Words kUpper = Words{} + 0xffff0000u;
  for (int64_t row = 0; row < rows; row += 2, from += 2 * stride, to += 2 * columns) {
    const bool pair = row + 1 < rows;
    int64_t c = 0;
    for (; c + N <= columns; c += N) {
      const Words words = rounded(from + c) >> 16 | (pair ? rounded(from + stride + c) & kUpper : Words{});
      std::memcpy(to + 2 * c, &words, sizeof words);
    }
    if (c == columns) continue;
    const int64_t rest = columns - c;
    const Words words = rounded(from + c, rest) >> 16 | (pair ? rounded(from + stride + c, rest) & kUpper : Words{});
    std::memcpy(to + 2 * c, &words, 2 * rest * sizeof(BFloat16));
  }
}

}  // namespace cheblienet
