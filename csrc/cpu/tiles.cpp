#include "tiles.h"

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

// A level below AVX-512 that CHEBLIENET_SIMD asks for does without.
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

// A processor with tiles has AVX-512; the compiler makes vectors of these loops.
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512vl,avx512bw,prefer-vector-width=512")
#endif
#endif
void round_left(const float* __restrict from, int64_t stride, int64_t rows, int64_t columns, BFloat16* __restrict to) {
  if (stride == columns && columns == even(columns)) {  // without gaps: one long row
    columns *= rows;
    rows = 1;
  }
  for (int64_t row = 0; row < rows; ++row, from += stride, to += even(columns)) {
    for (int64_t c = 0; c < columns; ++c) to[c] = BFloat16(from[c]);
    if (columns < even(columns)) to[columns] = BFloat16(0.f);
  }
}

void round_right(const float* __restrict from, int64_t stride, int64_t rows, int64_t columns, BFloat16* __restrict to) {
  for (int64_t row = 0; row < rows; row += 2, from += 2 * stride, to += 2 * columns) {
    const float* second = row + 1 < rows ? from + stride : nullptr;
    for (int64_t c = 0; c < columns; ++c) {
      to[2 * c] = BFloat16(from[c]);
      to[2 * c + 1] = second ? BFloat16(second[c]) : BFloat16(0.f);
    }
  }
}

}  // namespace cheblienet
#if defined(__x86_64__) && defined(__clang__)
#pragma clang attribute pop
#endif
