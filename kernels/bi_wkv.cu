// Bi-WKV forward: one read of k and v, one exponential per token.
//
// A thread keeps RUN tokens in registers, a block keeps a tile of runs. Sums travel from
// runs to the block (shared memory), from blocks to the cluster (distributed shared
// memory) and, for sequences longer than a cluster, from cluster to cluster (memory, two
// launches: MODE 1, then MODE 2, which reads k and v again).

// y for the thread's run, from its own terms and what lies before and behind it.
__device__ __forceinline__ void walk(
    const Arguments& a, const Place& p, const Channel& c, Run& run, const Edges& edge,
    float (&y)[RUN][VECTOR]) {
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    const float decay = c.decay[q], bonus = c.bonus[q];
    float values = edge.future[q][0], weights = edge.future[q][1];
    float below[RUN];
#pragma unroll
    for (int i = RUN - 1; i >= 0; --i) {
      const float e = run.e[i][q], x = run.x[i][q];
#if SEGMENTED
      y[i][q] = fmaf(bonus, x, decay * values);
      below[i] = fmaf(bonus, e, decay * weights);
#else
      y[i][q] = fmaf(bonus, x, values);
      below[i] = fmaf(bonus, e, weights);
#endif
      values = fmaf(values, decay, x);
      weights = fmaf(weights, decay, e);
    }
    values = edge.past[q][0];
    weights = edge.past[q][1];
#if SEGMENTED
    float since[2] = {edge.since[q][0], edge.since[q][1]};
    float revived[2] = {edge.revived[q][0], edge.revived[q][1]};
    int left = (a.segment - p.first % a.segment) % a.segment;
    const float growth = c.growth[q], fade = c.rest[q], rest = -fade * growth;
#endif
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
      const float e = run.e[i][q], x = run.x[i][q];
#if SEGMENTED
      const bool cut = left == 0;
      left = cut ? a.segment - 1 : left - 1;
      since[0] = cut ? 0.0f : since[0];
      since[1] = cut ? 0.0f : since[1];
      revived[0] = cut ? 0.0f : fmaf(revived[0], growth, rest * x);
      revived[1] = cut ? 0.0f : fmaf(revived[1], growth, rest * e);
      const float above = fmaf(decay, values, fmaf(fade, since[0], revived[0])) + y[i][q];
      below[i] += fmaf(decay, weights, fmaf(fade, since[1], revived[1]));
      y[i][q] = above * reciprocal(below[i]);
      since[0] = fmaf(since[0], decay, x);
      since[1] = fmaf(since[1], decay, e);
#else
      y[i][q] = (y[i][q] + values) * reciprocal(below[i] + weights);
#endif
      values = fmaf(values, decay, x);
      weights = fmaf(weights, decay, e);
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) CLUSTERED
    bi_wkv(const Arguments a) {
  __shared__ Shared s;
  const Place p(a);
  Channel c;
  Run run;
  cluster_arrive();
  load_run(a, p, run.e, run.x);
  const bool steep = start(s, a, p, c);
  if (steep) {
    steep_forward(s, a, p);
    return;
  }
  sum_runs(s, a, p, c, run);
  if (!exchange(s, a, p, false)) return;
  const Edges edge = edges(s, a, p, c, run);
  float y[RUN][VECTOR];
  walk(a, p, c, run, edge, y);
  Element* to = a.y + p.offset;
#pragma unroll
  for (int i = 0; i < RUN; ++i)
    if (i < p.count) store(to + (size_t)i * a.channels, y[i]);
}
