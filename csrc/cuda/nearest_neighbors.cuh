// Nearest neighbours on a group, without the framework: nvcc compiles them for the package, a simulator may run their
// PTX.
//
// A warp serves one element. Its lanes bound the distances to 32 candidates at once; candidates within the limit wait
// in shared memory until 32 of them are measured together, so that the logarithm runs in full warps. The nearest are
// kept sorted by (distance, vertex) in registers across the lanes, 32 to a row. All arithmetic is float64: a bound in
// float32 would have to allow for cancellation between large coordinates, and there is little to save. An element of
// SE(2) with 16 neighbours takes 4e4 operations, so that a million take 0.1 s where a GPU does only 5e11 a second.
#pragma once
#include "element_tree.cuh"
#include "warp_list.cuh"

namespace cheblienet {

constexpr int kWarpsPerBlock = 4;
constexpr int kBlocksPerProcessor = 4;  // at most 128 registers a thread: nothing is spilled

struct WarpLaunch {
  unsigned grid, block;
};
// One warp for each of `items`: below 2^31 blocks for every 32-bit vertex number.
CHEBLIENET_HD WarpLaunch warp_launch(int64_t items) {
  return {static_cast<unsigned>((items + kWarpsPerBlock - 1) / kWarpsPerBlock), kWarpsPerBlock * kWarp};
}

// Up to so many elements are compared each with each: at most twice the work of a search, without sort and tree.
constexpr int64_t kAllPairs = 2048;

// Shared memory of one warp: candidates within the limit that are yet to be measured.
template <class Group>
struct Waiting {
  static constexpr int numbers = Record<Group>::numbers, capacity = 2 * kWarp;
  double number[numbers][capacity];
  int vertex[capacity];
};

// The nearest to one element among those offered. `after` names the last entry of the pass before: only entries behind
// it count.
template <class Group, int rows>
struct Selection {
  using Element = typename Group::Element;
  static constexpr int numbers = Record<Group>::numbers;
  static constexpr double margin = 1 - 1e-9;  // bounds are rounded themselves

  const Element element;
  const Metric<double> metric;
  Waiting<Group>& queue;
  const int lane, wanted;
  const double after_distance;
  const int after_vertex;
  WarpList<rows> nearest;
  double limit = INFINITY;
  int waiting = 0;

  __device__ __forceinline__ Selection(const Element& element, const Metric<double>& metric, Waiting<Group>& queue,
                                       int64_t wanted, double after_distance, int after_vertex)
      : element(element),
        metric(metric),
        queue(queue),
        lane(threadIdx.x % kWarp),
        wanted(wanted < rows * kWarp ? static_cast<int>(wanted) : rows * kWarp),
        after_distance(after_distance),
        after_vertex(after_vertex) {
    nearest.clear();
  }

  __device__ __forceinline__ bool rejects(double bound) const { return bound * margin > limit; }

  // One candidate for each lane where `real`; vertex() is its number.
  template <class Vertex>
  __device__ __forceinline__ void offer(bool real, const Element& candidate, const Vertex& vertex) {
    const bool near = real && !rejects(Group::lower_bound(element, candidate, metric));
    const unsigned those = __ballot_sync(kAllLanes, near);
    if (near) {
      const int slot = waiting + __popc(those & ((1u << lane) - 1));
      double number[numbers];
      memcpy(number, &candidate, sizeof candidate);
#pragma unroll
      for (int c = 0; c < numbers; ++c) queue.number[c][slot] = number[c];
      queue.vertex[slot] = vertex();
    }
    waiting += __popc(those);
    // Without a limit yet, waiting would let everything pass.
    while (waiting >= kWarp || (waiting > 0 && limit == INFINITY)) measure();
  }

  // Measures up to 32 of those that wait.
  __device__ __forceinline__ void measure() {
    const int count = waiting < kWarp ? waiting : kWarp;
    waiting -= count;
    __syncwarp();
    bool open = lane < count;
    double d = INFINITY;
    int v = kNoVertex;
    if (open) {
      double number[numbers];
#pragma unroll
      for (int c = 0; c < numbers; ++c) number[c] = queue.number[c][waiting + lane];
      Element candidate;
      memcpy(&candidate, number, sizeof candidate);
      v = queue.vertex[waiting + lane];
      d = Group::squared_distance(element, candidate, metric);
      open = precedes(after_distance, after_vertex, d, v);
    }
    __syncwarp();
    unsigned those;
    while ((those = __ballot_sync(kAllLanes, open && !(d > limit))) != 0) {
      const int source = __ffs(those) - 1;
      nearest.insert(__shfl_sync(kAllLanes, d, source), __shfl_sync(kAllLanes, v, source), lane);
      limit = nearest.distance_at(wanted - 1);
      if (lane == source) open = false;
    }
  }

  __device__ __forceinline__ void finish() {
    while (waiting > 0) measure();
  }
};

// Calls search(selection) in as many passes as it takes to list the k + 1 nearest, and writes what they make.
template <class Group, int rows, class Search>
__device__ __forceinline__ void select_nearest(const typename Group::Element& element, const Metric<double>& metric,
                                               Waiting<Group>& queue, bool writes, int64_t row, const Neighborhoods& to,
                                               const Search& search) {
  const int lane = threadIdx.x % kWarp;
  const int64_t count = to.k + 1;
  double after_distance = -INFINITY;
  int after_vertex = -1;
  for (int64_t base = 0; base < count; base += rows * kWarp) {
    Selection<Group, rows> selection(element, metric, queue, count - base, after_distance, after_vertex);
    search(selection);
    selection.finish();
    if (in_one_pass(to.k)) {
      if (writes) write_shells(selection.nearest, lane, row, to);
      return;
    }
#pragma unroll
    for (int r = 0; r < rows; ++r) {
      const int64_t entry = base + r * kWarp + lane;
      if (writes && entry < count) {
        to.distance[row * count + entry] = selection.nearest.distance[r];
        to.vertex[row * count + entry] = selection.nearest.vertex[r];
      }
    }
    after_distance = __shfl_sync(kAllLanes, selection.nearest.distance[rows - 1], kWarp - 1);
    after_vertex = __shfl_sync(kAllLanes, selection.nearest.vertex[rows - 1], kWarp - 1);
  }
}

// One warp per element of a tree; what it finds goes to row order[position]. Reads the boxes of the nodes it descends
// to and the records of the leaves it visits.
template <class Group, int rows>
__global__ void __launch_bounds__(kWarpsPerBlock* kWarp, kBlocksPerProcessor)
    nearest_in_tree(const double* __restrict__ records, const double* __restrict__ boxes,
                    const int64_t* __restrict__ order, const double* __restrict__ sigmas, int64_t* __restrict__ index,
                    double* __restrict__ sqdist, double* __restrict__ distance, int* __restrict__ vertex,
                    int64_t vertices, int64_t k) {
  using R = Record<Group>;
  __shared__ Waiting<Group> queues[kWarpsPerBlock];
  __shared__ Pending pending[kWarpsPerBlock];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t own = blockIdx.x * int64_t(kWarpsPerBlock) + warp;
  if (own >= vertices) return;
  const Metric<double> metric{sigmas[0], sigmas[1], sigmas[2]};
  double at[R::dimensions];
  R::embedding(records, own, at);
  const auto search = [&](auto& selection) {
    const auto rejects = [&](double bound) { return selection.rejects(bound); };
    tree_search<Group>(boxes, vertices, at, own / kWarp, metric, pending[warp], rejects, [&](int64_t leaf) {
      const int64_t position = leaf * kWarp + lane;  // records are padded: all lanes may read
      selection.offer(position < vertices && position != own, R::element(records, position),
                      [&] { return static_cast<int>(order[position]); });
    });
  };
  select_nearest<Group, rows>(R::element(records, own), metric, queues[warp], true, order[own],
                              {index, sqdist, distance, vertex, vertices, k}, search);
}

// One warp per element, every candidate for each: a block reads them once, 128 at a time, into shared memory.
template <class Group, int rows>
__global__ void __launch_bounds__(kWarpsPerBlock* kWarp, kBlocksPerProcessor)
    nearest_of_all(const double* __restrict__ records, const double* __restrict__ sigmas, int64_t* __restrict__ index,
                   double* __restrict__ sqdist, double* __restrict__ distance, int* __restrict__ vertex,
                   int64_t vertices, int64_t k) {
  using R = Record<Group>;
  __shared__ Waiting<Group> queues[kWarpsPerBlock];
  __shared__ double tile[R::numbers][kWarpsPerBlock * kWarp];
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int64_t item = blockIdx.x * int64_t(kWarpsPerBlock) + warp;
  const int64_t own = item < vertices ? item : vertices - 1;  // warps beyond the last element only help to read
  const Metric<double> metric{sigmas[0], sigmas[1], sigmas[2]};
  const auto search = [&](auto& selection) {
    for (int64_t begin = 0; begin < vertices; begin += blockDim.x) {
      const int64_t mine = begin + threadIdx.x;
      if (mine < padded(vertices)) {
#pragma unroll
        for (int c = 0; c < R::numbers; ++c) tile[c][threadIdx.x] = records[component_at<R::components>(mine, c)];
      }
      __syncthreads();
      for (int part = 0; part < kWarpsPerBlock && begin + part * kWarp < vertices; ++part) {
        const int64_t position = begin + part * kWarp + lane;
        double number[R::numbers];
#pragma unroll
        for (int c = 0; c < R::numbers; ++c) number[c] = tile[c][part * kWarp + lane];
        typename Group::Element candidate;
        memcpy(&candidate, number, sizeof candidate);
        selection.offer(position < vertices && position != own, candidate, [&] { return static_cast<int>(position); });
      }
      __syncthreads();
    }
  };
  select_nearest<Group, rows>(R::element(records, own), metric, queues[warp], item < vertices, own,
                              {index, sqdist, distance, vertex, vertices, k}, search);
}

}  // namespace cheblienet
