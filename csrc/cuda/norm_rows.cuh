// What the kernels of a normalisation share: who works on which rows and channels, and how sums come together.
//
// All passes over a signal share one decomposition. A block has a narrow slice of the channels, 64 bytes of a row, and
// goes down its part of the rows; the threads of a block stand side by side on packs of N channels, and on several
// rows. Each thread keeps its channels, so that their coefficients stay in registers. The first pass leaves sums by
// parts, and in the second pass every block adds up those of its channels once more: what it reads for that is (parts x
// slice), which is why slices are narrow and parts are few, and there is no launch, no counter and no waiting in
// between. Sums are added in a fixed order, without atomics, and neither grid nor order depends on the device: the bits
// depend on the shape alone.
#pragma once
#include "../math/moments.h"
#include "pack.cuh"

namespace cheblienet {

constexpr int kNormBlock = 256;
constexpr int kNormResident = 2;  // blocks on a processor, at least: at most 128 registers, none kept in memory
constexpr int kNormPacks = 4;     // packs of 16 bytes that a slice is wide, at most: two sectors
constexpr int kNormSingles = 32;  // elements that it is wide where they move one by one, at most
constexpr int kNormWidth = 32;    // channels of a slice, at most
constexpr int kNormRows = 8;      // rows that a thread goes down, at least
constexpr int kNormBlocks = 264;  // two for each processor of an H100

// The work of a launch: `parts` blocks share the rows and `tiles` blocks the channels of a signal, and a block holds
// `height` rows of `columns` packs. Parts take turns by `height` rows: one has `least` rows, `extra` of them `height`
// more, and the part that comes `last` has `missing` fewer.
struct NormShape {
  int64_t rows, least;
  int channels, columns, height, tiles, parts, extra, last, missing;

  CHEBLIENET_HD int64_t rows_of(int part) const {
    return least + (part < extra ? height : 0) - (part == last ? missing : 0);
  }
};

CHEBLIENET_HD NormShape norm_shape(int64_t rows, int64_t channels, int pack) {
  const int packs = static_cast<int>(channels / pack), widest = pack > 1 ? kNormPacks : kNormSingles;
  const int tiles = (packs + widest - 1) / widest, columns = (packs + tiles - 1) / tiles, height = kNormBlock / columns;
  const int64_t wanted = (rows + height * kNormRows - 1) / (height * kNormRows);
  const int64_t most = kNormBlocks / tiles > 1 ? kNormBlocks / tiles : 1, parts = wanted < most ? wanted : most;
  const int64_t turns = (rows + height - 1) / height, extra = turns % parts;
  return {rows,
          turns / parts * height,
          static_cast<int>(channels),
          columns,
          height,
          tiles,
          static_cast<int>(parts),
          static_cast<int>(extra),
          static_cast<int>(extra > 0 ? extra - 1 : parts - 1),
          static_cast<int>(turns * height - rows)};
}

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

  // Calls f(offset) for the rows of this thread but the first `skipped`.
  template <class F>
  __device__ __forceinline__ void for_rows(const NormShape& shape, int skipped, const F& f) const {
    if (idle) return;
    const int64_t step = int64_t(gridDim.y) * shape.height, first = int64_t(blockIdx.y) * shape.height + row;
#pragma unroll 4
    for (int64_t r = first + skipped * step; r < shape.rows; r += step) f(r * shape.channels + c);
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

template <class V, int N>
__device__ __forceinline__ void store_channels(const V* from, V* to) {
  constexpr int width = N < kPackSize<V> ? N : kPackSize<V>;
#pragma unroll
  for (int first = 0; first < N; first += width) {
    Pack<V, width> pack;
#pragma unroll
    for (int n = 0; n < width; ++n) pack.v[n] = from[first + n];
    *reinterpret_cast<Pack<V, width>*>(to + first) = pack;
  }
}

// Brings the `height` rows of threads of a block together, by a tree: add(mine, other) adds what thread `other` has to
// what thread `mine` has. A row has `columns` threads, and the first row has the result, which is its threads' to read.
template <class F>
__device__ __forceinline__ void join_rows(int row, int columns, int height, const F& add) {
  int half = 1;
  while (2 * half < height) half *= 2;
  for (; half > 0; half /= 2) {
    __syncthreads();
    if (row < half && row + half < height) add(threadIdx.x, threadIdx.x + half * columns);
  }
}

// What threads have of the moments of N channels each, in shared memory: the mean, and the sum of squared distances
// from it, of `count` rows. A row of threads has none only where those below it have none.
template <class V, int N>
struct BlockMoments {
  V mean[N][kNormBlock], squares[N][kNormBlock], count[kNormBlock];

  __device__ __forceinline__ void join(int row, int columns, int height) {
    join_rows(row, columns, height, [&](int mine, int other) {
      if (count[other] == 0) return;
      const MomentSum<V> sum(count[mine], count[other]);
#pragma unroll
      for (int n = 0; n < N; ++n) sum.add(mean[n][mine], squares[n][mine], mean[n][other], squares[n][other]);
      count[mine] += count[other];
    });
  }
};

// Where a thread works on the sums by parts: a column of threads has one channel of the block's slice.
struct PartPlace {
  int width, groups, group, channel, c;
  bool idle;

  template <int N>
  static __device__ __forceinline__ PartPlace of(const NormShape& shape) {
    PartPlace p;
    p.width = shape.columns * N;
    p.groups = kNormBlock / p.width;
    p.group = threadIdx.x / p.width;
    p.channel = threadIdx.x % p.width;
    p.c = blockIdx.x * p.width + p.channel;
    p.idle = p.group >= p.groups || p.c >= shape.channels;
    return p;
  }
};

}  // namespace cheblienet
