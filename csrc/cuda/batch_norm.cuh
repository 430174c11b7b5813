// Batch normalisation kernels, without the framework: nvcc compiles them for the package, a simulator may run their
// PTX. With s = x + residual over all rows (samples x vertices) of C channels,
//   y = relu((s - mean) scale + bias), scale = weight / std.
// The first pass that reads x and the residual stores s, from which the backward finds the mask of the ReLU again.
#pragma once
#include "norm_rows.cuh"

namespace cheblienet {

// What a thread knows of its channels.
template <class V, int N>
struct NormCoefficients {
  V mean[N], inverse[N], scale[N], bias[N];

  __device__ __forceinline__ void load(const V* weight, const V* biases, V eps, int c) {
    load_channels<V, N>(weight, c, scale);
    load_channels<V, N>(biases, c, bias);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      inverse[n] = 1 / sqrt(inverse[n] + eps);
      scale[n] *= inverse[n];
    }
  }

  __device__ __forceinline__ void load(const V* weight, const V* biases, const V* means, const V* vars, V eps, int c) {
    load_channels<V, N>(means, c, mean);
    load_channels<V, N>(vars, c, inverse);
    load(weight, biases, eps, c);
  }

  __device__ __forceinline__ V result(int n, V s) const { return (s - mean[n]) * scale[n] + bias[n]; }
};

// Moments by parts (parts, 3, C): a value of the part, the distance of its mean from that value, and the sum of squared
// distances from the mean. Each thread sums about its own first row, so that no row of others costs digits. Reads the
// signal once, and writes s where there is a residual. Counts the batch.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_moments(const T* __restrict__ x, const T* __restrict__ residual, T* __restrict__ sum,
                 device_accumulate_t<T>* __restrict__ partial, int64_t* __restrict__ batches, NormShape shape) {
  using V = device_accumulate_t<T>;
  __shared__ BlockMoments<V, N> block;
  const NormPlace<N> place(shape);
  const int64_t top = int64_t(blockIdx.y) * shape.height;
  V base[N] = {}, center[N] = {}, first[N] = {}, second[N] = {};
  V count = 0;
  if (!place.idle && top + place.row < shape.rows) {
    const auto row = load_sum<T, N>(x, residual, top * shape.channels + place.c);
#pragma unroll
    for (int n = 0; n < N; ++n) base[n] = widen(row.v[n]);
    store_sum<T, N>(x, residual, sum, (top + place.row) * shape.channels + place.c, center);
    count = 1;
    place.for_rows(shape, 1, [&](int64_t at) {
      V s[N];
      store_sum<T, N>(x, residual, sum, at, s);
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const V d = s[n] - center[n];
        first[n] += d;
        second[n] += d * d;
      }
      count += 1;
    });
  }
  block.count[threadIdx.x] = count;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const V offset = count > 0 ? first[n] / count : V(0), squares = second[n] - first[n] * offset;
    block.mean[n][threadIdx.x] = center[n] - base[n] + offset;
    block.squares[n][threadIdx.x] = squares < 0 ? V(0) : squares;  // by rounding, where all are equal; nan stays
  }
  block.join(place.row, shape.columns, shape.height);
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0 && batches != nullptr) ++*batches;
  if (place.idle || place.row > 0) return;
  V* to = partial + int64_t(blockIdx.y) * 3 * shape.channels + place.c;
  store_channels<V, N>(base, to);
#pragma unroll
  for (int n = 0; n < N; ++n) {
    first[n] = block.mean[n][threadIdx.x];
    second[n] = block.squares[n][threadIdx.x];
  }
  store_channels<V, N>(first, to + shape.channels);
  store_channels<V, N>(second, to + 2 * shape.channels);
}

// Mean and biased variance of the batch from the moments by parts, for the channels of this block's slice; the first
// block of each slice writes them, and moves the running statistics.
template <class V, int N>
__device__ __forceinline__ void join_parts(const V* __restrict__ partial, const NormPlace<N>& reader,
                                           const NormShape& shape, V* mean_out, V* var_out,
                                           const RunningStatistics<V>& running, V (&mean)[N], V (&var)[N]) {
  __shared__ BlockMoments<V, 1> block;
  __shared__ V means[kNormWidth], vars[kNormWidth];
  const PartPlace place = PartPlace::of<N>(shape);
  V count = 0, offset = 0, squares = 0;
  const V base = place.idle ? V(0) : partial[place.c];
  if (!place.idle) {
#pragma unroll 4
    for (int part = place.group; part < shape.parts; part += place.groups) {
      const V* from = partial + int64_t(part) * 3 * shape.channels + place.c;
      const V rows = shape.rows_of(part);
      MomentSum<V>(count, rows).add(offset, squares, from[0] - base + from[shape.channels], from[2 * shape.channels]);
      count += rows;
    }
  }
  block.count[threadIdx.x] = count;
  block.mean[0][threadIdx.x] = offset;
  block.squares[0][threadIdx.x] = squares;
  block.join(place.group, place.width, place.groups);
  if (!place.idle && place.group == 0) {
    const V m = base + block.mean[0][threadIdx.x], v = block.squares[0][threadIdx.x] / shape.rows;
    means[place.channel] = m;
    vars[place.channel] = v;
    if (blockIdx.y == 0) {
      mean_out[place.c] = m;
      var_out[place.c] = v;
      if (running.mean != nullptr) running.follow(place.c, m, v, V(shape.rows), running.step());
    }
  }
  __syncthreads();
  if (reader.idle) return;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    mean[n] = means[threadIdx.x % shape.columns * N + n];
    var[n] = vars[threadIdx.x % shape.columns * N + n];
  }
}

// y. Mean and variance are those of the batch, which go to `mean` and `var`, or without moments by parts those found
// there. Reads and writes the signal once, and writes s where there is a residual.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_apply(const T* __restrict__ x, const T* __restrict__ residual, T* __restrict__ sum,
               const device_accumulate_t<T>* __restrict__ weight, const device_accumulate_t<T>* __restrict__ bias,
               device_accumulate_t<T>* mean, device_accumulate_t<T>* var,
               const device_accumulate_t<T>* __restrict__ partial, device_accumulate_t<T>* running_mean,
               device_accumulate_t<T>* running_var, int64_t* batches, double momentum, bool cumulative, double eps,
               bool relu, T* __restrict__ y, NormShape shape) {
  using V = device_accumulate_t<T>;
  const NormPlace<N> place(shape);
  NormCoefficients<V, N> of;
  if (partial != nullptr) {
    const RunningStatistics<V> running{running_mean, running_var, batches, static_cast<V>(momentum), cumulative};
    join_parts<V, N>(partial, place, shape, mean, var, running, of.mean, of.inverse);
    if (place.idle) return;
    of.load(weight, bias, static_cast<V>(eps), place.c);
  } else {
    if (place.idle) return;
    of.load(weight, bias, mean, var, static_cast<V>(eps), place.c);
  }
  place.for_rows(shape, 0, [&](int64_t at) {
    V s[N];
    store_sum<T, N>(x, residual, sum, at, s);
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
                                              const T* signal, const NormCoefficients<device_accumulate_t<T>, N>& of,
                                              bool relu, const F& f) {
  using V = device_accumulate_t<T>;
  place.for_rows(shape, 0, [&](int64_t at) {
    V s[N], g[N];
    load_signal<T, N>(signal + at, s);
    const auto above = load_norm<T, N>(grad + at);
#pragma unroll
    for (int n = 0; n < N; ++n) g[n] = relu && of.result(n, s[n]) <= 0 ? V(0) : widen(above.v[n]);
    f(at, s, g);
  });
}

// Sums of g and of g (s - mean), by parts (parts, 2, C). Reads the signal and the gradient once.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_gradient_sums(const T* __restrict__ grad, const T* __restrict__ signal,
                       const device_accumulate_t<T>* __restrict__ weight,
                       const device_accumulate_t<T>* __restrict__ bias, const device_accumulate_t<T>* __restrict__ mean,
                       const device_accumulate_t<T>* __restrict__ var, double eps, bool relu,
                       device_accumulate_t<T>* __restrict__ partial, NormShape shape) {
  using V = device_accumulate_t<T>;
  __shared__ V sums[2 * N][kNormBlock];
  const NormPlace<N> place(shape);
  V first[N] = {}, second[N] = {};
  if (!place.idle) {
    NormCoefficients<V, N> of;
    of.load(weight, bias, mean, var, static_cast<V>(eps), place.c);
    for_gradients<T, N>(place, shape, grad, signal, of, relu, [&](int64_t, const V* s, const V* g) {
#pragma unroll
      for (int n = 0; n < N; ++n) {
        first[n] += g[n];
        second[n] += g[n] * (s[n] - of.mean[n]);
      }
    });
  }
#pragma unroll
  for (int n = 0; n < N; ++n) {
    sums[n][threadIdx.x] = first[n];
    sums[N + n][threadIdx.x] = second[n];
  }
  join_rows(place.row, shape.columns, shape.height, [&](int mine, int other) {
#pragma unroll
    for (int k = 0; k < 2 * N; ++k) sums[k][mine] += sums[k][other];
  });
  if (place.idle || place.row > 0) return;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    first[n] = sums[n][threadIdx.x];
    second[n] = sums[N + n][threadIdx.x];
  }
  V* to = partial + int64_t(blockIdx.y) * 2 * shape.channels + place.c;
  store_channels<V, N>(first, to);
  store_channels<V, N>(second, to + shape.channels);
}

// The sums of norm_gradient_sums over all parts, for the channels of this block's slice; the first block of each slice
// writes the gradients of weight and bias.
template <class V, int N>
__device__ __forceinline__ void join_gradients(const V* __restrict__ partial, const NormPlace<N>& reader,
                                               const NormShape& shape, const V* __restrict__ var, V eps, V* dweight,
                                               V* dbias, V (&first)[N], V (&second)[N]) {
  __shared__ V sums[2][kNormBlock];
  const PartPlace place = PartPlace::of<N>(shape);
  V one = 0, two = 0;
  if (!place.idle) {
#pragma unroll 4
    for (int part = place.group; part < shape.parts; part += place.groups) {
      const V* from = partial + int64_t(part) * 2 * shape.channels + place.c;
      one += from[0];
      two += from[shape.channels];
    }
  }
  sums[0][threadIdx.x] = one;
  sums[1][threadIdx.x] = two;
  join_rows(place.group, place.width, place.groups, [&](int mine, int other) {
    sums[0][mine] += sums[0][other];
    sums[1][mine] += sums[1][other];
  });
  if (!place.idle && place.group == 0 && blockIdx.y == 0) {
    dbias[place.c] = sums[0][threadIdx.x];
    dweight[place.c] = sums[1][threadIdx.x] / sqrt(var[place.c] + eps);
  }
  __syncthreads();
  if (reader.idle) return;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    first[n] = sums[0][threadIdx.x % shape.columns * N + n];
    second[n] = sums[1][threadIdx.x % shape.columns * N + n];
  }
}

// ds = scale (g - sum g / rows - (s - mean) / var sum g (s - mean) / rows), and the gradients of weight and bias;
// without the last two terms where mean and variance are not the batch's. Reads the signal and the gradient once,
// writes one signal.
template <class T, int N>
__global__ void __launch_bounds__(kNormBlock, kNormResident)
    norm_gradient(const T* __restrict__ grad, const T* __restrict__ signal,
                  const device_accumulate_t<T>* __restrict__ weight, const device_accumulate_t<T>* __restrict__ bias,
                  const device_accumulate_t<T>* __restrict__ mean, const device_accumulate_t<T>* __restrict__ var,
                  double eps, bool relu, const device_accumulate_t<T>* __restrict__ partial, bool batch_statistics,
                  device_accumulate_t<T>* __restrict__ dweight, device_accumulate_t<T>* __restrict__ dbias,
                  T* __restrict__ ds, NormShape shape) {
  using V = device_accumulate_t<T>;
  const NormPlace<N> place(shape);
  V offset[N] = {}, slope[N] = {};
  if (batch_statistics || blockIdx.y == 0)
    join_gradients<V, N>(partial, place, shape, var, static_cast<V>(eps), dweight, dbias, offset, slope);
  if (place.idle) return;
  NormCoefficients<V, N> of;
  of.load(weight, bias, mean, var, static_cast<V>(eps), place.c);
#pragma unroll
  for (int n = 0; n < N; ++n) {
    offset[n] = batch_statistics ? offset[n] / V(shape.rows) : V(0);
    slope[n] = batch_statistics ? slope[n] * of.inverse[n] * of.inverse[n] / V(shape.rows) : V(0);
  }
  for_gradients<T, N>(place, shape, grad, signal, of, relu, [&](int64_t at, const V* s, const V* g) {
    Pack<T, N> result;
#pragma unroll
    for (int n = 0; n < N; ++n)
      result.v[n] = narrow<T>(of.scale[n] * (g[n] - offset[n] - slope[n] * (s[n] - of.mean[n])));
    *reinterpret_cast<Pack<T, N>*>(ds + at) = result;
  });
}

}  // namespace cheblienet
