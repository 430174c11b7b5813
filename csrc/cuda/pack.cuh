// What the kernels have in common: warps, channels in packs of 16 bytes and the type in which they are summed, and
// launches of one thread per item.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace cheblienet {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];
};

template <class T>
struct device_accumulate {
  using type = float;
};
template <>
struct device_accumulate<double> {
  using type = double;
};
template <class T>
using device_accumulate_t = typename device_accumulate<T>::type;

// Explicit conversions: the framework builds with the implicit ones of the 16-bit types disabled.
__device__ __forceinline__ float widen(float v) { return v; }
__device__ __forceinline__ double widen(double v) { return v; }
__device__ __forceinline__ float widen(__half v) { return __half2float(v); }
__device__ __forceinline__ float widen(__nv_bfloat16 v) { return __bfloat162float(v); }

template <class T>
__device__ __forceinline__ T narrow(device_accumulate_t<T> v) {
  return v;
}
template <>
__device__ __forceinline__ __half narrow<__half>(float v) {
  return __float2half_rn(v);
}
template <>
__device__ __forceinline__ __nv_bfloat16 narrow<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}

// Elements of T that one 16-byte access moves.
template <class T>
constexpr int kPackSize = 16 / sizeof(T);

// All elements of a pack in the type of sums. Two of bfloat16 are the halves of a word, which a shift and a mask widen;
// taken one by one, each would be moved to a register of its own first.
template <class T, int N>
__device__ __forceinline__ void widen_pack(const Pack<T, N>& pack, device_accumulate_t<T>* to) {
  if constexpr (std::is_same_v<T, __nv_bfloat16> && N % 2 == 0) {
    uint32_t words[N / 2];
    memcpy(words, &pack, sizeof(pack));
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      to[2 * i] = __uint_as_float(words[i] << 16);
      to[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  } else {
#pragma unroll
    for (int n = 0; n < N; ++n) to[n] = widen(pack.v[n]);
  }
}

template <class T>
__device__ __forceinline__ Pack<T, kPackSize<T>> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, kPackSize<T>>*>(from);
}

// Stores what a row of `channels` has of a pack from channel c on: at once where rows are whole packs.
template <class T>
__device__ __forceinline__ void store_pack(T* row, int64_t c, int64_t channels, const Pack<T, kPackSize<T>>& pack) {
  constexpr int N = kPackSize<T>;
  if (channels % N == 0) {
    *reinterpret_cast<Pack<T, N>*>(row + c) = pack;
  } else {
#pragma unroll
    for (int n = 0; n < N; ++n)
      if (c + n < channels) row[c + n] = pack.v[n];
  }
}

// Elements that one access moves: 16 bytes of them where all rows of `channels` elements of `size` bytes start at
// multiples of 16 bytes, one element otherwise. `addresses` is the bitwise or of where the signals start.
constexpr int pack_of(int64_t channels, int size, uint64_t addresses) {
  return (channels * size) % 16 == 0 && addresses % 16 == 0 ? 16 / size : 1;
}

struct FlatLaunch {
  unsigned grid, block;
};

constexpr unsigned kFlatBlock = 256;

// One thread per item; fewer than 2^31 blocks for any tensor that fits a GPU.
constexpr FlatLaunch flat_launch(int64_t items) {
  return {static_cast<unsigned>((items + kFlatBlock - 1) / kFlatBlock), kFlatBlock};
}

}  // namespace cheblienet
