// Pooling and unpooling kernels, without the framework: nvcc compiles them for the package, a simulator may run their
// PTX.
#pragma once
#include "../math/reduction.h"
#include "pack.cuh"

namespace cheblienet {

// Blocks on a processor, at least: for more of them at once, the compiler would keep registers in memory.
constexpr int kGatherBlocks = 4;

struct GatherLaunch {
  unsigned grid, samples, block;  // a grid of (grid, samples) blocks
};

// Threads for `items` packs of a sample. Blocks beyond a few for each processor of any device take up further samples,
// as many side by side as the grid allows.
constexpr GatherLaunch gather_launch(int64_t items, int64_t batch) {
  constexpr int64_t enough = 2048;
  const FlatLaunch flat = flat_launch(items);
  const int64_t wanted = (enough + flat.grid - 1) / flat.grid;
  return {flat.grid, static_cast<unsigned>(wanted < batch ? wanted : batch), flat.block};
}

// One thread per vertex of the result and pack of N channels, for one sample or, where there is enough to do without,
// several; neighbouring threads take neighbouring packs, so loads and stores of x, y and winner are contiguous along
// the channels. No shared memory. Bytes moved per output element: m elements of x, one of y, one byte of winner for
// "max"; the index of m int64 is read once per pack and served by the cache.
template <class T, int N, Reduction reduction>
__global__ void __launch_bounds__(kFlatBlock, kGatherBlocks)
    gather_reduce(const T* __restrict__ x, const int64_t* __restrict__ index, const uint8_t* __restrict__ choice,
                  T* __restrict__ y, uint8_t* __restrict__ winner, int64_t batch, int64_t vertices, int64_t outputs,
                  int members, int channels) {
  using Acc = device_accumulate_t<T>;
  const int64_t packs = channels / N, item = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (item >= outputs * packs) return;
  const int64_t out = item / packs, c = item % packs * N;
  const int64_t* own = index + out * members;

  for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y) {
    const T* source = x + sample * vertices * channels + c;
    const auto load = [&](int64_t v) { return *reinterpret_cast<const Pack<T, N>*>(source + v * channels); };
    const int64_t to = (sample * outputs + out) * channels + c;

    Pack<T, N> result;
    if constexpr (reduction == Reduction::rand) {
      result = load(own[choice[out]]);
    } else {
      Acc best[N] = {};
      Pack<uint8_t, N> won;
      int count = 0;
      for (int slot = 0; slot < members; ++slot) {
        const int64_t v = own[slot];
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
      if constexpr (reduction == Reduction::max) *reinterpret_cast<Pack<uint8_t, N>*>(winner + to) = won;
    }
    *reinterpret_cast<Pack<T, N>*>(y + to) = result;
  }
}

// One thread per input vertex and pack of N channels, samples as above: it collects from the outputs that read the
// vertex, in the order of the transposed index, so there are no atomics and the same input gives the same bits.
template <class T, int N, Reduction reduction>
__global__ void __launch_bounds__(kFlatBlock, kGatherBlocks)
    gather_reduce_backward(const T* __restrict__ grad, const uint8_t* __restrict__ winner,
                           const int64_t* __restrict__ index, const int64_t* __restrict__ rowptr,
                           const int64_t* __restrict__ entry, T* __restrict__ dx, int64_t batch, int64_t vertices,
                           int64_t outputs, int members, int channels) {
  using Acc = device_accumulate_t<T>;
  const int64_t packs = channels / N, item = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (item >= vertices * packs) return;
  const int64_t v = item / packs, c = item % packs * N, end = rowptr[v + 1];

  for (int64_t sample = blockIdx.y; sample < batch; sample += gridDim.y) {
    Acc sum[N] = {};
    for (int64_t e = rowptr[v]; e < end; ++e) {
      const int64_t place = entry[e], out = place / members;
      const int slot = static_cast<int>(place - out * members);
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
    *reinterpret_cast<Pack<T, N>*>(dx + (sample * vertices + v) * channels + c) = result;
  }
}

}  // namespace cheblienet
