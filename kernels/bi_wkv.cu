// Bi-WKV forward: one read of k and v while a sequence fits a cluster.
//
// A block keeps a tile of tokens in shared memory; each thread sums a run of them. Sums
// travel from runs to rows (shuffles), to the block (shared memory), to the cluster
// (distributed shared memory) and, for sequences longer than a cluster, from cluster to
// cluster (memory, two launches: MODE 1, then MODE 2, which reads k and v again).

// y of one piece, from what lies before it (past, moved to its end) and behind it.
__device__ __forceinline__ void walk(
    const Channel& c, int q, const float (&e)[PIECE][VECTOR],
    const float (&x)[PIECE][VECTOR], float (&past)[2], const float (&future)[2],
    float (&y)[PIECE][VECTOR]) {
  const float decay = c.decay[q], bonus = c.bonus[q];
  float values = future[0], weights = future[1], below[PIECE];
#pragma unroll
  for (int i = PIECE - 1; i >= 0; --i) {
    y[i][q] = fmaf(bonus, x[i][q], values);
    below[i] = fmaf(bonus, e[i][q], weights);
    values = fmaf(values, decay, x[i][q]);
    weights = fmaf(weights, decay, e[i][q]);
  }
#pragma unroll
  for (int i = 0; i < PIECE; ++i) {
    y[i][q] = (y[i][q] + past[0]) * reciprocal(below[i] + past[1]);
    past[0] = fmaf(past[0], decay, x[i][q]);
    past[1] = fmaf(past[1], decay, e[i][q]);
  }
}

#if SEGMENTED
// The same for the published variant, in which past and future decay by one more step
// across a segment's start, and revived terms are taken away.
__device__ __forceinline__ void walk_segmented(
    const Channel& c, int q, const float (&e)[PIECE][VECTOR],
    const float (&x)[PIECE][VECTOR], Edges& edge, const float (&future)[2], int left,
    int segment, float (&y)[PIECE][VECTOR]) {
  const float decay = c.decay[q], bonus = c.bonus[q], growth = c.growth[q];
  const float fade = c.rest[q], rest = -fade * growth;
  float(&past)[2] = edge.past[q], (&since)[2] = edge.since[q];
  float(&revived)[2] = edge.revived[q];
  float values = future[0], weights = future[1], below[PIECE];
#pragma unroll
  for (int i = PIECE - 1; i >= 0; --i) {
    y[i][q] = fmaf(bonus, x[i][q], decay * values);
    below[i] = fmaf(bonus, e[i][q], decay * weights);
    values = fmaf(values, decay, x[i][q]);
    weights = fmaf(weights, decay, e[i][q]);
  }
#pragma unroll
  for (int i = 0; i < PIECE; ++i) {
    const bool cut = left == 0;
    left = cut ? segment - 1 : left - 1;
    since[0] = cut ? 0.0f : since[0];
    since[1] = cut ? 0.0f : since[1];
    revived[0] = cut ? 0.0f : fmaf(revived[0], growth, rest * x[i][q]);
    revived[1] = cut ? 0.0f : fmaf(revived[1], growth, rest * e[i][q]);
    y[i][q] += fmaf(decay, past[0], fmaf(fade, since[0], revived[0]));
    below[i] += fmaf(decay, past[1], fmaf(fade, since[1], revived[1]));
    y[i][q] *= reciprocal(below[i]);
    since[0] = fmaf(since[0], decay, x[i][q]);
    since[1] = fmaf(since[1], decay, e[i][q]);
    past[0] = fmaf(past[0], decay, x[i][q]);
    past[1] = fmaf(past[1], decay, e[i][q]);
  }
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) CLUSTERED
    bi_wkv(const Arguments a) {
  __shared__ Shared s;
  const Place p(a);
  Channel c;
  Edges edge;
  cluster_arrive();
  Word* keys = reinterpret_cast<Word*>(staged);
  const Word* values = keys + Stage::words(p);
  stage_tiles(a, p, {a.k, a.v}, keys);
  if (MODE == 2) receive_parts(s, a, p);
  if (start(s, a, p, c)) {
    copies_done();
    __syncthreads();  // for the copies of others: the tile's place is used
    steep_forward(s, a, p);
    return;
  }
  copies_done();
  __syncthreads();
  const int word = Stage::word(p.run * RUN) + p.lane;
  const Stage stage = {keys + word, values + word};
  blank_tail(p, stage.keys);
  sum_runs(s, a, p, stage, c, edge);
  if (!exchange(s, a, p, false)) return;
  finish_edges(s, a, p, c, edge);
  char* to = reinterpret_cast<char*>(a.y + p.offset);
  const u32 pitch = a.channels * sizeof(Element);
  const bool full = p.count == RUN;
#pragma unroll
  for (int piece = 0; piece < PIECES; ++piece) {
    float e[PIECE][VECTOR], x[PIECE][VECTOR], y[PIECE][VECTOR];
    weigh(stage, c, piece, e, x);
#pragma unroll
    for (int q = 0; q < VECTOR; ++q) {
#if SEGMENTED
      const int left = until_cut(a, p.first + piece * PIECE);
      walk_segmented(c, q, e, x, edge, edge.piece[piece][q], left, a.segment, y);
#else
      walk(c, q, e, x, edge.past[q], edge.piece[piece][q], y);
#endif
    }
    write_piece(to, pitch, piece * PIECE, p.count, full, y);
  }
}
