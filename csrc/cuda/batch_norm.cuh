// Batch normalisation kernels, without the framework: nvcc compiles them for the package, a simulator may run their
// PTX. With s = x + residual over all rows (samples x vertices) of C channels,
//   y = relu((s - mean) scale + bias), scale = weight / std.
// s is not stored, and the backward finds the mask of the ReLU from s again.
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
constexpr int kStatisticsBlock = 32 * kStatisticsRows;
CHEBLIENET_HD int statistics_blocks(int64_t channels) { return static_cast<int>((channels + 31) / 32); }

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

// s = x + residual of one pack; residual may be null.
template <class T, int N>
__device__ __forceinline__ void load_sum(const T* x, const T* residual, int64_t at, device_accumulate_t<T>* s) {
  const auto a = load_norm<T, N>(x + at);
#pragma unroll
  for (int n = 0; n < N; ++n) s[n] = widen(a.v[n]);
  if (residual == nullptr) return;
  const auto b = load_norm<T, N>(residual + at);
#pragma unroll
  for (int n = 0; n < N; ++n) s[n] += widen(b.v[n]);
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

// What a thread knows of its channels.
template <class V, int N>
struct NormCoefficients {
  V mean[N], inverse[N], scale[N], bias[N];

  __device__ __forceinline__ NormCoefficients(const V* weight, const V* biases, const V* means, const V* vars, V eps,
                                              int c) {
    load_channels<V, N>(means, c, mean);
    load_channels<V, N>(vars, c, inverse);
    load_channels<V, N>(weight, c, scale);
    load_channels<V, N>(biases, c, bias);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      inverse[n] = 1 / sqrt(inverse[n] + eps);
      scale[n] *= inverse[n];
    }
  }

  __device__ __forceinline__ V result(int n, V s) const { return (s - mean[n]) * scale[n] + bias[n]; }
};

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
  const int thread = threadIdx.x, row = thread / 32, c = blockIdx.x * 32 + thread % 32;
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
      sums[0][thread] += sums[0][thread + half * 32];
      sums[1][thread] += sums[1][thread + half * 32];
    }
  }
  first = sums[0][thread];
  second = sums[1][thread];
  return row == 0 && c < channels;
}

// Sums of s - center and of its square, by parts. The first row is the center, which is as near to the mean as any:
// sums of squares keep their digits. Reads the signal once.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_moments(const T* __restrict__ x, const T* __restrict__ residual, double* __restrict__ partial,
                 NormShape shape) {
  using V = device_accumulate_t<T>;
  const NormPlace<N> place(shape);
  V center[N], first[N] = {}, second[N] = {};
  if (!place.idle) load_sum<T, N>(x, residual, place.c, center);
  place.for_rows(shape, [&](int64_t at) {
    V s[N];
    load_sum<T, N>(x, residual, at, s);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const V d = s[n] - center[n];
      first[n] += d;
      second[n] += d * d;
    }
  });
  write_partial<V, N>(first, second, place, shape, partial);
}

// Mean and biased variance from the sums of norm_moments.
template <class T>
__global__ void __launch_bounds__(kStatisticsBlock)
    norm_statistics(const T* __restrict__ x, const T* __restrict__ residual, const double* __restrict__ partial,
                    device_accumulate_t<T>* __restrict__ mean, device_accumulate_t<T>* __restrict__ var,
                    NormShape shape) {
  using V = device_accumulate_t<T>;
  double first, second;
  if (!sum_partial(partial, shape.parts, shape.channels, first, second)) return;
  const int c = blockIdx.x * 32 + threadIdx.x;
  V center;
  load_sum<T, 1>(x, residual, c, &center);
  first /= shape.rows;
  mean[c] = static_cast<V>(center + first);
  var[c] = static_cast<V>(fmax(0.0, second / shape.rows - first * first));
}

// y. Reads and writes the signal once.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_apply(const T* __restrict__ x, const T* __restrict__ residual,
               const device_accumulate_t<T>* __restrict__ weight, const device_accumulate_t<T>* __restrict__ bias,
               const device_accumulate_t<T>* __restrict__ mean, const device_accumulate_t<T>* __restrict__ var,
               double eps, bool relu, T* __restrict__ y, NormShape shape) {
  using V = device_accumulate_t<T>;
  const NormPlace<N> place(shape);
  if (place.idle) return;
  const NormCoefficients<V, N> of(weight, bias, mean, var, static_cast<V>(eps), place.c);
  place.for_rows(shape, [&](int64_t at) {
    V s[N];
    load_sum<T, N>(x, residual, at, s);
    Pack<T, N> result;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const V value = of.result(n, s[n]);
      result.v[n] = narrow<T>(relu && value < 0 ? V(0) : value);
    }
    *reinterpret_cast<Pack<T, N>*>(y + at) = result;
  });
}

// Calls f(offset, s, g) for the packs of this thread, g the gradient where the ReLU let y through.
template <class T, int N, class F>
__device__ __forceinline__ void for_gradients(const NormPlace<N>& place, const NormShape& shape, const T* grad,
                                              const T* x, const T* residual,
                                              const NormCoefficients<device_accumulate_t<T>, N>& of, bool relu,
                                              const F& f) {
  using V = device_accumulate_t<T>;
  place.for_rows(shape, [&](int64_t at) {
    V s[N], g[N];
    load_sum<T, N>(x, residual, at, s);
    const auto above = load_norm<T, N>(grad + at);
#pragma unroll
    for (int n = 0; n < N; ++n) g[n] = relu && of.result(n, s[n]) <= 0 ? V(0) : widen(above.v[n]);
    f(at, s, g);
  });
}

// Sums of g and of g (s - mean), by parts. Reads the signal and the gradient once.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_gradient_sums(const T* __restrict__ grad, const T* __restrict__ x, const T* __restrict__ residual,
                       const device_accumulate_t<T>* __restrict__ weight,
                       const device_accumulate_t<T>* __restrict__ bias, const device_accumulate_t<T>* __restrict__ mean,
                       const device_accumulate_t<T>* __restrict__ var, double eps, bool relu,
                       double* __restrict__ partial, NormShape shape) {
  using V = device_accumulate_t<T>;
  const NormPlace<N> place(shape);
  V first[N] = {}, second[N] = {};
  if (!place.idle) {
    const NormCoefficients<V, N> of(weight, bias, mean, var, static_cast<V>(eps), place.c);
    for_gradients<T, N>(place, shape, grad, x, residual, of, relu, [&](int64_t, const V* s, const V* g) {
#pragma unroll
      for (int n = 0; n < N; ++n) {
        first[n] += g[n];
        second[n] += g[n] * (s[n] - of.mean[n]);
      }
    });
  }
  write_partial<V, N>(first, second, place, shape, partial);
}

// The gradients of weight and bias from the sums of norm_gradient_sums.
template <class V>
__global__ void __launch_bounds__(kStatisticsBlock)
    norm_parameter_gradients(const double* __restrict__ partial, const V* __restrict__ var, double eps,
                             V* __restrict__ dweight, V* __restrict__ dbias, NormShape shape) {
  double first, second;
  if (!sum_partial(partial, shape.parts, shape.channels, first, second)) return;
  const int c = blockIdx.x * 32 + threadIdx.x;
  dbias[c] = static_cast<V>(first);
  dweight[c] = static_cast<V>(second / sqrt(var[c] + eps));
}

// ds = scale (g - dbias / rows - (s - mean) / std dweight / rows); without the last two terms where mean and variance
// are not the batch's. Reads the signal and the gradient once, writes one signal.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_gradient(const T* __restrict__ grad, const T* __restrict__ x, const T* __restrict__ residual,
                  const device_accumulate_t<T>* __restrict__ weight, const device_accumulate_t<T>* __restrict__ bias,
                  const device_accumulate_t<T>* __restrict__ mean, const device_accumulate_t<T>* __restrict__ var,
                  double eps, bool relu, const device_accumulate_t<T>* __restrict__ dweight,
                  const device_accumulate_t<T>* __restrict__ dbias, bool batch_statistics, T* __restrict__ dx,
                  NormShape shape) {
  using V = device_accumulate_t<T>;
  const NormPlace<N> place(shape);
  if (place.idle) return;
  const NormCoefficients<V, N> of(weight, bias, mean, var, static_cast<V>(eps), place.c);
  V offset[N] = {}, slope[N] = {};
  if (batch_statistics) {
    load_channels<V, N>(dbias, place.c, offset);
    load_channels<V, N>(dweight, place.c, slope);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      offset[n] /= V(shape.rows);
      slope[n] *= of.inverse[n] / V(shape.rows);
    }
  }
  for_gradients<T, N>(place, shape, grad, x, residual, of, relu, [&](int64_t at, const V* s, const V* g) {
    Pack<T, N> result;
#pragma unroll
    for (int n = 0; n < N; ++n)
      result.v[n] = narrow<T>(of.scale[n] * (g[n] - offset[n] - slope[n] * (s[n] - of.mean[n])));
    *reinterpret_cast<Pack<T, N>*>(dx + at) = result;
  });
}

}  // namespace cheblienet
