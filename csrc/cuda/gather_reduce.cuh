// Pooling and unpooling kernels, without the framework: nvcc compiles them for the package, a simulator may run their
// PTX.
//
// One thread per output vertex and pack of N channels; neighbouring threads take neighbouring packs, so loads and
// stores of x, y and winner are contiguous along the channels. No shared memory. Bytes moved per output element: m
// elements of x, one of y, one byte of winner for "max"; the index of m int64 is read once per pack and served by the
// cache.
#pragma once
#include "../math/reduction.h"
#include "pack.cuh"

namespace cheblienet {

template <class T, int N, Reduction reduction>
__global__ void __launch_bounds__(kFlatBlock)
    gather_reduce(const T* __restrict__ x, const int64_t* __restrict__ index, const uint8_t* __restrict__ choice,
                  T* __restrict__ y, uint8_t* __restrict__ winner, int64_t batch, int64_t vertices, int64_t outputs,
                  int members, int channels) {
  using Acc = device_accumulate_t<T>;
  const int64_t packs = channels / N, item = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (item >= batch * outputs * packs) return;
  const int64_t row = item / packs, sample = row / outputs, out = row % outputs;
  const int c = static_cast<int>(item % packs) * N;
  const T* source = x + sample * vertices * channels + c;
  const auto load = [&](int64_t v) { return *reinterpret_cast<const Pack<T, N>*>(source + v * channels); };

  Pack<T, N> result;
  if constexpr (reduction == Reduction::rand) {
    result = load(index[out * members + choice[out]]);
  } else {
    Acc best[N] = {};
    Pack<uint8_t, N> won;
    int count = 0;
    for (int slot = 0; slot < members; ++slot) {
      const int64_t v = index[out * members + slot];
      if (v < 0) continue;
      const Pack<T, N> values = load(v);
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const Acc value = widen(values.v[n]);
        if constexpr (reduction == Reduction::avg) {
          best[n] += value;
        } else if (count == 0 || beats(value, best[n])) {
          best[n] = value;
          won.v[n] = static_cast<uint8_t>(slot);
        }
      }
      ++count;
    }
#pragma unroll
    for (int n = 0; n < N; ++n) result.v[n] = narrow<T>(reduction == Reduction::avg ? best[n] / Acc(count) : best[n]);
    if constexpr (reduction == Reduction::max) *reinterpret_cast<Pack<uint8_t, N>*>(winner + row * channels + c) = won;
  }
  *reinterpret_cast<Pack<T, N>*>(y + row * channels + c) = result;
}

// One thread per input vertex and pack of N channels: it collects from the outputs that read the vertex, in the order
// of the transposed index, so there are no atomics and the same input gives the same bits.
template <class T, int N, Reduction reduction>
__global__ void __launch_bounds__(kFlatBlock)
    gather_reduce_backward(const T* __restrict__ grad, const uint8_t* __restrict__ winner,
                           const int64_t* __restrict__ index, const int64_t* __restrict__ rowptr,
                           const int64_t* __restrict__ entry, T* __restrict__ dx, int64_t batch, int64_t vertices,
                           int64_t outputs, int members, int channels) {
  using Acc = device_accumulate_t<T>;
  const int64_t packs = channels / N, item = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (item >= batch * vertices * packs) return;
  const int64_t row = item / packs, sample = row / vertices, v = row % vertices;
  const int c = static_cast<int>(item % packs) * N;

  Acc sum[N] = {};
  for (int64_t e = rowptr[v]; e < rowptr[v + 1]; ++e) {
    const int64_t out = entry[e] / members;
    const int slot = static_cast<int>(entry[e] % members);
    if constexpr (reduction == Reduction::rand) {
      if (winner[out] != slot) continue;
    }
    const int64_t from = (sample * outputs + out) * channels + c;
    const Pack<T, N> values = *reinterpret_cast<const Pack<T, N>*>(grad + from);
    Pack<uint8_t, N> won;
    Acc count = 0;
    if constexpr (reduction == Reduction::max) won = *reinterpret_cast<const Pack<uint8_t, N>*>(winner + from);
    if constexpr (reduction == Reduction::avg)
      for (int m = 0; m < members; ++m) count += index[out * members + m] >= 0 ? Acc(1) : Acc(0);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const Acc value = widen(values.v[n]);
      if constexpr (reduction == Reduction::max) sum[n] += won.v[n] == slot ? value : Acc(0);
      if constexpr (reduction == Reduction::avg) sum[n] += value / count;
      if constexpr (reduction == Reduction::rand) sum[n] += value;
    }
  }
  Pack<T, N> result;
#pragma unroll
  for (int n = 0; n < N; ++n) result.v[n] = narrow<T>(sum[n]);
  *reinterpret_cast<Pack<T, N>*>(dx + row * channels + c) = result;
}

}  // namespace cheblienet
