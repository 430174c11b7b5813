// The gradient of the matrix's values on tiles of rows, without the framework.
#pragma once
#include "chebyshev_tiles.cuh"

namespace cheblienet {

// shares[split][e] = sum over the items of a split of weight * left[i] right[j], for the entries e = (i, j) of the
// pattern; elements of the first `width` of a row weigh 1, others 2. left and right have a row of orders * width
// elements for each vertex, of which `packs` packs count.
//
// As tile_orders: a thread owns a row, here with a sum for each of its entries in registers, and goes through its items
// with the vertices of the tile and around it in shared memory. Bytes moved per item: 16 * packs * (vertices of the
// tile and around it + rows).
template <class T, int D>
__global__ void __launch_bounds__(kTileThreads, 4)
    tile_dots(const T* __restrict__ left, const T* __restrict__ right, const RowSpan* __restrict__ rows,
              const int32_t* __restrict__ slots, const int32_t* __restrict__ halo,
              device_accumulate_t<T>* __restrict__ shares, int64_t entries, TileShape s) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Acc = device_accumulate_t<T>;
  constexpr int N = kPackSize<T>;
  extern __shared__ uint4 shared[];
  const TileMemory memory(shared, s);
  const int tile = blockIdx.x % s.tiles, split = blockIdx.x / s.tiles, thread = threadIdx.x;
  const int64_t first_row = int64_t(tile) * s.tile_rows, stride = int64_t(s.orders) * s.width;
  const int count = static_cast<int>(min(int64_t(s.tile_rows), s.vertices - first_row));

  RowSpan span{};
  if (thread < count) span = rows[first_row + thread];
  const int32_t* const mine = slots + int64_t(tile) * (D / 2 + 1) * s.tile_rows + thread;
  uint32_t offset[D];
  Acc sum[D] = {};
#pragma unroll
  for (int e = 0; e < D; e += 2) {
    const uint32_t two = thread < count ? mine[e / 2 * s.tile_rows] : 0;
    offset[e] = (two & 0xffffu) * 16;
    offset[e + 1] = (two >> 16) * 16;
  }
  memory.load_vertices(halo, tile, span, thread < count);
  memory.clear_zeros(s);
  __syncthreads();

  const int packs = 1 << s.pack_bits, degree = span.end - span.begin, longest = __reduce_max_sync(kAllLanes, degree);
  const int pack = thread & (packs - 1), begin = thread >> s.pack_bits, step = blockDim.x >> s.pack_bits;
  const auto fetch = [&](int item, int stage) {
    const int chunk = item % s.chunks << s.pack_bits;
    if (chunk + pack >= s.packs) return;
    const int64_t element = int64_t(item / s.chunks) * s.vertices * stride + (chunk + pack) * N;
    uint4* const to = memory.planes(s, stage);
    memory.gather(to + pack * s.plane_slots(), right + element, stride, begin, step);
    memory.gather_rows(to + packs * s.plane_slots() + pack * s.row_slots(), left + element, stride, count, begin, step);
  };
  for_items(s, split, fetch, [&](int item, int stage) {
    if (thread >= count) return;
    const uint4* const base = memory.planes(s, stage);
    const int chunk = item % s.chunks << s.pack_bits, live = min(packs, s.packs - chunk);
    for (int p = 0; p < live; ++p) {
      const Acc weight = (chunk + p) * N < s.width ? Acc(1) : Acc(2);
      const auto own =
          load_pack(reinterpret_cast<const T*>(base + packs * s.plane_slots() + p * s.row_slots() + thread));
      Acc factor[N];
      widen_pack(own, factor);
#pragma unroll
      for (int n = 0; n < N; ++n) factor[n] *= weight;
      const char* const plane = reinterpret_cast<const char*>(base + p * s.plane_slots());
#pragma unroll
      for (int e = 0; e < D; ++e) {
        if (e >= longest) break;
        const auto other = load_pack(reinterpret_cast<const T*>(plane + offset[e]));
        Acc wide[N], dot = 0;
        widen_pack(other, wide);
#pragma unroll
        for (int n = 0; n < N; ++n) dot += factor[n] * wide[n];
        sum[e] += dot;
      }
    }
  });
#pragma unroll
  for (int e = 0; e < D; ++e)
    if (e < degree) shares[split * entries + span.begin + e] = sum[e];
#endif
}

// gradient[e] = the sum of its shares, onto what is there if `accumulate`. One thread per entry; reads every share
// once.
template <class V>
__global__ void __launch_bounds__(kOperandsBlock)
    add_shares(const V* __restrict__ shares, V* __restrict__ gradient, int64_t entries, int count, bool accumulate) {
  const int64_t e = int64_t(blockIdx.x) * kOperandsBlock + threadIdx.x;
  if (e >= entries) return;
  V sum = accumulate ? gradient[e] : V(0);
  for (int share = 0; share < count; ++share) sum += shares[share * entries + e];
  gradient[e] = sum;
}

}  // namespace cheblienet
