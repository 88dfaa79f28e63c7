// What the forward and the backward pass do alike: stage a tile, sum it, exchange sums.

// A tile in shared memory: runs one after the other, with the space of one token between
// them where a warp reads several runs at once, whose words must lie in different banks.
#define SPACE (LANES < 32)

struct Stage {
  Word* keys;          // of the thread's first token; tokens are LANES apart
  const Word* values;

  static __device__ __forceinline__ int words(const Place& p) {
    return p.runs * (RUN + SPACE) * LANES;
  }
  static __device__ __forceinline__ int word(int token) {
    return (token + token / RUN * SPACE) * LANES;
  }
};

// Start copying tiles of (tokens, channels) to shared memory, one behind the other. What
// lies outside the tensors becomes zero.
template <int COUNT>
__device__ __forceinline__ void stage_tiles(
    const Arguments& a, const Place& p, const Element* const (&from)[COUNT], Word* to) {
  const int first = p.first - p.run * RUN, words = Stage::words(p);
  const size_t origin = ((size_t)blockIdx.z * a.tokens + first) * a.channels +
                        (size_t)blockIdx.x * COLUMNS;
#if ALIGNED
  constexpr int chunks = LANES * sizeof(Word) / 16, per_chunk = 16 / sizeof(Element);
  const int chunk = threadIdx.x % chunks, step = blockDim.x / chunks;
  const bool inside = (int)blockIdx.x * COLUMNS + chunk * per_chunk < a.channels;
  const int end = inside ? a.tokens - first : 0;
  int token = threadIdx.x / chunks;
  const size_t offset = origin + (size_t)token * a.channels + chunk * per_chunk;
  const size_t stride = (size_t)step * a.channels;
  const Element* at[COUNT];
#pragma unroll
  for (int n = 0; n < COUNT; ++n) at[n] = from[n] + offset;
#pragma unroll
  for (int i = 0; i < RUN * (int)sizeof(Word) / 16; ++i) {
    uint4* place = reinterpret_cast<uint4*>(to + Stage::word(token)) + chunk;
#pragma unroll
    for (int n = 0; n < COUNT; ++n) {
      copy_ahead(reinterpret_cast<Word*>(place) + n * words, at[n], token < end);
      at[n] += stride;
    }
    token += step;
  }
#else
#pragma unroll
  for (int n = 0; n < COUNT; ++n) {
#pragma unroll 4
    for (int i = 0; i < RUN; ++i) {
      const int token = p.run * RUN + i;
      const Element* at =
          from[n] + origin + (size_t)token * a.channels + p.lane * VECTOR;
      Word word = 0;
      if (i < p.count) word = *reinterpret_cast<const Word*>(at);
      to[n * words + Stage::word(token) + p.lane] = word;
    }
  }
#endif
}

// Once the copies have arrived: no token behind the sequence's end may weigh anything.
__device__ __forceinline__ void blank_tail(const Place& p, Word* keys) {
#pragma unroll 1
  for (int i = p.count; i < RUN; ++i) keys[i * LANES] = NO_KEY;
}

struct Channel {  // per channel of a thread
  float w2[VECTOR], decay[VECTOR], bonus[VECTOR], top[VECTOR];
  float step[VECTOR];   // decay over a run
  float piece[VECTOR];  // decay over a piece
#if SEGMENTED
  float growth[VECTOR], rest[VECTOR];  // 1 / decay; 1 - decay
#endif
};

// Sums before the first and behind the last token of a run, values and weights; and of
// each piece as seen from its first token.
struct Edges {
  float past[VECTOR][2], future[VECTOR][2], piece[PIECES][VECTOR][2];
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
    c.piece[q] = c.decay[q];
#pragma unroll
    for (int reach = 1; reach < PIECE; reach *= 2) c.piece[q] *= c.piece[q];
    c.piece[q] = fminf(c.piece[q], 1e37f);  // so that nothing times it stays nothing
    c.step[q] = PIECES == 1 ? c.piece[q] : expf(fminf(-w * RUN, 87.0f));
    c.bonus[q] = exp2_fast(u * LOG2E);
#if SEGMENTED
    if (q == 0 && p.lane == 0) s.cut[p.run] = begins(p.first, RUN, a.segment);
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
      s.step[column] = power(w, ROW * RUN);
      s.top[column] = ordered(EMPTY);
    }
  }
  return __syncthreads_or(steep);
}

// Weights and weighted values of a piece, whose keys are known.
__device__ __forceinline__ void weigh_keys(
    const Stage& stage, const Channel& c, int piece, const Word (&keys)[PIECE],
    float (&e)[PIECE][VECTOR], float (&x)[PIECE][VECTOR]) {
#pragma unroll
  for (int i = 0; i < PIECE; ++i) {
    unpack(keys[i], e[i]);
    unpack(stage.values[(piece * PIECE + i) * LANES], x[i]);
#pragma unroll
    for (int q = 0; q < VECTOR; ++q) {
      e[i][q] = exp2_fast(fmaf(e[i][q], LOG2E, -c.top[q]));
      x[i][q] *= e[i][q];
    }
  }
}

__device__ __forceinline__ void read_keys(
    const Stage& stage, int piece, Word (&keys)[PIECE]) {
#pragma unroll
  for (int i = 0; i < PIECE; ++i) keys[i] = stage.keys[(piece * PIECE + i) * LANES];
}

__device__ __forceinline__ void weigh(
    const Stage& stage, const Channel& c, int piece, float (&e)[PIECE][VECTOR],
    float (&x)[PIECE][VECTOR]) {
  Word keys[PIECE];
  read_keys(stage, piece, keys);
  weigh_keys(stage, c, piece, keys, e, x);
}

// Combine the runs of a row by shuffles: `past` and `future` become what lies before and
// behind the run within its row; the row's sums go to `part`.
__device__ __forceinline__ void sum_rows(
    Shared& s, const Place& p, int q, float step, float (&past)[2], float (&future)[2]) {
  const int column = p.lane * VECTOR + q, place = p.run % ROW, row = p.run / ROW;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    float factor = step, before = past[n], behind = future[n];
#pragma unroll
    for (int reach = 1; reach < ROW; reach *= 2) {
      const float left = __shfl_up_sync(0xffffffffu, before, reach * LANES);
      const float right = __shfl_down_sync(0xffffffffu, behind, reach * LANES);
      if (place >= reach) before = fmaf(left, factor, before);
      if (place < ROW - reach) behind = fmaf(right, factor, behind);
      factor *= factor;
    }
    if (ROW > 1) __syncwarp();  // other threads may still read an earlier sum
    if (place == ROW - 1) s.part[2 * PAST + n][row][column] = before;
    if (place == 0) s.part[2 * FUTURE + n][row][column] = behind;
    past[n] = future[n] = 0.0f;
    if (ROW > 1) {
      before = __shfl_up_sync(0xffffffffu, before, LANES);
      behind = __shfl_down_sync(0xffffffffu, behind, LANES);
      if (place > 0) past[n] = before;
      if (place < ROW - 1) future[n] = behind;
    }
  }
}

// What lies before and behind the run within its block, from the rows' exclusive sums.
__device__ __forceinline__ void add_rows(
    const Shared& s, const Place& p, const Channel& c, int q, float (&past)[2],
    float (&future)[2]) {
  const int column = p.lane * VECTOR + q, place = p.run % ROW, row = p.run / ROW;
  const float before = exp2_fast(c.w2[q] * (float)(-place * RUN));
  const float behind = exp2_fast(c.w2[q] * (float)((place - ROW + 1) * RUN));
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    past[n] = fmaf(before, s.part[2 * PAST + n][row][column], past[n]);
    future[n] = fmaf(behind, s.part[2 * FUTURE + n][row][column], future[n]);
  }
}

#if SEGMENTED
// Tokens until the next segment begins.
__device__ __forceinline__ int until_cut(const Arguments& a, int first) {
  return (a.segment - first % a.segment) % a.segment;
}
#endif

// The block's largest key per channel, then the sums of pieces, runs and rows.
__device__ __forceinline__ void sum_runs(
    Shared& s, const Arguments& a, const Place& p, const Stage& stage, Channel& c,
    Edges& edge) {
  Word keys[PIECE];  // of the last piece; all there are if there is but one
  read_keys(stage, 0, keys);
  Word largest = keys[0];
#pragma unroll
  for (int piece = 0; piece < PIECES; ++piece) {
    if (piece > 0) read_keys(stage, piece, keys);
#pragma unroll
    for (int i = 0; i < PIECE; ++i) largest = larger(largest, keys[i]);
  }
  float top[VECTOR];
  unpack(largest, top);
#pragma unroll
  for (int q = 0; q < VECTOR; ++q)
    atomicMax(&s.top[p.lane * VECTOR + q], ordered(top[q]));
  __syncthreads();
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    c.top[q] = fmaxf(unordered(s.top[p.lane * VECTOR + q]) * LOG2E, EMPTY);
    edge.past[q][0] = edge.past[q][1] = 0.0f;
#if SEGMENTED
    edge.since[q][0] = edge.since[q][1] = 0.0f;
    edge.revived[q][0] = edge.revived[q][1] = 0.0f;
#endif
  }
#if SEGMENTED
  int left = until_cut(a, p.first);
#endif
#pragma unroll
  for (int piece = 0; piece < PIECES; ++piece) {
    float e[PIECE][VECTOR], x[PIECE][VECTOR];
    if (PIECES > 1) read_keys(stage, piece, keys);
    weigh_keys(stage, c, piece, keys, e, x);
#pragma unroll
    for (int q = 0; q < VECTOR; ++q) {
      float(&past)[2] = edge.past[q];
      float future[2] = {};
#pragma unroll
      for (int i = 0; i < PIECE; ++i) {
        past[0] = fmaf(past[0], c.decay[q], x[i][q]);
        past[1] = fmaf(past[1], c.decay[q], e[i][q]);
      }
#pragma unroll
      for (int i = PIECE - 1; i >= 0; --i) {
        future[0] = fmaf(future[0], c.decay[q], x[i][q]);
        future[1] = fmaf(future[1], c.decay[q], e[i][q]);
      }
      edge.piece[piece][q][0] = future[0];
      edge.piece[piece][q][1] = future[1];
    }
#if SEGMENTED
#pragma unroll
    for (int i = 0; i < PIECE; ++i) {
      const bool cut = left == 0;
      left = cut ? a.segment - 1 : left - 1;
#pragma unroll
      for (int q = 0; q < VECTOR; ++q) {
        float(&since)[2] = edge.since[q], (&revived)[2] = edge.revived[q];
        const float growth = c.growth[q], rest = -c.rest[q] * growth;  // 1 - e^w
        since[0] = fmaf(cut ? 0.0f : since[0], c.decay[q], x[i][q]);
        since[1] = fmaf(cut ? 0.0f : since[1], c.decay[q], e[i][q]);
        revived[0] = cut ? 0.0f : fmaf(revived[0], growth, rest * x[i][q]);
        revived[1] = cut ? 0.0f : fmaf(revived[1], growth, rest * e[i][q]);
      }
    }
#endif
  }
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    float(&future)[2] = edge.future[q];
    future[0] = future[1] = 0.0f;
#pragma unroll
    for (int piece = PIECES - 1; piece >= 0; --piece) {
      future[0] = fmaf(future[0], c.piece[q], edge.piece[piece][q][0]);
      future[1] = fmaf(future[1], c.piece[q], edge.piece[piece][q][1]);
    }
    sum_rows(s, p, q, c.step[q], edge.past[q], future);
#if SEGMENTED
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      s.part[2 * SINCE + n][p.run][p.lane * VECTOR + q] = edge.since[q][n];
      s.part[2 * REVIVED + n][p.run][p.lane * VECTOR + q] = edge.revived[q][n];
    }
#endif
  }
}

// Exchange sums between rows and blocks. False if this launch's work is then done.
__device__ __forceinline__ bool exchange(
    Shared& s, const Arguments& a, const Place& p, bool backwards) {
  __syncthreads();
  if (!backwards) cluster_wait();  // for the other blocks to have started
  const int blocks = MODE == 1 ? 1 : CLUSTER;
  scan_runs(s, a, p, backwards, blocks);
  for (int x = threadIdx.x; x < 2 * COLUMNS; x += blockDim.x) {
    const int column = x % COLUMNS;
    float scale = fmaxf(unordered(s.top[column]) * LOG2E, EMPTY);
#if BACKWARD
    if (backwards) scale = -s.scale[column];
#endif
    for (int block = 0; block < blocks; ++block)
      give(s, backwards, p.rank, SCALES + x / COLUMNS, column, block, scale);
  }
  cluster_arrive();
  cluster_wait();
  if (CLUSTER == 1) __syncthreads();
  if (MODE == 1) {
    publish(s, a, p);
    return false;
  }
  if (CLUSTER > 1 || MODE != 0) {
    receive(s, a, p, backwards);
    __syncthreads();
  }
  return true;
}

// Turn the pieces' sums into what lies behind each piece.
__device__ __forceinline__ void behind_pieces(
    float (&sums)[PIECES][VECTOR][2], const float (&future)[2], float decay, int q) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    float behind = future[n];
#pragma unroll
    for (int piece = PIECES - 1; piece >= 0; --piece) {
      const float own = sums[piece][q][n];
      sums[piece][q][n] = behind;
      behind = fmaf(behind, decay, own);
    }
  }
}

// What lies before and behind the thread's run and each of its pieces, on a scale common
// to block and carries, `top`. Carries far above the block's own scale raise it.
__device__ __forceinline__ void finish_edges(
    Shared& s, const Arguments& a, const Place& p, Channel& c, Edges& edge) {
#pragma unroll
  for (int q = 0; q < VECTOR; ++q) {
    const int column = p.lane * VECTOR + q;
    add_rows(s, p, c, q, edge.past[q], edge.future[q]);
#if SEGMENTED
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      edge.since[q][n] = s.part[2 * SINCE + n][p.run][column];
      edge.revived[q][n] = s.part[2 * REVIVED + n][p.run][column];
    }
#endif
    if (CLUSTER > 1 || MODE != 0) {
      const float own = c.top[q];
      const float before = s.carry[PAST][2][column];
      const float behind = s.carry[FUTURE][2][column];
      const float top = fmaxf(own, fmaxf(before, behind) - HEADROOM);
      const float shrink = exp2_fast(own - top);
      const float gone = (float)(p.run * RUN);
      const float ahead = (float)((p.runs - 1 - p.run) * RUN);
      const float from_before = exp2_fast(before - top - c.w2[q] * gone);
      const float from_behind = exp2_fast(behind - top - c.w2[q] * ahead);
      c.top[q] = top;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        edge.past[q][n] =
            fmaf(from_before, s.carry[PAST][n][column], edge.past[q][n] * shrink);
        edge.future[q][n] =
            fmaf(from_behind, s.carry[FUTURE][n][column], edge.future[q][n] * shrink);
#pragma unroll
        for (int piece = 0; piece < PIECES; ++piece) edge.piece[piece][q][n] *= shrink;
      }
#if SEGMENTED
      const bool cut = p.run > 0 && begins(p.first - p.run * RUN, p.run * RUN, a.segment);
      const float since =
          cut ? 0.0f : exp2_fast(s.carry[SINCE][2][column] - top - c.w2[q] * gone);
      const float revived =
          cut ? 0.0f : exp2_fast(s.carry[REVIVED][2][column] - top + c.w2[q] * gone);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        edge.since[q][n] =
            fmaf(since, s.carry[SINCE][n][column], edge.since[q][n] * shrink);
        edge.revived[q][n] =
            fmaf(revived, s.carry[REVIVED][n][column], edge.revived[q][n] * shrink);
      }
#endif
    }
#if BACKWARD
    if (p.run == 0) s.scale[column] = c.top[q];
#endif
    behind_pieces(edge.piece, edge.future[q], c.piece[q], q);
  }
}
