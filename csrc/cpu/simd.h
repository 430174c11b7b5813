// Vectors of N elements for the kernels that are compiled once per instruction set. Each such file defines
//   CHEBLIENET_SIMD        the namespace of the level
//   CHEBLIENET_SIMD_BYTES  the width of its vector registers
// before it includes the kernels, which include nothing but declarations: code of the standard library compiled here
// would leak into the other levels.
#pragma once
#include <cstdint>

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

}  // namespace CHEBLIENET_SIMD
}  // namespace cheblienet
