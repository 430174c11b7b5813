// Edges between vertices that are neighbours of each other, without the framework: nvcc compiles them for the package,
// a simulator may run their PTX.
#pragma once
#include "../math/host_device.h"
#include "pack.cuh"

namespace cheblienet {

// One thread per slot of the neighbourhoods (V, k), whose vertices `sorted` holds in ascending order, -1 for none, and
// `slot` their places in sqdist: the slot's edge weighs the mean of both directions' squared distances if its two ends
// are neighbours of each other and it is within the limit; mutual says so. No shared memory; a slot reads itself and
// log2(k) vertices of one other row.
__global__ void __launch_bounds__(kFlatBlock)
    find_mutual(const int64_t* __restrict__ sorted, const int64_t* __restrict__ slot, const double* __restrict__ sqdist,
                double limit, bool* __restrict__ mutual, double* __restrict__ mean, int64_t vertices, int64_t k) {
  const int64_t item = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (item >= vertices * k) return;
  const int64_t v = item / k, u = sorted[item];
  bool found = u >= 0 && u < vertices;
  if (found) {
    const int64_t row = u * k;
    int64_t low = 0, high = k;  // the first vertex that is not below v is between them
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (sorted[row + middle] < v) low = middle + 1;
      else high = middle;
    }
    found = low < k && sorted[row + low] == v;
    if (found) {
      const double both = (sqdist[v * k + slot[item]] + sqdist[row + slot[row + low]]) / 2;
      found = both <= limit;
      mean[item] = both;
    }
  }
  mutual[item] = found;
}

// One thread per edge e, at entry[e] of the neighbourhoods.
__global__ void __launch_bounds__(kFlatBlock)
    write_edges(const int64_t* __restrict__ entry, const int64_t* __restrict__ sorted, const double* __restrict__ mean,
                int64_t* __restrict__ edge_index, double* __restrict__ edge_sqdist, int64_t edges, int64_t k) {
  const int64_t e = blockIdx.x * int64_t(blockDim.x) + threadIdx.x;
  if (e >= edges) return;
  const int64_t item = entry[e];
  edge_index[e] = item / k;
  edge_index[edges + e] = sorted[item];
  edge_sqdist[e] = mean[item];
}

}  // namespace cheblienet
