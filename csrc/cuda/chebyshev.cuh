// The sparse kernels of the Chebyshev convolution row by row, without the framework: nvcc compiles them for the
// package, a simulator may run their PTX. No shared memory and no atomics: the same input gives the same bits.
#pragma once
#include "../row_span.h"
#include "chebyshev_launch.h"
#include "pack.cuh"

namespace cheblienet {

// One thread per entry: the vertex of its column, for programs that do not bring it. 8 bytes read and written, and 4
// gathered.
__global__ void __launch_bounds__(kVerticesBlock)
    chebyshev_vertices(const RowSpan* __restrict__ rows, const int32_t* __restrict__ col, int32_t* __restrict__ vertex,
                       uint32_t entries) {
  const uint32_t e = blockIdx.x * kVerticesBlock + threadIdx.x;
  if (e < entries) vertex[e] = rows[col[e]].vertex;
}

// out[i] = scale * sum_j L_ij in[j] + plus[i] - minus[i] + bias; plus, minus and bias may be null, plus may be out.
//
// A thread owns a pack of 16 bytes of S samples of one row; S divides the samples. A group of lanes owns up to as many
// packs of that row: its lanes load as many entries at once, one each, and hand them round by shuffles, so the row's
// entries are read once for all channels and samples of the group. At least four loads are on their way at a time.
// Operands have rows of whole packs; a result whose rows are not is stored element by element. Bytes moved per output
// element and entry: sizeof(T), and 8 (12 for double) of the entry per group.
template <class T, int S>
__global__ void __launch_bounds__(kStepBlock, 3)
    chebyshev_step(const RowSpan* __restrict__ rows, const int32_t* __restrict__ vertices,
                   const device_accumulate_t<T>* __restrict__ values, device_accumulate_t<T> scale,
                   const T* __restrict__ in, const T* plus, const T* minus, const T* bias, T* out, StepShape shape) {
  using Acc = device_accumulate_t<T>;
  constexpr int N = kPackSize<T>;
  constexpr int kAhead = S == 1 || N <= 4 ? 4 : 2;  // what 80 registers hold: eight loads, four of 16-bit elements
  const uint32_t thread = blockIdx.x * kStepBlock + threadIdx.x, lanes = 1u << shape.lane_bits;
  const uint32_t group = thread >> shape.lane_bits, lane = thread & (lanes - 1);
  const uint32_t row = group / shape.tiles, wanted = group % shape.tiles * lanes + lane;
  if (row >= shape.rows) return;
  const uint32_t mask = (0xffffffffu >> (32 - lanes)) << (threadIdx.x % 32 - lane);
  const uint32_t packs = (shape.channels + N - 1) / N;
  // Lanes without work read what the last one with work reads, so that the loop has no branches.
  const uint32_t item = min(wanted, packs * (shape.samples / S) - 1), c = item % packs * N, sample = item / packs * S;

  const RowSpan span = rows[shape.first_row + row];
  const int64_t between = shape.vertices * shape.in_stride;  // samples
  const T* source = in + sample * between + c;
  Acc sum[S][N] = {};
  for (uint32_t first = span.begin; first < uint32_t(span.end); first += lanes) {
    const uint32_t count = min(lanes, span.end - first);
    int32_t vertex = 0;
    Acc value = 0;
    if (lane < count) {
      vertex = vertices[first + lane];
      value = values[first + lane];
    }
    for (uint32_t e = 0; e < count; e += kAhead) {
      Pack<T, N> neighbor[kAhead][S];
      Acc factor[kAhead];
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        const int64_t at = int64_t(__shfl_sync(mask, vertex, e + u, lanes)) * shape.in_stride;
        factor[u] = __shfl_sync(mask, value, e + u, lanes);
        if (e + u < count) {
#pragma unroll
          for (int s = 0; s < S; ++s) neighbor[u][s] = load_pack(source + s * between + at);
        }
      }
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        if (e + u < count) {
#pragma unroll
          for (int s = 0; s < S; ++s) {
            Acc wide[N];
            widen_pack(neighbor[u][s], wide);
#pragma unroll
            for (int n = 0; n < N; ++n) sum[s][n] += factor[u] * wide[n];
          }
        }
      }
    }
  }

  if (item != wanted) return;
#pragma unroll
  for (int s = 0; s < S; ++s) {
    const int64_t place = int64_t(sample + s) * shape.vertices + span.vertex, at = place * shape.in_stride + c;
#pragma unroll
    for (int n = 0; n < N; ++n) sum[s][n] *= scale;
    if (plus != nullptr) {
      const auto values = load_pack(plus + at);
#pragma unroll
      for (int n = 0; n < N; ++n) sum[s][n] += widen(values.v[n]);
    }
    if (minus != nullptr) {
      const auto values = load_pack(minus + at);
#pragma unroll
      for (int n = 0; n < N; ++n) sum[s][n] -= widen(values.v[n]);
    }
    Pack<T, N> result;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      if (bias != nullptr && c + n < shape.channels) sum[s][n] += widen(bias[c + n]);
      result.v[n] = narrow<T>(sum[s][n]);
    }
    T* const to = out + place * shape.out_stride;
    store_pack(to + shape.copied, c, shape.channels, result);
    if (shape.copied > 0) store_pack(to, c, shape.channels, load_pack(in + at));
  }
}

// gradient[e] = sum over samples and elements of weight * left[i] right[j], for the entries e = (i, j) of the pattern;
// the weight is 1 in the first slot and 2 in the others.
//
// One block per row, which thereby reads left[i] from memory once; one warp per entry, its lanes on packs of 16 bytes
// of all samples, reduced by shuffles. Bytes moved per entry: samples * elements * sizeof(T) of right.
template <class T>
__global__ void __launch_bounds__(kDotsBlock)
    chebyshev_edge_dots(const RowSpan* __restrict__ rows, const int32_t* __restrict__ vertices,
                        const T* __restrict__ left, const T* __restrict__ right,
                        device_accumulate_t<T>* __restrict__ gradient, DotsShape shape) {
  using Acc = device_accumulate_t<T>;
  constexpr int N = kPackSize<T>;
  const uint32_t lane = threadIdx.x % 32, packs = shape.elements / N, items = shape.samples * packs;
  const RowSpan span = rows[blockIdx.x];
  for (int64_t e = span.begin + threadIdx.x / 32; e < span.end; e += kDotsBlock / 32) {
    const int32_t vertex = vertices[e];
    Acc sum = 0;
#pragma unroll 2
    for (uint32_t item = lane; item < items; item += 32) {
      const uint32_t c = item % packs * N;
      const int64_t base = int64_t(item / packs) * shape.vertices;
      const auto a = load_pack(left + (base + span.vertex) * shape.stride + c);
      const auto b = load_pack(right + (base + vertex) * shape.stride + c);
      Acc dot = 0;
#pragma unroll
      for (int n = 0; n < N; ++n) dot += widen(a.v[n]) * widen(b.v[n]);
      sum += c < shape.slot ? dot : 2 * dot;
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (lane == 0) gradient[e] = shape.accumulate ? gradient[e] + sum : sum;
  }
}

}  // namespace cheblienet
