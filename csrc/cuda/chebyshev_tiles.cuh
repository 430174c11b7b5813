// The recurrence on tiles of rows, several orders in one launch, without the framework: nvcc compiles it for the
// package, a simulator may run its PTX.
//
// A block owns a tile of consecutive rows: a thread owns a row and keeps its entries (where the neighbour stands in
// shared memory, value) in registers for as long as the block lives. The block goes through its share of the items, a
// sample and a chunk of packs of 16 bytes. The vertices that its rows name come into shared memory by copies that run
// one item ahead; results replace operands there and leave in whole sectors. Gathering from L2 instead would move 4 to
// 6 times the bytes. The tables (see ops/tiles.py) number the vertices so that the eight lanes of a phase of a 16-byte
// read mostly meet in different banks.
//
// Bytes moved per item: 16 * packs * (vertices of the tile and around it + 2 to 4 * rows). Sums run in the order of the
// row's entries, as in chebyshev_step: both give the same bits.
#pragma once
#include "../row_span.h"
#include "chebyshev_launch.h"
#include "pack.cuh"

namespace cheblienet {

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
__device__ __forceinline__ void copy_ahead(uint4* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
__device__ __forceinline__ void end_of_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All groups of copies but the last have arrived.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }

// Waits for the `all` blocks that share a barrier, of which all must be resident. barrier[0] counts arrivals, the last
// of which sets it back and turns barrier[1]: the next launch finds it as this one did.
__device__ __forceinline__ void wait_for_blocks(uint32_t* barrier, uint32_t all) {
  __syncthreads();
  if (threadIdx.x == 0) {
    uint32_t before, now, arrived;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(before) : "l"(barrier + 1) : "memory");
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;"
                 : "=r"(arrived)
                 : "l"(barrier), "r"(all - 1)
                 : "memory");
    if (arrived == all - 1) {
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(barrier + 1) : "memory");
    } else {
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(barrier + 1) : "memory");
      } while (now == before);
    }
  }
  __syncthreads();
}

// The shared memory of a block: two stages of planes, then what its rows and slots are.
struct TileMemory {
  uint4* stages;
  int32_t *vertex, *own, *halo;
  int32_t plane;

  __device__ __forceinline__ TileMemory(uint4* shared, const TileShape& s) : stages(shared), plane(s.plane) {
    vertex = reinterpret_cast<int32_t*>(shared + 2 * s.stage_slots());
    own = vertex + s.tile_rows;
    halo = own + s.tile_rows;
  }

  // The vertices of slots, and of the rows, one of which may be this thread's.
  __device__ __forceinline__ void load_vertices(const int32_t* from, int tile, const RowSpan& span,
                                                bool has_row) const {
    if (has_row) vertex[threadIdx.x] = span.vertex;
    for (int h = threadIdx.x; h < plane; h += blockDim.x) halo[h] = from[int64_t(tile) * plane + h];
  }

  // Where the planes of a stage begin: gathered vertices, then those of the tile's own rows.
  __device__ __forceinline__ uint4* planes(const TileShape& s, int stage) const {
    return stages + stage * s.stage_slots();
  }

  // Has the vertices in the slots copied: a pack of each, from `from` on, whose vertices are `stride` elements apart,
  // to a plane. The threads that have this pack start at `begin`, `step` apart.
  template <class T>
  __device__ __forceinline__ void gather(uint4* to, const T* from, int64_t stride, int begin, int step) const {
    for (int h = begin; h < plane - 1; h += step) {
      const int32_t v = halo[h];
      if (v >= 0) copy_ahead(to + h, from + v * stride);
    }
  }
  // The same of the tile's own `count` rows.
  template <class T>
  __device__ __forceinline__ void gather_rows(uint4* to, const T* from, int64_t stride, int count, int begin,
                                              int step) const {
    for (int r = begin; r < count; r += step) copy_ahead(to + r, from + vertex[r] * stride);
  }

  // The last slot of every plane holds zeros.
  __device__ __forceinline__ void clear_zeros(const TileShape& s) const {
    const int packs = 1 << s.pack_bits;
    for (int i = threadIdx.x; i < 2 * packs; i += blockDim.x)
      stages[(i >> s.pack_bits) * s.stage_slots() + (i & (packs - 1)) * s.plane_slots() + plane - 1] =
          make_uint4(0, 0, 0, 0);
  }
};

// Calls fetch(item, stage) for the items of a split, one item ahead, and work(item, stage) once its copies have
// arrived.
template <class Fetch, class Work>
__device__ __forceinline__ void for_items(const TileShape& s, int split, const Fetch& fetch, const Work& work) {
  const int items = s.batch * s.chunks;
  const auto next = [&](int item, int stage) {
    if (item < items) fetch(item, stage);
    end_of_copies();
  };
  next(split, 0);
  int stage = 0;
  for (int item = split; item < items; item += s.splits, stage ^= 1) {
    next(item + s.splits, stage ^ 1);
    wait_for_copies();
    __syncthreads();
    work(item, stage);
    __syncthreads();  // before the stage is filled again
  }
}

// A row's entries in registers. Rows shorter than D are filled up with -0 times a slot of zeros, which changes no bit
// of a sum.
template <class V, int D>
struct TileEntries {
  uint32_t offset[D];
  V value[D];
  int longest;  // the most entries of a row of this warp

  // `slots` are those of this row, two in a word, `pitch` words apart; null for a thread without a row.
  __device__ __forceinline__ TileEntries(const RowSpan& span, const V* values, const int32_t* slots, int pitch) {
    const int degree = span.end - span.begin;
#pragma unroll
    for (int e = 0; e < D; e += 2) {
      const uint32_t two = slots == nullptr ? 0 : slots[e / 2 * pitch];
      offset[e] = (two & 0xffffu) * 16;
      offset[e + 1] = (two >> 16) * 16;
    }
#pragma unroll
    for (int e = 0; e < D; ++e) value[e] = e < degree ? values[span.begin + e] : V(-0.0);
    longest = __reduce_max_sync(kAllLanes, degree);
  }

  // sum += the row times the packs of a plane. Four reads are in flight, and one branch serves four entries.
  template <class T>
  __device__ __forceinline__ void multiply(const uint4* plane, V* sum) const {
    constexpr int N = kPackSize<T>;
    const char* const from = reinterpret_cast<const char*>(plane);
#pragma unroll
    for (int e = 0; e < D; e += 4) {
      if (e >= longest) break;
      Pack<T, N> x[4];
#pragma unroll
      for (int u = 0; u < 4; ++u) x[u] = *reinterpret_cast<const Pack<T, N>*>(from + offset[e + u]);
#pragma unroll
      for (int u = 0; u < 4; ++u) {
        V wide[N];
        widen_pack(x[u], wide);
#pragma unroll
        for (int n = 0; n < N; ++n) sum[n] += value[e + u] * wide[n];
      }
    }
  }
};
#endif

// Up, for k = from, ..., to - 1: slot k of z = scale L (slot k - 1) - slot k - 2, where x stands for slot 0, which is
// written on the way, if x is given; scale is 1 for k = 1 and 2 beyond.
// Down, for k = from, ..., to + 1: slot k = slot k + 2 L (slot k + 1) - slot k + 2; for k = 0 y = slot 0 + L (slot 1) -
// slot 2 + bias.
// Slots beyond the last do not count. With several k the blocks of a split wait for each other: all must be resident.
template <class T, int D>
__global__ void __launch_bounds__(kTileThreads, 4)
    tile_orders(const T* __restrict__ x, T* z, T* __restrict__ y, const T* __restrict__ bias,
                const RowSpan* __restrict__ rows, const device_accumulate_t<T>* __restrict__ values,
                const int32_t* __restrict__ slots, const int32_t* __restrict__ halo, uint32_t* barriers, TileShape s) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  using Acc = device_accumulate_t<T>;
  constexpr int N = kPackSize<T>;
  extern __shared__ uint4 shared[];
  const TileMemory memory(shared, s);
  const int tile = blockIdx.x % s.tiles, split = blockIdx.x / s.tiles, thread = threadIdx.x;
  const int64_t first_row = int64_t(tile) * s.tile_rows;
  const int count = static_cast<int>(min(int64_t(s.tile_rows), s.vertices - first_row));

  RowSpan span{};
  if (thread < count) span = rows[first_row + thread];
  const int32_t* const mine = slots + int64_t(tile) * (D / 2 + 1) * s.tile_rows + thread;
  const TileEntries<Acc, D> entries(span, values, thread < count ? mine : nullptr, s.tile_rows);
  if (thread < count) memory.own[thread] = mine[D / 2 * s.tile_rows];
  memory.load_vertices(halo, tile, span, thread < count);
  memory.clear_zeros(s);
  __syncthreads();

  const int packs = 1 << s.pack_bits;  // of a chunk
  const bool down = s.from > s.to;
  const int pack = thread & (packs - 1), begin = thread >> s.pack_bits, step = blockDim.x >> s.pack_bits;
  for (int k = s.from; k != s.to; k += down ? -1 : 1) {
    const bool of_x = k == 1 && !down && x != nullptr;
    const int64_t in_stride = of_x ? s.width : s.orders * s.width, stride = s.orders * s.width;
    const T* const in = of_x ? x : z + (down ? k + 1 : k - 1) * int64_t(s.width);
    const int minus = down ? k + 2 : k - 2;
    const bool subtracts = minus >= 0 && minus < s.orders;
    const Acc scale = k == (down ? 0 : 1) ? Acc(1) : Acc(2);

    const auto element = [&](int item, int64_t between) {  // the first one of this thread's pack
      return int64_t(item / s.chunks) * s.vertices * between + ((item % s.chunks << s.pack_bits) + pack) * N;
    };
    const auto has_pack = [&](int item) { return (item % s.chunks << s.pack_bits) + pack < s.packs; };
    const auto fetch = [&](int item, int stage) {
      if (!has_pack(item)) return;
      uint4* const to = memory.planes(s, stage);
      memory.gather(to + pack * s.plane_slots(), in + element(item, in_stride), in_stride, begin, step);
      uint4* own = to + packs * s.plane_slots() + pack * s.row_slots();
      const T* const of_rows = z + element(item, stride);
      if (subtracts) memory.gather_rows(own, of_rows + minus * int64_t(s.width), stride, count, begin, step);
      own += packs * s.row_slots();
      if (down) memory.gather_rows(own, of_rows + k * int64_t(s.width), stride, count, begin, step);
    };
    for_items(s, split, fetch, [&](int item, int stage) {
      uint4* const base = memory.planes(s, stage);
      Pack<T, N>* const results = reinterpret_cast<Pack<T, N>*>(base + packs * s.plane_slots());
      const int first_pack = item % s.chunks << s.pack_bits, live = min(packs, s.packs - first_pack);
      if (thread < count) {
        for (int p = 0; p < live; ++p) {
          Acc sum[N] = {};
          entries.template multiply<T>(base + p * s.plane_slots(), sum);
          Pack<T, N>* const place = results + p * s.row_slots() + thread;
#pragma unroll
          for (int n = 0; n < N; ++n) sum[n] *= scale;
          if (down) {
            const Pack<T, N> added = results[(packs + p) * s.row_slots() + thread];
#pragma unroll
            for (int n = 0; n < N; ++n) sum[n] += widen(added.v[n]);
          }
          if (subtracts) {
            const Pack<T, N> subtracted = *place;
#pragma unroll
            for (int n = 0; n < N; ++n) sum[n] -= widen(subtracted.v[n]);
          }
          if (down && k == 0 && bias != nullptr) {
            const int c = (first_pack + p) * N;
#pragma unroll
            for (int n = 0; n < N; ++n)
              if (c + n < s.channels) sum[n] += widen(bias[c + n]);
          }
          Pack<T, N> result;
#pragma unroll
          for (int n = 0; n < N; ++n) result.v[n] = narrow<T>(sum[n]);
          *place = result;  // at once, and not element by element
        }
      }
      __syncthreads();
      if (has_pack(item)) {
        T* const to = z + element(item, stride);
        for (int r = begin; r < count; r += step) {
          const Pack<T, N> result = results[pack * s.row_slots() + r];
          const int64_t at = memory.vertex[r] * stride;
          if (!down || k > 0) *reinterpret_cast<Pack<T, N>*>(to + at + k * int64_t(s.width)) = result;
          else
            store_pack(y + (int64_t(item / s.chunks) * s.vertices + memory.vertex[r]) * s.channels,
                       (first_pack + pack) * N, s.channels, result);
          if (of_x) *reinterpret_cast<uint4*>(to + at) = base[pack * s.plane_slots() + memory.own[r]];
        }
      }
    });
    if (k + (down ? -1 : 1) != s.to) wait_for_blocks(barriers + 2 * split, s.tiles);
  }
#endif
}

}  // namespace cheblienet
