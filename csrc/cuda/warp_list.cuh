// The nearest of one element in the registers of a warp, and the neighbourhood that they make, without the framework.
#pragma once
#include "../math/nearest.h"
#include "pack.cuh"

namespace cheblienet {

constexpr int kNoVertex = 0x7fffffff;  // after every vertex

// The rows of 32 that hold the k + 1 nearest in registers. More than 96 are found in several passes and wait in memory.
CHEBLIENET_HD int list_rows(int64_t k) { return k < 32 ? 1 : k < 64 ? 2 : 3; }
CHEBLIENET_HD bool in_one_pass(int64_t k) { return k < 3 * kWarp; }

__device__ __forceinline__ bool precedes(double d1, int v1, double d2, int v2) {
  return NearestList<double, int>::precedes(d1, v1, d2, v2);
}

// A sorted list in the registers of a warp: lane l holds the entries l, 32 + l, ... Missing entries are at infinity.
template <int rows>
struct WarpList {
  double distance[rows];
  int vertex[rows];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      distance[r] = INFINITY;
      vertex[r] = kNoVertex;
    }
  }

  // The same arguments in all lanes. Entries after the new one move by one place, the last drops out.
  __device__ __forceinline__ void insert(double d, int v, int lane) {
    double carried_distance = -INFINITY;
    int carried_vertex = -1;
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      double before_distance = __shfl_up_sync(kAllLanes, distance[r], 1);
      int before_vertex = __shfl_up_sync(kAllLanes, vertex[r], 1);
      if (lane == 0) {
        before_distance = carried_distance;
        before_vertex = carried_vertex;
      }
      carried_distance = __shfl_sync(kAllLanes, distance[r], kWarp - 1);
      carried_vertex = __shfl_sync(kAllLanes, vertex[r], kWarp - 1);
      const bool moves = precedes(d, v, before_distance, before_vertex);
      if (precedes(d, v, distance[r], vertex[r])) {
        distance[r] = moves ? before_distance : d;
        vertex[r] = moves ? before_vertex : v;
      }
    }
  }

  __device__ __forceinline__ double distance_at(int entry) const {
    double row = distance[0];
#pragma unroll
    for (int r = 1; r < rows; ++r) {
      const double other = distance[r];
      row = entry < r * kWarp ? row : other;
    }
    return __shfl_sync(kAllLanes, row, entry % kWarp);
  }
};

// Where a search leaves what it found: the neighbourhoods (V, k) or, before whole_shells makes them of more than one
// pass can list, the k + 1 nearest (V, k + 1), sorted by (distance, vertex).
struct Neighborhoods {
  int64_t* index;
  double* sqdist;
  double* distance;
  int* vertex;
  int64_t vertices, k;

  // How many of the k + 1 nearest there are.
  CHEBLIENET_HD int64_t listed() const { return k + 1 < vertices - 1 ? k + 1 : vertices - 1; }
};

// A neighbourhood from the k + 1 nearest in the registers of a warp: a shell whose end is among them is its own, its
// members by increasing vertex; the slots of any other are without a vertex.
template <int rows>
__device__ __forceinline__ void write_shells(const WarpList<rows>& nearest, int lane, int64_t row,
                                             const Neighborhoods& to) {
  const int k = static_cast<int>(to.k), listed = static_cast<int>(to.listed());
  unsigned begins[rows];  // bit l of r: a shell begins at entry 32 r + l
  double last = -INFINITY;
#pragma unroll
  for (int r = 0; r < rows; ++r) {
    double before = __shfl_up_sync(kAllLanes, nearest.distance[r], 1);
    if (lane == 0) before = last;
    last = __shfl_sync(kAllLanes, nearest.distance[r], kWarp - 1);
    const int entry = r * kWarp + lane;
    begins[r] =
        __ballot_sync(kAllLanes, entry == 0 || entry >= listed || is_shell_boundary(before, nearest.distance[r]));
  }
  int begin[rows], end[rows], place[rows];
#pragma unroll
  for (int r = 0; r < rows; ++r) {
    const unsigned below = (2u << lane) - 1;  // this lane and those before it
    begin[r] = 0;
    end[r] = listed;
#pragma unroll
    for (int q = 0; q <= r; ++q) {
      const unsigned bits = q < r ? begins[q] : begins[q] & below;
      if (bits != 0) begin[r] = q * kWarp + 31 - __clz(bits);
    }
#pragma unroll
    for (int q = rows - 1; q >= r; --q) {
      const unsigned bits = q > r ? begins[q] : begins[q] & ~below;
      if (bits != 0) end[r] = q * kWarp + __ffs(bits) - 1;
    }
    place[r] = begin[r];
  }
#pragma unroll
  for (int q = 0; q < rows; ++q) {
    for (int entry = q * kWarp; entry < (q + 1) * kWarp && entry < k; ++entry) {
      const int other = __shfl_sync(kAllLanes, nearest.vertex[q], entry % kWarp);
#pragma unroll
      for (int r = 0; r < rows; ++r)
        if (entry >= begin[r] && entry < end[r] && other < nearest.vertex[r]) ++place[r];
    }
  }
#pragma unroll
  for (int r = 0; r < rows; ++r) {
    const int slot = r * kWarp + lane;
    if (slot >= k) continue;
    const bool whole = end[r] <= k && slot < listed;
    if (!whole) place[r] = slot;
    to.index[row * k + place[r]] = whole ? nearest.vertex[r] : -1;
    to.sqdist[row * k + place[r]] = nearest.distance[r];
  }
}

// One thread per slot of index and sqdist (V, k), for more neighbours than one pass lists: the shells as above.
__global__ void __launch_bounds__(kFlatBlock)
    whole_shells(const double* __restrict__ distance, const int* __restrict__ vertex, int64_t* __restrict__ index,
                 double* __restrict__ sqdist, int64_t vertices, int64_t k) {
  const int64_t item = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (item >= vertices * k) return;
  const int64_t row = item / k, slot = item % k, listed = k + 1 < vertices - 1 ? k + 1 : vertices - 1;
  const double* d = distance + row * (k + 1);
  const int* v = vertex + row * (k + 1);
  int64_t begin = slot, end = slot + 1;
  while (begin > 0 && !is_shell_boundary(d[begin - 1], d[begin])) --begin;
  while (end < listed && !is_shell_boundary(d[end - 1], d[end])) ++end;
  const bool whole = end <= k && v[slot] != kNoVertex;
  int64_t place = slot;
  if (whole) {
    place = begin;
    for (int64_t other = begin; other < end; ++other) place += v[other] < v[slot] ? 1 : 0;
  }
  index[row * k + place] = whole ? v[slot] : -1;
  sqdist[row * k + place] = d[slot];
}

}  // namespace cheblienet
