// The pieces of the forward pass that the backward pass repeats.

// Keys and values of a thread's run; weights exp(k - top) take the keys' place.
struct Run {
  float e[RUN][VECTOR], x[RUN][VECTOR];  // weights; weighted values
};

struct Channel {  // per channel of a thread
  float w2[VECTOR], decay[VECTOR], bonus[VECTOR], top[VECTOR];
#if SEGMENTED
  float growth[VECTOR], rest[VECTOR];  // 1 / decay; 1 - decay
#endif
};

// Sums before the first and behind the last token of a run, values and weights.
struct Edges {
  float past[VECTOR][2], future[VECTOR][2];
#if SEGMENTED
  float since[VECTOR][2], revived[VECTOR][2];
#endif
};

// Decay and bonus of the thread's channels. True if they are too steep for the linear
// form somewhere in the block. Ends with a barrier.
__device__ __forceinline__ bool start(
    Shared& s, const Arguments& a, const Place& p, Channel& c) {
  bool steep = false;
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    const bool real = p.channel < a.channels;
    const float w = real ? a.w[p.channel + q] : 0.0f;
    const float u = real ? a.u[p.channel + q] : 0.0f;
    c.w2[q] = w * LOG2E;
    c.decay[q] = power(w, 1);
    c.bonus[q] = exp2_fast(u * LOG2E);
#if SEGMENTED
    c.growth[q] = power(-w, 1);
    c.rest[q] = -expm1f(-w);
#else
    steep |= fabsf(w) * (float)p.tile > STEEPEST || fabsf(u) > BONUS_LIMIT;
#if BACKWARD
    // Where weights grow with distance, a token may count only far away, where
    // denominators are on quite another scale than around it.
    steep |= -w * (float)a.tokens > STEEPEST;
#endif
#endif
    if (p.run == 0) {
      const int column = p.lane * VECTOR + q;
      s.w2[column] = c.w2[q];
      s.step[column] = power(w, RUN);
      s.top[column] = ordered(EMPTY);
    }
  }
  return __syncthreads_or(steep);
}

__device__ __forceinline__ void load_run(
    const Arguments& a, const Place& p, float (&k)[RUN][VECTOR], float (&v)[RUN][VECTOR]) {
  const Element *keys = a.k + p.offset, *values = a.v + p.offset;
#pragma unroll
  for (int i = 0; i < RUN; ++i) {
    if (i < p.count) {
      load(keys + (size_t)i * a.channels, k[i]);
      load(values + (size_t)i * a.channels, v[i]);
    } else {
#pragma unroll
      for (int q = 0; q < VECTOR; ++q) k[i][q] = NOTHING, v[i][q] = 0.0f;
    }
  }
}

// The block's largest key per channel, then each token's weight and the runs' sums.
__device__ __forceinline__ void sum_runs(
    Shared& s, const Arguments& a, const Place& p, Channel& c, Run& run) {
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    float top = run.e[0][q];
#pragma unroll
    for (int i = 1; i < RUN; ++i) top = fmaxf(top, run.e[i][q]);
    atomicMax(&s.top[p.lane * VECTOR + q], ordered(top));
  }
  __syncthreads();
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    const int column = p.lane * VECTOR + q;
    c.top[q] = fmaxf(unordered(s.top[column]) * LOG2E, EMPTY);
    const float decay = c.decay[q];
    float past[2] = {}, future[2] = {};
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
      run.e[i][q] = exp2_fast(fmaf(run.e[i][q], LOG2E, -c.top[q]));
      run.x[i][q] *= run.e[i][q];
      past[0] = fmaf(past[0], decay, run.x[i][q]);
      past[1] = fmaf(past[1], decay, run.e[i][q]);
    }
#pragma unroll
    for (int i = RUN - 1; i >= 0; --i) {
      future[0] = fmaf(future[0], decay, run.x[i][q]);
      future[1] = fmaf(future[1], decay, run.e[i][q]);
    }
    s.part[2 * PAST][p.run][column] = past[0];
    s.part[2 * PAST + 1][p.run][column] = past[1];
    s.part[2 * FUTURE][p.run][column] = future[0];
    s.part[2 * FUTURE + 1][p.run][column] = future[1];
#if SEGMENTED
    float since[2] = {}, revived[2] = {};
    int left = (a.segment - p.first % a.segment) % a.segment;  // to the next start
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
      const bool cut = left == 0;
      left = cut ? a.segment - 1 : left - 1;
      const float growth = c.growth[q], rest = -c.rest[q] * growth;  // 1 - e^w
      since[0] = cut ? run.x[i][q] : fmaf(since[0], decay, run.x[i][q]);
      since[1] = cut ? run.e[i][q] : fmaf(since[1], decay, run.e[i][q]);
      revived[0] = cut ? 0.0f : fmaf(revived[0], growth, rest * run.x[i][q]);
      revived[1] = cut ? 0.0f : fmaf(revived[1], growth, rest * run.e[i][q]);
    }
    s.part[2 * SINCE][p.run][column] = since[0];
    s.part[2 * SINCE + 1][p.run][column] = since[1];
    s.part[2 * REVIVED][p.run][column] = revived[0];
    s.part[2 * REVIVED + 1][p.run][column] = revived[1];
#endif
  }
}

// Exchange sums between runs and blocks. False if this launch's work is then done.
__device__ __forceinline__ bool exchange(
    Shared& s, const Arguments& a, const Place& p, bool backwards) {
  __syncthreads();
  if (!backwards) cluster_wait();  // for the other blocks to have started
  const int blocks = LAST(backwards) ? 1 : CLUSTER;
  scan_runs(s, a, p, backwards, blocks);
  for (int x = threadIdx.x; x < 2 * COLUMNS; x += blockDim.x) {
    const int column = x % COLUMNS;
    const float scale = backwards ? -s.scale[column]
                                  : fmaxf(unordered(s.top[column]) * LOG2E, EMPTY);
    for (int block = 0; block < blocks; ++block)
      give(s, backwards, p.rank, SCALES + x / COLUMNS, column, block, scale);
  }
  cluster_arrive();
  cluster_wait();
  if (CLUSTER == 1) __syncthreads();
  if (LAST(backwards)) {
    publish(s, a, p, backwards);
    return false;
  }
  if (CLUSTER > 1 || MODE != 0) {
    receive(s, a, p, backwards);
    __syncthreads();
  }
  return true;
}

// What lies before and behind the thread's run; rescales block and carries to a common
// scale, top. Carries far above the block's own scale make its own terms smaller.
__device__ __forceinline__ Edges edges(
    Shared& s, const Arguments& a, const Place& p, Channel& c, Run& run) {
  Edges edge;
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    const int column = p.lane * VECTOR + q;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      edge.past[q][n] = s.part[2 * PAST + n][p.run][column];
      edge.future[q][n] = s.part[2 * FUTURE + n][p.run][column];
#if SEGMENTED
      edge.since[q][n] = s.part[2 * SINCE + n][p.run][column];
      edge.revived[q][n] = s.part[2 * REVIVED + n][p.run][column];
#endif
    }
    if (CLUSTER == 1 && MODE == 0) continue;
    const float own = c.top[q];
    const float before = s.carry[PAST][2][column], behind = s.carry[FUTURE][2][column];
    const float top = fmaxf(own, fmaxf(before, behind) - HEADROOM);
    if (top != own) {
      const float shrink = exp2_fast(own - top);
#pragma unroll
      for (int i = 0; i < RUN; ++i) run.e[i][q] *= shrink, run.x[i][q] *= shrink;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        edge.past[q][n] *= shrink;
        edge.future[q][n] *= shrink;
#if SEGMENTED
        edge.since[q][n] *= shrink;
        edge.revived[q][n] *= shrink;
#endif
      }
      c.top[q] = top;
    }
    const float gone = (float)(p.run * RUN);
    const float ahead = (float)((p.runs - 1 - p.run) * RUN);
    const float from_before = exp2_fast(before - top - c.w2[q] * gone);
    const float from_behind = exp2_fast(behind - top - c.w2[q] * ahead);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      edge.past[q][n] = fmaf(from_before, s.carry[PAST][n][column], edge.past[q][n]);
      edge.future[q][n] = fmaf(from_behind, s.carry[FUTURE][n][column], edge.future[q][n]);
    }
#if SEGMENTED
    const int begin = p.first - p.run * RUN;  // of the block
    if (p.run == 0 || !begins(begin, p.run * RUN, a.segment)) {
      const float since = exp2_fast(s.carry[SINCE][2][column] - top - c.w2[q] * gone);
      const float revived = exp2_fast(s.carry[REVIVED][2][column] - top + c.w2[q] * gone);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        edge.since[q][n] = fmaf(since, s.carry[SINCE][n][column], edge.since[q][n]);
        edge.revived[q][n] =
            fmaf(revived, s.carry[REVIVED][n][column], edge.revived[q][n]);
      }
    }
#endif
  }
#if BACKWARD
#pragma unroll
  for (int q = 0; q < VECTOR; ++q)
    if (p.run == 0) s.scale[p.lane * VECTOR + q] = c.top[q];
#endif
  return edge;
}
