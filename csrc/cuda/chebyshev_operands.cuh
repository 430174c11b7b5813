// What the matrix products of the Chebyshev convolution need before and after them, without the framework: operands in
// the products' order, filled up to whole packs, and gradients that are sums.
#pragma once
#include "chebyshev_launch.h"
#include "pack.cuh"

namespace cheblienet {

// Blocks [0, parts) write partial (parts, columns), sums of dy (sum_rows, columns) over every parts-th group of rows;
// the others fill. One launch serves all, since none takes longer than a launch does. The sums read dy once; lanes of a
// warp read adjacent elements.
template <class T>
__global__ void __launch_bounds__(kOperandsBlock, 4)
    chebyshev_prepare(const T* __restrict__ weight, T* __restrict__ stacked, const T* __restrict__ x, T* __restrict__ z,
                      const T* __restrict__ dy, double* __restrict__ partial, PrepareShape s) {
  using Acc = device_accumulate_t<T>;
  if (blockIdx.x < s.parts) {
    __shared__ Acc sums[kOperandsBlock];
    const int columns = sum_columns(s.columns), height = kOperandsBlock / columns;
    const int row = threadIdx.x / columns, column = threadIdx.x % columns;
    for (int first = 0; first < s.columns; first += columns) {
      const int c = first + column;
      const bool idle = row >= height || c >= s.columns;
      Acc sum = 0;
      if (!idle) {
#pragma unroll 8
        for (int64_t r = int64_t(blockIdx.x) * height + row; r < s.sum_rows; r += int64_t(s.parts) * height)
          sum += widen(dy[r * s.columns + c]);
      }
      __syncthreads();
      sums[threadIdx.x] = sum;
      __syncthreads();
      if (row > 0 || idle) continue;
      double total = 0;
      for (int other = 0; other < height; ++other) total += sums[other * columns + column];
      partial[int64_t(blockIdx.x) * s.columns + c] = total;
    }
    return;
  }

  const int64_t threads = int64_t(gridDim.x - s.parts) * kOperandsBlock;
  const int64_t thread = int64_t(blockIdx.x - s.parts) * kOperandsBlock + threadIdx.x;
  const int64_t elements = stacked_elements(s);
  for (int64_t e = thread; e < elements; e += threads) {
    int64_t k, i, o;
    if (s.side_by_side) {
      o = e % s.width;
      k = e / s.width % s.orders;
      i = e / s.width / s.orders;
    } else {
      o = e % s.cout;
      i = e / s.cout % s.width;
      k = e / s.cout / s.width;
    }
    stacked[e] = i < s.cin && o < s.cout ? weight[(k * s.cin + i) * s.cout + o] : narrow<T>(Acc(0));
  }
  for (int64_t e = thread; e < s.signal_rows * s.slot; e += threads) {
    const int64_t r = e / s.slot, c = e % s.slot;
    z[r * s.stride + c] = c < s.channels ? x[r * s.channels + c] : narrow<T>(Acc(0));
  }
}

// Blocks [0, blocks of columns) add up the parts of 32 columns each, eight threads a column; the others have a thread
// for each weight, which adds up its shares. All in a fixed order.
template <class T>
__global__ void __launch_bounds__(kOperandsBlock)
    chebyshev_finish(const device_accumulate_t<T>* __restrict__ shares, T* __restrict__ dweight,
                     const double* __restrict__ partial, T* __restrict__ dbias, FinishShape s) {
  using Acc = device_accumulate_t<T>;
  const int sum_blocks = (s.columns + kFinishColumns - 1) / kFinishColumns;
  if (blockIdx.x < sum_blocks) {
    __shared__ double sums[kOperandsBlock];
    const int c = blockIdx.x * kFinishColumns + threadIdx.x % kFinishColumns;
    double sum = 0;
    if (c < s.columns) {
#pragma unroll 8
      for (int part = threadIdx.x / kFinishColumns; part < s.parts; part += kOperandsBlock / kFinishColumns)
        sum += partial[int64_t(part) * s.columns + c];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= kFinishColumns || c >= s.columns) return;
    for (int other = threadIdx.x + kFinishColumns; other < kOperandsBlock; other += kFinishColumns) sum += sums[other];
    dbias[c] = narrow<T>(static_cast<Acc>(sum));
    return;
  }
  const int64_t e = int64_t(blockIdx.x - sum_blocks) * kOperandsBlock + threadIdx.x;
  const int64_t o = e % s.cout, i = e / s.cout % s.cin, k = e / s.cout / s.cin;
  if (k >= s.orders) return;
  const int64_t size = s.side_by_side ? int64_t(s.cin) * s.orders * s.width : int64_t(s.orders) * s.width * s.cout;
  const int64_t at = s.side_by_side ? (i * s.orders + k) * s.width + o : (k * s.width + i) * s.cout + o;
  Acc sum = 0;
  for (int share = 0; share < s.shares; ++share) sum += shares[share * size + at];
  dweight[e] = narrow<T>(sum);
}

}  // namespace cheblienet
