// Sums over runs, blocks, clusters and parts of a sequence, shared by both directions
// of differentiation.
//
// "Past" is what lies before a place, decayed to it; "future" what lies behind it.
//   MODE       0 the cluster sees the whole sequence; 1 it sums its part, for a later
//              launch; 2 it takes the other parts' sums from memory (both only for the
//              published variant: the definition is streamed where it must be split)
//   BACKWARD   the kernel differentiates
//   SEGMENTED  1 for the published kernels' variant of the operator

enum { PAST, FUTURE, SINCE, REVIVED };  // the latter two only if SEGMENTED
#if SEGMENTED
#define KINDS 4
#else
#define KINDS 2
#endif
#define SCALES (2 * KINDS)  // slots of the scales of past and future
#define SLOTS (2 * KINDS + 2)

// Where a cluster sees the whole sequence, a block wants only the past of the blocks
// before it and the future of those behind it: half of all sums, and none of its own.
#define HALVED (MODE == 0 && !SEGMENTED)

struct Arguments {
  const float *w, *u;
  const Element *k, *v, *grad;
  Element *y, *gk, *gv;
  float *sums, *partial;
  int tokens, channels, splits, segment;
};

struct Place {
  int lane, run, runs, rank, split, tile, first, count, channel;
  size_t offset;  // of the thread's first token

  __device__ __forceinline__ explicit Place(const Arguments& a) {
    lane = threadIdx.x % LANES;
    run = threadIdx.x / LANES;
    runs = blockDim.x / LANES;
    rank = blockIdx.y % CLUSTER;
    split = blockIdx.y / CLUSTER;
    tile = runs * RUN;
    first = (int)blockIdx.y * tile + run * RUN;
    channel = ((int)blockIdx.x * LANES + lane) * VECTOR;
    count = channel < a.channels ? max(0, min(RUN, a.tokens - first)) : 0;
    offset = ((size_t)blockIdx.z * a.tokens + first) * a.channels + channel;
  }
};

extern __shared__ uint4 staged[];  // the block's tile

#define WIDTH (KINDS * COLUMNS)

#if HALVED
typedef float Totals[CLUSTER > 1 ? CLUSTER - 1 : 1][3][COLUMNS];
#else
typedef float Totals[CLUSTER][SLOTS][COLUMNS];
#endif

// Runs of one warp exchange sums by shuffles; their row has one entry in `part`.
#if SEGMENTED
#define ROW 1
#else
#define ROW (32 / LANES)
#endif

struct Shared {
  float part[SCALES][RUNS][COLUMNS];  // of each row; then what lies before it
  Totals total;                       // of the blocks of the cluster
#if BACKWARD
  Totals grad_total;
#endif
#if MODE != 0
  float outer[KINDS][3][COLUMNS];                     // what enters the cluster
  float found[3][WIDTH > THREADS ? WIDTH : THREADS];  // on the way to `outer`
#endif
  float carry[KINDS][3][COLUMNS];    // what enters this block
  float w2[COLUMNS], step[COLUMNS];  // decay per token (log2), per row (factor)
#if BACKWARD
  float scale[COLUMNS];  // of the block's sums, once carries are known
#endif
  int top[COLUMNS];  // largest key, as an ordered integer
#if SEGMENTED
  int cut[RUNS];  // does a segment begin in the run?
#endif
};

#if BACKWARD
#define TOTAL(shared, backwards, block) \
  ((backwards) ? (shared).grad_total[block] : (shared).total[block])
#else
#define TOTAL(shared, backwards, block) ((shared).total[block])
#endif

// Hand a total to a block of the cluster.
__device__ __forceinline__ void give(
    Shared& s, bool backwards, int rank, int slot, int column, int block, float sum) {
  int from = rank;
#if HALVED
  const int kind = slot < SCALES ? slot / 2 : slot - SCALES;
  if (kind == PAST ? block <= rank : block >= rank) return;
  from -= rank > block;
  slot = slot < SCALES ? slot % 2 : 2;
#endif
#if BACKWARD
  if (backwards) {
    PUSH(s, grad_total[from][slot][column], block, sum);
    return;
  }
#endif
  PUSH(s, total[from][slot][column], block, sum);
}

// Is a segment's first token among `count` ones from `first` on?
__device__ __forceinline__ bool begins(int first, int count, int segment) {
  return first == 0 || (first + count - 1) / segment != (first - 1) / segment;
}

// Replace the rows' sums by what lies before (behind) each row in this block, and give
// the totals to the first blocks of the cluster. All on one scale.
__device__ __forceinline__ void scan_runs(
    Shared& s, const Arguments& a, const Place& p, bool backwards, int blocks) {
  for (int x = threadIdx.x; x < 2 * KINDS * COLUMNS; x += blockDim.x) {
    const int slot = x / COLUMNS, column = x % COLUMNS;
    float factor = s.step[column], sum = 0.0f;
    if (slot / 2 == FUTURE) {
#pragma unroll 8
      for (int run = p.runs / ROW - 1; run >= 0; --run) {
        const float own = s.part[slot][run][column];
        s.part[slot][run][column] = sum;
        sum = fmaf(sum, factor, own);
      }
    } else {
#if SEGMENTED
      if (slot / 2 == REVIVED) factor = exp2_fast(s.w2[column] * RUN);
      const bool cut = slot / 2 >= SINCE;
#else
      const bool cut = false;
#endif
#pragma unroll 8
      for (int run = 0; run < p.runs / ROW; ++run) {
        const float own = s.part[slot][run][column];
        s.part[slot][run][column] = sum;
#if SEGMENTED
        if (cut && s.cut[run]) sum = 0.0f;
#endif
        sum = fmaf(sum, factor, own);
      }
      (void)cut;
    }
    for (int block = 0; block < blocks; ++block)
      give(s, backwards, p.rank, slot, column, block, sum);
  }
}

// One term of a sum over blocks or parts: its values, weights and scale, and how many
// tokens lie between it and the place it is summed at.
struct Term {
  float values, weights, scale;

  __device__ __forceinline__ Term(
      const float* from, size_t stride, int kind, float w2, int distance) {
    const int slot = HALVED ? 0 : 2 * kind, last = HALVED ? 2 : SCALES + (kind == FUTURE);
    values = from[slot * stride];
    weights = from[(slot + 1) * stride];
    scale = from[last * stride] - w2 * (float)distance;
  }

  __device__ __forceinline__ float size(bool backwards) const {
    return backwards ? scale + exponent(values, weights) : scale;
  }
};

__device__ __forceinline__ void add(Sum& sum, const Term& term) {
  const float factor = exp2_fast(fminf(term.scale - sum.scale, 127.0f));
  sum.values = fmaf(factor, term.values, sum.values);
  sum.weights = fmaf(factor, term.weights, sum.weights);
}

#if SEGMENTED
// Start of the segment that holds the token before `place`.
__device__ __forceinline__ int segment_start(int place, int segment) {
  return place == 0 ? 0 : (place - 1) / segment * segment;
}
#endif

// What enters the cluster's part of the sequence from the other parts, into `outer`:
// from the left at its left edge, from the right at its right edge. All threads read, a
// few parts each; then one per kind and channel joins what they found. Has a barrier.
#if MODE != 0
__device__ __forceinline__ void receive_parts(
    Shared& s, const Arguments& a, const Place& p) {
  const size_t stride = a.channels;
  const int groups = max(1, (int)blockDim.x / WIDTH);
  for (int x = threadIdx.x; x < groups * WIDTH; x += blockDim.x) {
    const int group = x / WIDTH, kind = x % WIDTH / COLUMNS, column = x % COLUMNS;
    const int channel = (int)blockIdx.x * COLUMNS + column;
    const bool past = kind != FUTURE;
    const int tokens = CLUSTER * p.tile;
    int first = past ? 0 : p.split + 1, end = past ? p.split : a.splits;
    if (channel >= a.channels) first = end;
#if SEGMENTED
    if (kind >= SINCE)
      first = min(end, max(first, segment_start(p.split * tokens, a.segment) / tokens));
#endif
    float w2 = channel < a.channels ? a.w[channel] * LOG2E : 0.0f;
    if (kind == REVIVED) w2 = -w2;
    const float* parts = a.sums +
                         (size_t)blockIdx.z * a.splits * SLOTS * stride + channel;
    Sum sum = {0.0f, 0.0f, EMPTY};
#pragma unroll 4
    for (int j = first + group; j < end; j += groups) {
      const int distance = (past ? p.split - 1 - j : j - p.split - 1) * tokens;
      const Term term(parts + j * SLOTS * stride, stride, kind, w2, distance);
      sum.scale = fmaxf(sum.scale, term.scale);
    }
#pragma unroll 4
    for (int j = first + group; j < end; j += groups) {
      const int distance = (past ? p.split - 1 - j : j - p.split - 1) * tokens;
      add(sum, Term(parts + j * SLOTS * stride, stride, kind, w2, distance));
    }
    s.found[0][x] = sum.values;
    s.found[1][x] = sum.weights;
    s.found[2][x] = sum.scale;
  }
  __syncthreads();
  for (int x = threadIdx.x; x < WIDTH; x += blockDim.x) {
    const int kind = x / COLUMNS, column = x % COLUMNS;
    Sum sum = {0.0f, 0.0f, EMPTY};
    for (int group = 0; group < groups; ++group)
      sum.scale = fmaxf(sum.scale, s.found[2][group * WIDTH + x]);
    for (int group = 0; group < groups; ++group) {
      const int at = group * WIDTH + x;
      const float factor = exp2_fast(s.found[2][at] - sum.scale);
      sum.values = fmaf(factor, s.found[0][at], sum.values);
      sum.weights = fmaf(factor, s.found[1][at], sum.weights);
    }
    if (kind < SINCE) normalise(sum);
    s.outer[kind][0][column] = sum.values;
    s.outer[kind][1][column] = sum.weights;
    s.outer[kind][2][column] = sum.scale;
  }
}
#else
__device__ __forceinline__ void receive_parts(
    Shared&, const Arguments&, const Place&) {}
#endif

// Sum of what reaches an edge: the left edge of block `edge` from the left (PAST and
// its kin), or its right edge from the right; also from other parts, if `parts`.
__device__ __forceinline__ Sum gather(
    const Shared& s, const Arguments& a, const Place& p, bool backwards, int kind,
    int column, int edge, bool parts) {
  const bool past = kind != FUTURE;
  float w2 = s.w2[column];
  if (kind == REVIVED) w2 = -w2;
  int first = past ? 0 : edge + 1, end = past ? edge : CLUSTER;
#if SEGMENTED
  if (kind >= SINCE) {
    const int part = p.split * CLUSTER * p.tile, place = part + edge * p.tile;
    const int start = segment_start(place, a.segment);
    first = place == 0 ? end : min(end, max(first, (start - part) / p.tile));
    if (start >= part) parts = false;
  }
#endif
  const size_t stride = COLUMNS;
  Sum sum = {0.0f, 0.0f, EMPTY}, outer = sum;
#if MODE != 0
  if (parts) {
    const int inside = past ? edge * p.tile : (CLUSTER - 1 - edge) * p.tile;
    outer.values = s.outer[kind][0][column];
    outer.weights = s.outer[kind][1][column];
    outer.scale = s.outer[kind][2][column] - w2 * (float)inside;
    sum.scale = fmaxf(sum.scale, outer.scale);
  }
#endif
#pragma unroll 4
  for (int j = first; j < end; ++j) {
    const int distance = (past ? edge - 1 - j : j - edge - 1) * p.tile;
    const float* from = &TOTAL(s, backwards, HALVED ? j - (j > edge) : j)[0][column];
    sum.scale = fmaxf(sum.scale, Term(from, stride, kind, w2, distance).size(backwards));
  }
#pragma unroll 4
  for (int j = first; j < end; ++j) {
    const int distance = (past ? edge - 1 - j : j - edge - 1) * p.tile;
    const float* from = &TOTAL(s, backwards, HALVED ? j - (j > edge) : j)[0][column];
    add(sum, Term(from, stride, kind, w2, distance));
  }
  const float factor = exp2_fast(outer.scale - sum.scale);
  sum.values = fmaf(factor, outer.values, sum.values);
  sum.weights = fmaf(factor, outer.weights, sum.weights);
  if (!backwards && kind < SINCE) normalise(sum);
  return sum;
}

// MODE 1: hand the cluster's sums to the other parts through memory.
__device__ __forceinline__ void publish(
    const Shared& s, const Arguments& a, const Place& p) {
  if (p.rank != 0) return;
  for (int x = threadIdx.x; x < KINDS * COLUMNS; x += blockDim.x) {
    const int kind = x / COLUMNS, column = x % COLUMNS;
    const int channel = (int)blockIdx.x * COLUMNS + column;
    if (channel >= a.channels) continue;
    Sum sum = gather(s, a, p, false, kind, column, kind == FUTURE ? -1 : CLUSTER, false);
    float* to = a.sums +
                (((size_t)blockIdx.z * a.splits + p.split) * SLOTS) * a.channels + channel;
#if SEGMENTED
    // one scale for all that looks back
    if (kind >= SINCE) {
      const float shift =
          exp2_fast(sum.scale - gather(s, a, p, false, PAST, column, CLUSTER, false).scale);
      sum.values *= shift;
      sum.weights *= shift;
    }
#endif
    to[(size_t)2 * kind * a.channels] = sum.values;
    to[(size_t)(2 * kind + 1) * a.channels] = sum.weights;
    if (kind < SINCE) to[(size_t)(SCALES + kind) * a.channels] = sum.scale;
  }
}

// What enters this block, into `carry`.
__device__ __forceinline__ void receive(
    Shared& s, const Arguments& a, const Place& p, bool backwards) {
  for (int x = threadIdx.x; x < KINDS * COLUMNS; x += blockDim.x) {
    const int kind = x / COLUMNS, column = x % COLUMNS;
    const Sum sum = gather(s, a, p, backwards, kind, column, p.rank, MODE == 2);
    s.carry[kind][0][column] = sum.values;
    s.carry[kind][1][column] = sum.weights;
    s.carry[kind][2][column] = sum.scale;
  }
}
