// What the kernels of a normalisation share: who works on which rows and channels, and how sums come together.
//
// All passes over a signal share one decomposition. The threads of a block stand side by side on packs of N channels,
// and where a row is narrower than a block, on several rows: a block reads one piece of memory at a time. Each thread
// keeps its channels, so that their coefficients stay in registers, and goes down the rows in steps of the whole grid.
// Sums are added up in a fixed order, without atomics: per thread in the type of the arithmetic, per block by a tree in
// shared memory, and over blocks in float64 by a second kernel. Neither grid nor order depends on the device.
#pragma once
#include "../math/host_device.h"
#include "pack.cuh"

namespace cheblienet {

constexpr int kNormBlock = 256;
constexpr int kNormResident = 3;     // blocks on a processor, at least: at most 80 registers, none kept in memory
constexpr int kNormColumns = 64;     // packs that a block has side by side, at most: a row of 1 KiB
constexpr int kNormRows = 8;         // rows that a thread goes down, at least
constexpr int kNormBlocks = 1024;    // a few for each processor of any device
constexpr int kStatisticsRows = 32;  // threads that share the sum over blocks of one channel

// The work of a launch: `parts` blocks share the rows and `tiles` blocks the channels of a signal, and a block holds
// `height` rows of `columns` packs.
struct NormShape {
  int64_t rows;
  int channels, columns, height, tiles, parts;
};

CHEBLIENET_HD NormShape norm_shape(int64_t rows, int64_t channels, int pack) {
  const int packs = static_cast<int>(channels / pack), tiles = (packs + kNormColumns - 1) / kNormColumns;
  const int columns = (packs + tiles - 1) / tiles, height = kNormBlock / columns;
  const int64_t wanted = (rows + height * kNormRows - 1) / (height * kNormRows);
  const int64_t most = kNormBlocks / tiles > 1 ? kNormBlocks / tiles : 1;
  return {rows, static_cast<int>(channels), columns, height, tiles, static_cast<int>(wanted < most ? wanted : most)};
}

// One block for kWarp channels.
constexpr int kStatisticsBlock = kWarp * kStatisticsRows;
CHEBLIENET_HD int statistics_blocks(int64_t channels) { return static_cast<int>((channels + kWarp - 1) / kWarp); }

// Where a thread of a pass works: its first channel and first row. Threads that a block has left over are idle.
template <int N>
struct NormPlace {
  int row, c;
  bool idle;

  explicit __device__ __forceinline__ NormPlace(const NormShape& shape) {
    row = threadIdx.x / shape.columns;
    c = (blockIdx.x * shape.columns + threadIdx.x % shape.columns) * N;
    idle = row >= shape.height || c >= shape.channels;
  }

  // Calls f(offset) for the rows of this thread.
  template <class F>
  __device__ __forceinline__ void for_rows(const NormShape& shape, const F& f) const {
    if (idle) return;
    const int64_t step = int64_t(gridDim.y) * shape.height;
#pragma unroll 2
    for (int64_t r = int64_t(blockIdx.y) * shape.height + row; r < shape.rows; r += step) f(r * shape.channels + c);
  }
};

template <class T, int N>
__device__ __forceinline__ Pack<T, N> load_norm(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <class T, int N>
__device__ __forceinline__ void load_signal(const T* from, device_accumulate_t<T>* s) {
  const auto pack = load_norm<T, N>(from);
#pragma unroll
  for (int n = 0; n < N; ++n) s[n] = widen(pack.v[n]);
}

// s = x + residual of one pack, as it is stored; residual may be null.
template <class T, int N>
__device__ __forceinline__ Pack<T, N> load_sum(const T* x, const T* residual, int64_t at) {
  auto s = load_norm<T, N>(x + at);
  if (residual == nullptr) return s;
  const auto b = load_norm<T, N>(residual + at);
#pragma unroll
  for (int n = 0; n < N; ++n) s.v[n] = narrow<T>(widen(s.v[n]) + widen(b.v[n]));
  return s;
}

// The same, which also stores it where there is a residual.
template <class T, int N>
__device__ __forceinline__ void store_sum(const T* x, const T* residual, T* sum, int64_t at,
                                          device_accumulate_t<T>* s) {
  const Pack<T, N> pack = load_sum<T, N>(x, residual, at);
  if (residual != nullptr) *reinterpret_cast<Pack<T, N>*>(sum + at) = pack;
#pragma unroll
  for (int n = 0; n < N; ++n) s[n] = widen(pack.v[n]);
}

// N values of the channels from c on, in accesses of 16 bytes where N is more than one.
template <class V, int N>
__device__ __forceinline__ void load_channels(const V* from, int c, V* to) {
  constexpr int width = N < kPackSize<V> ? N : kPackSize<V>;
#pragma unroll
  for (int first = 0; first < N; first += width) {
    const auto pack = load_norm<V, width>(from + c + first);
#pragma unroll
    for (int n = 0; n < width; ++n) to[first + n] = pack.v[n];
  }
}

// Adds up what the threads of a block hold for the same channels, and writes it to partial (parts, 2, C).
template <class V, int N>
__device__ __forceinline__ void write_partial(const V* first, const V* second, const NormPlace<N>& place,
                                              const NormShape& shape, double* partial) {
  __shared__ V sums[2 * N][kNormBlock];
  const int thread = threadIdx.x;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    sums[n][thread] = first[n];
    sums[N + n][thread] = second[n];
  }
  int half = 1;
  while (2 * half < shape.height) half *= 2;
  for (; half > 0; half /= 2) {
    __syncthreads();
    if (place.row >= half || place.row + half >= shape.height) continue;
#pragma unroll
    for (int k = 0; k < 2 * N; ++k) sums[k][thread] += sums[k][thread + half * shape.columns];
  }
  if (place.idle || place.row > 0) return;
  double* to = partial + int64_t(blockIdx.y) * 2 * shape.channels + place.c;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    to[n] = sums[n][thread];
    to[shape.channels + n] = sums[N + n][thread];
  }
}

// The sums over blocks of partial (parts, 2, C), for the channel of this thread: true for one thread of each channel.
// A block has kStatisticsRows rows of one thread per channel; a warp reads 256 adjacent bytes.
__device__ __forceinline__ bool sum_partial(const double* partial, int parts, int channels, double& first,
                                            double& second) {
  __shared__ double sums[2][kStatisticsBlock];
  const int thread = threadIdx.x, row = thread / kWarp, c = blockIdx.x * kWarp + thread % kWarp;
  first = second = 0;
  if (c < channels) {
#pragma unroll 4
    for (int part = row; part < parts; part += kStatisticsRows) {
      const double* from = partial + int64_t(part) * 2 * channels + c;
      first += from[0];
      second += from[channels];
    }
  }
  sums[0][thread] = first;
  sums[1][thread] = second;
  for (int half = kStatisticsRows / 2; half > 0; half /= 2) {
    __syncthreads();
    if (row < half) {
      sums[0][thread] += sums[0][thread + half * kWarp];
      sums[1][thread] += sums[1][thread + half * kWarp];
    }
  }
  first = sums[0][thread];
  second = sums[1][thread];
  return row == 0 && c < channels;
}

}  // namespace cheblienet
