// Channels whose decay or bonus is too steep for one scale per block: log space.
//
// Slow (three exponentials per token and direction) and rare: networks start with decays
// of a few nats over the whole sequence. Scales are double, because differences of large
// exponents are what weights are made of.

struct Steep {
  float values, weights;
  double scale;
};

// sum + (values, weights) * 2^scale
__device__ __forceinline__ Steep joined(Steep a, Steep b) {
  const double top = a.scale > b.scale ? a.scale : b.scale;
  const float left = exp2_fast((float)(a.scale - top));
  const float right = exp2_fast((float)(b.scale - top));
  return {left * a.values + right * b.values, left * a.weights + right * b.weights, top};
}

__device__ __forceinline__ Steep aged(Steep a, double w2) {
  a.scale -= w2;
  return a;
}

__device__ __forceinline__ Steep term(const Arguments& a, size_t at) {
  return {widen(a.v[at]), 1.0f, (double)widen(a.k[at]) * 1.4426950408889634};
}

__device__ __forceinline__ Steep from_shared(
    const float (*part)[RUNS][COLUMNS], int kind, int run, int column) {
  return {part[2 * kind][run][column], part[2 * kind + 1][run][column],
          (double)part[SCALES + kind][run][column]};
}

__device__ __forceinline__ void to_shared(
    float (*part)[RUNS][COLUMNS], int kind, int run, int column, Steep sum) {
  const float scale = (float)sum.scale;
  const float rounding = exp2_fast((float)(sum.scale - (double)scale));
  part[2 * kind][run][column] = sum.values * rounding;
  part[2 * kind + 1][run][column] = sum.weights * rounding;
  part[SCALES + kind][run][column] = scale;
}

__device__ __forceinline__ Steep nothing() { return {0.0f, 0.0f, (double)EMPTY}; }

// Exclusive sums over the block's runs, in log space; totals to all blocks.
__device__ __noinline__ void steep_scan(
    Shared& s, const Arguments& a, const Place& p, bool backwards) {
  for (int x = threadIdx.x; x < 2 * COLUMNS; x += blockDim.x) {
    const int kind = x / COLUMNS, column = x % COLUMNS;
    const int channel = (int)blockIdx.x * COLUMNS + column;
    const double w = channel < a.channels ? (double)a.w[channel] : 0.0;
    const double step = w * 1.4426950408889634 * RUN;
    Steep sum = nothing();
    for (int i = 0; i < p.runs; ++i) {
      const int run = kind == PAST ? i : p.runs - 1 - i;
      const Steep own = from_shared(s.part, kind, run, column);
      to_shared(s.part, kind, run, column, sum);
      sum = joined(aged(sum, step), own);
    }
    const float scale = (float)sum.scale;
    const float rounding = exp2_fast((float)(sum.scale - (double)scale));
    for (int block = 0; block < CLUSTER; ++block) {
      give(s, backwards, p.rank, 2 * kind, column, block, sum.values * rounding);
      give(s, backwards, p.rank, 2 * kind + 1, column, block, sum.weights * rounding);
      give(s, backwards, p.rank, SCALES + kind, column, block, scale);
    }
  }
}

__device__ __noinline__ void steep_runs(Shared& s, const Arguments& a, const Place& p) {
#pragma unroll 1
  for (int q = 0; q < VECTOR; ++q) {
    const int column = p.lane * VECTOR + q;
    const double w2 = p.channel < a.channels
                          ? (double)a.w[p.channel + q] * 1.4426950408889634
                          : 0.0;
    Steep past = nothing(), future = nothing();
#pragma unroll 1
    for (int i = 0; i < RUN; ++i) {
      past.scale -= w2;
      if (i < p.count)
        past = joined(past, term(a, p.offset + (size_t)i * a.channels + q));
    }
#pragma unroll 1
    for (int i = p.count - 1; i >= 0; --i)
      future =
          joined(aged(future, w2), term(a, p.offset + (size_t)i * a.channels + q));
    to_shared(s.part, PAST, p.run, column, past);
    to_shared(s.part, FUTURE, p.run, column, future);
  }
}

// What lies before (behind) the run of a thread, of one of its channels.
__device__ __forceinline__ Steep steep_edge(
    const Shared& s, const Place& p, int kind, int column, double w2) {
  const Steep inside = from_shared(s.part, kind, p.run, column);
  if (CLUSTER == 1 && MODE == 0) return inside;
  const int away = kind == PAST ? p.run * RUN : (p.runs - 1 - p.run) * RUN;
  const Steep carry = {s.carry[kind][0][column], s.carry[kind][1][column],
                       (double)s.carry[kind][2][column] - w2 * (double)away};
  return joined(inside, carry);
}

// Exchange sums between runs and blocks. False if this launch's work is then done.
__device__ __noinline__ bool steep_exchange(
    Shared& s, const Arguments& a, const Place& p, bool backwards) {
  if (backwards && PARTS(true)) receive_parts(s, a, p, true);
  __syncthreads();
  if (!backwards) cluster_wait();  // for the other blocks to have started
  steep_scan(s, a, p, backwards);
  cluster_arrive();
  cluster_wait();
  if (CLUSTER == 1) __syncthreads();
  if (LAST(backwards)) {
    publish(s, a, p, backwards);
    return false;
  }
  if (CLUSTER > 1 || MODE != 0) receive(s, a, p, backwards);
  __syncthreads();
  return true;
}

#if !BACKWARD
// The whole of the kernel for a block with steep channels.
__device__ __noinline__ void steep_forward(Shared& s, const Arguments& a, const Place& p) {
  steep_runs(s, a, p);
  if (!steep_exchange(s, a, p, false)) return;
#pragma unroll 1
  for (int q = 0; q < VECTOR; ++q) {
    if (p.count == 0) break;
    const int column = p.lane * VECTOR + q;
    const double w2 = (double)a.w[p.channel + q] * 1.4426950408889634;
    const double u2 = (double)a.u[p.channel + q] * 1.4426950408889634;
    Steep behind[RUN];
    Steep sum = steep_edge(s, p, FUTURE, column, w2);
#pragma unroll 1
    for (int i = RUN - 1; i >= 0; --i) {
      if (i < p.count) behind[i] = sum;
      sum.scale -= w2;
      if (i < p.count)
        sum = joined(sum, term(a, p.offset + (size_t)i * a.channels + q));
    }
    sum = steep_edge(s, p, PAST, column, w2);
#pragma unroll 1
    for (int i = 0; i < p.count; ++i) {
      const size_t at = p.offset + (size_t)i * a.channels + q;
      const Steep own = term(a, at);
      const Steep all = joined(joined(sum, behind[i]), aged(own, -u2));
      a.y[at] = narrow(all.values / all.weights);
      sum = joined(aged(sum, w2), own);
    }
  }
}
#endif
