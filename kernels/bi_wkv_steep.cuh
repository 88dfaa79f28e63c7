// Channels whose decay or bonus is too steep for one scale per block: log space.
//
// Slow (three exponentials per token and direction) and rare: networks start with decays
// of a few nats over the whole sequence. Scales are double, because differences of large
// exponents are what weights are made of. Arguments come by value: a reference would make
// every thread copy them to its stack and reach memory by generic addresses.

__device__ __forceinline__ Steep term(const Arguments& a, size_t at) {
  return {widen(a.v[at]), 1.0f, (double)widen(a.k[at]) * 1.4426950408889634};
}

// A run's scale. It lies in the place of the tile, which is not used here.
__device__ __forceinline__ float& run_scale(
    const Place& p, int kind, int run, int column) {
  return reinterpret_cast<float*>(staged)[(kind * p.runs + run) * COLUMNS + column];
}

__device__ __forceinline__ Steep from_shared(
    const Shared& s, const Place& p, int kind, int run, int column) {
  return {s.part[2 * kind][run][column], s.part[2 * kind + 1][run][column],
          (double)run_scale(p, kind, run, column)};
}

__device__ __forceinline__ void to_shared(
    Shared& s, const Place& p, int kind, int run, int column, Steep sum) {
  const Sum own = rounded(sum);
  s.part[2 * kind][run][column] = own.values;
  s.part[2 * kind + 1][run][column] = own.weights;
  run_scale(p, kind, run, column) = own.scale;
}

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
      const Steep own = from_shared(s, p, kind, run, column);
      to_shared(s, p, kind, run, column, sum);
      sum = joined(aged(sum, step), own);
    }
    const Sum all = rounded(sum);
    for (int block = 0; block < CLUSTER; ++block) {
      give(s, backwards, p.rank, 2 * kind, column, block, all.values);
      give(s, backwards, p.rank, 2 * kind + 1, column, block, all.weights);
      give(s, backwards, p.rank, SCALES + kind, column, block, all.scale);
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
    to_shared(s, p, PAST, p.run, column, past);
    to_shared(s, p, FUTURE, p.run, column, future);
  }
}

// What lies before (behind) the run of a thread, of one of its channels.
__device__ __forceinline__ Steep steep_edge(
    const Shared& s, const Place& p, int kind, int column, double w2) {
  const Steep inside = from_shared(s, p, kind, p.run, column);
  if (CLUSTER == 1 && MODE == 0) return inside;
  const int away = kind == PAST ? p.run * RUN : (p.runs - 1 - p.run) * RUN;
  const Steep carry = {s.carry[kind][0][column], s.carry[kind][1][column],
                       (double)s.carry[kind][2][column] - w2 * (double)away};
  return joined(inside, carry);
}

// Exchange sums between runs and blocks. False if this launch's work is then done.
__device__ __noinline__ bool steep_exchange(
    Shared& s, const Arguments& a, const Place& p, bool backwards) {
  __syncthreads();
  if (!backwards) cluster_wait();  // for the other blocks to have started
  steep_scan(s, a, p, backwards);
  cluster_arrive();
  cluster_wait();
  if (CLUSTER == 1) __syncthreads();
  if (MODE == 1) {
    publish(s, a, p);
    return false;
  }
  if (CLUSTER > 1 || MODE != 0) receive(s, a, p, backwards);
  __syncthreads();
  return true;
}

#if !BACKWARD
// The whole of the kernel for a block with steep channels.
__device__ __noinline__ void steep_forward(
    Shared& s, const Arguments a, const Place p) {
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
