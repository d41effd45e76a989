// FISTA with non-negative shrinkage over a mini-batch, the whole loop without leaving the device.
//
// Samples are in tiles of 16, whose columns' statistics are joined in the order of the tiles: the
// bits do not depend on how many blocks there are. A block owns some tiles for the whole loop. A
// warp works on four samples (a quad) at a time: lane i has the components i, i + 32, ..., four
// samples of a component lie together as a `float4`.
#pragma once

#include "product.cuh"

// Samples whose column statistics are taken together, and those that a warp works on together.
constexpr int TILE_SAMPLES = 16;
constexpr int QUAD = 4;
constexpr int TILE_QUADS = TILE_SAMPLES / QUAD;
// Components of a product that a warp has in registers: four a lane. Codes are padded to a
// multiple.
constexpr int CHUNK = 128;
// Tiles of a batch of 250: their statistics are in registers while they are joined.
constexpr int TILES_AT_ONCE = 16;
// Where a mailbox says what its block's samples do; statistics follow.
constexpr int BOX_HEAD = 4;

// What is known of a sample.
constexpr int MOVES = 1;
constexpr int OVERFLOWED = 2;

// Where column j of G is, so that the four components of a lane lie together.
DEVICE int gram_column(int j) { return j / CHUNK * CHUNK + j % 32 * 4 + j % CHUNK / 32; }

DEVICE float positive(float value) {
  // NaN stays visible.
  return !(value <= 0.0f) ? value : 0.0f;
}

DEVICE float component(const float4& v, int s) { return s == 0 ? v.x : s == 1 ? v.y : s == 2 ? v.z : v.w; }

// Floats of a mailbox: two of them are used in turn, so that a block that is ahead does not
// overwrite what others still read.
DEVICE int box_floats(const Run& run) { return BOX_HEAD + run.block_tiles * 2 * run.padded; }

// What a block has of the loop. `trainer/src/lista/cuda/layout.rs` plans the same sizes.
struct Block {
  // State, `float4` a component, `padded` of them a quad: x, z, what is constant in the gradient
  // (negated), its product.
  float4 *points, *codes, *constants, *products;
  // By component: the mean over the batch, and 2β/(n−1) · (T − sd)_+/sd.
  float *mean, *factor;
  // ‖z‖², steps and MOVES | OVERFLOWED of each sample.
  float* norms;
  int *steps, *flags;
  // Two mailboxes.
  float* boxes;
  // What all samples of the batch do.
  int* all_flags;
  // One-hidden loop: the batch's samples that move, and for each sample which of them it is.
  int *moving, *position, *moving_count;
  // Atoms that some sample of a quad uses, `padded` a warp.
  unsigned short* active;
  float* gram;

  DEVICE Block(float* arena, const Run& run, int rank, int storage, bool boxes_are_shared) {
    int quads = run.block_tiles * TILE_QUADS, samples = quads * QUAD;
    size_t array = static_cast<size_t>(quads) * run.padded;
    float* at = shared_memory() + PRODUCT_FLOATS;
    float* state = storage == BOTH_GLOBAL ? arena + run.state + 4 * QUAD * array * rank : at;
    points = reinterpret_cast<float4*>(state);
    codes = points + array;
    constants = codes + array;
    products = constants + array;
    if (storage != BOTH_GLOBAL) at += 4 * QUAD * array;
    mean = at, at += run.padded;
    factor = at, at += run.padded;
    norms = at, at += samples;
    steps = reinterpret_cast<int*>(at), at += samples;
    flags = reinterpret_cast<int*>(at), at += samples;
    all_flags = reinterpret_cast<int*>(at), at += 4;
    if (run.hidden_dim > 0) {
      int batch = (run.batch_size + 3) / 4 * 4;
      moving = reinterpret_cast<int*>(at), at += batch;
      position = reinterpret_cast<int*>(at), at += batch;
      moving_count = reinterpret_cast<int*>(at), at += 4;
    } else {
      moving = position = moving_count = nullptr;
    }
    if (boxes_are_shared) {
      boxes = at, at += 2 * box_floats(run);
    } else {
      boxes = arena + run.boxes + static_cast<size_t>(rank) * 2 * box_floats(run);
    }
    active = reinterpret_cast<unsigned short*>(at), at += WARPS * run.padded / 2;
    gram = at;
  }
};

template <bool CLUSTER, int STORAGE>
struct Fista {
  Team<CLUSTER>& team;
  Products<Team<CLUSTER>>& products;
  const Run& run;
  float* arena;
  // Samples of the batch, its tiles, and of which this block owns `first..first + own`.
  int batch, tiles, first, own;
  Block block;

  DEVICE Fista(Products<Team<CLUSTER>>& products, const Run& run, float* arena, int batch)
      : team(products.team),
        products(products),
        run(run),
        arena(arena),
        batch(batch),
        tiles((batch + TILE_SAMPLES - 1) / TILE_SAMPLES),
        first(team.rank() * run.block_tiles),
        block(arena, run, products.team.rank(), STORAGE, CLUSTER) {
    own = tiles - first;
    if (own > run.block_tiles) own = run.block_tiles;
    if (own < 0) own = 0;
  }

  // Teams of one-hidden decoders are no clusters.
  DEVICE bool is_linear() const { return CLUSTER || run.hidden_dim == 0; }
  DEVICE bool has_hinge() const { return run.hinge_weight != 0.0 && batch > 1; }
  DEVICE int own_quads() const { return own * TILE_QUADS; }
  // The batch's number of a sample of this block.
  DEVICE int sample(int s) const { return first * TILE_SAMPLES + s; }
  DEVICE int rows_of(int tile) const {
    int rows = batch - tile * TILE_SAMPLES;
    return rows < TILE_SAMPLES ? rows : TILE_SAMPLES;
  }
  DEVICE const float* gram() const { return STORAGE == BOTH_SHARED ? block.gram : arena + run.gram; }
  // The mailbox of block `other` that is used in iteration `k`.
  DEVICE float* box(int other, int k) const {
    float* own_box = block.boxes + k % 2 * box_floats(run);
    if (CLUSTER) return team.shared_of(own_box, other);
    return own_box + static_cast<ptrdiff_t>(other - team.rank()) * 2 * box_floats(run);
  }

  // Where block `other` says the mean of each component in one of its tiles; the squared deviations
  // follow.
  DEVICE const float* moments(int other, int k, int tile) const { return box(other, k) + BOX_HEAD + 2 * tile * run.padded; }

  // Takes up the start (n × l) and what is constant.
  DEVICE void begin(const float* start) {
    if (STORAGE == BOTH_SHARED && is_linear()) {
      const float4* from = reinterpret_cast<const float4*>(arena + run.gram);
      float4* to = reinterpret_cast<float4*>(block.gram);
      for (int e = thread(); e < run.code_dim * run.padded / 4; e += THREADS) to[e] = from[e];
    }
    const float* correlation = arena + run.correlation;
    const float* encoder_codes = arena + run.encoder_codes;
    for (int quad = warp(); quad < own_quads(); quad += WARPS) {
      float sums[8] = {};
      for (int c = lane(); c < run.padded; c += 32) {
        float x[QUAD], constant[QUAD];
#pragma unroll
        for (int s = 0; s < QUAD; s++) {
          int i = sample(quad * QUAD + s);
          bool there = i < batch && c < run.code_dim;
          size_t e = static_cast<size_t>(i) * run.code_dim + c;
          x[s] = there ? start[e] : 0.0f;
          constant[s] = there && is_linear() ? correlation[e] : 0.0f;
          if (there && run.pull != 0.0f) constant[s] += run.pull * encoder_codes[e];
          sums[s] = fmaf(x[s], x[s], sums[s]);
          if (!is_linear() && there) arena[run.points + e] = x[s];
        }
        int at = quad * run.padded + c;
        block.points[at] = block.codes[at] = make_float4(x[0], x[1], x[2], x[3]);
        block.constants[at] = make_float4(constant[0], constant[1], constant[2], constant[3]);
        block.products[at] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      }
      float sum = warp_sums(sums);
      float norm = __shfl_sync(ALL_LANES, sum, lane() % QUAD * 4);
      if (lane() < QUAD) {
        int s = quad * QUAD + lane();
        block.norms[s] = norm;
        block.steps[s] = 0;
        block.flags[s] = sample(s) < batch ? MOVES : 0;
        if (!is_linear() && sample(s) < batch) reinterpret_cast<int*>(arena + run.moving)[sample(s)] = 1;
      }
    }
    __syncthreads();
  }

  // Lists the atoms that a moving sample of the quad uses, in their order; returns how many there
  // are.
  DEVICE int list_active(int quad) const {
    const float4* points = block.points + quad * run.padded;
    unsigned short* list = block.active + warp() * run.padded;
    // Of the quad before, no lane may be behind.
    __syncwarp();
    bool moves[QUAD];
#pragma unroll
    for (int s = 0; s < QUAD; s++) moves[s] = block.flags[quad * QUAD + s] & MOVES;
    int count = 0;
    for (int c = lane(); c < run.padded; c += 32) {
      float4 x = points[c];
      bool used =
          (moves[0] && x.x != 0.0f) || (moves[1] && x.y != 0.0f) || (moves[2] && x.z != 0.0f) || (moves[3] && x.w != 0.0f);
      unsigned mask = __ballot_sync(ALL_LANES, used);
      if (used) list[count + __popc(mask & ((1u << lane()) - 1u))] = static_cast<unsigned short>(c);
      count += __popc(mask);
    }
    __syncwarp();
    return count;
  }

  // x G for the samples that move: a sum of the rows of G whose component is not 0 in one of the
  // quad's samples.
  DEVICE void multiply_gram() {
    const float4* gram4 = reinterpret_cast<const float4*>(gram());
    int width = run.padded / 4;
    for (int quad = warp(); quad < own_quads(); quad += WARPS) {
      int count = list_active(quad);
      const unsigned short* list = block.active + warp() * run.padded;
      const float4* points = block.points + quad * run.padded;
      float4* out = block.products + quad * run.padded;
      for (int chunk = 0; chunk < run.padded / CHUNK; chunk++) {
        float sums[4][QUAD] = {};
        const float4* column = gram4 + chunk * (CHUNK / 4) + lane();
        int a = 0;
        // Four at a time, so that loads do not wait for each other.
        for (; a + 4 <= count; a += 4) {
          float4 x[4], g[4];
#pragma unroll
          for (int q = 0; q < 4; q++) {
            int atom = list[a + q];
            x[q] = points[atom];
            g[q] = column[atom * width];
          }
#pragma unroll
          for (int q = 0; q < 4; q++) accumulate(sums, x[q], g[q]);
        }
        for (; a < count; a++) accumulate(sums, points[list[a]], column[list[a] * width]);
#pragma unroll
        for (int k = 0; k < 4; k++) {
          out[chunk * CHUNK + 32 * k + lane()] = make_float4(sums[k][0], sums[k][1], sums[k][2], sums[k][3]);
        }
      }
    }
  }

  DEVICE static void accumulate(float (&sums)[4][QUAD], const float4& x, const float4& g) {
    float gs[4] = {g.x, g.y, g.z, g.w}, xs[QUAD] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
      for (int s = 0; s < QUAD; s++) sums[k][s] = fmaf(xs[s], gs[k], sums[k][s]);
  }

  // Through both layers of a one-hidden decoder, for the samples that move: W1ᵀ(1[h>0] ⊙ W2ᵀ(W2 h −
  // y)) · 2/d.
  DEVICE void multiply_hidden() {
    int d = run.input_dim, l = run.code_dim, m = run.hidden_dim;
    list_moving();
    int count = *block.moving_count;
    const int* rows = block.moving;
    const float* parameters = arena + run.parameters;
    const float *w1 = parameters + run.parameter[HIDDEN].offset, *b1 = parameters + run.parameter[HIDDEN_BIAS].offset,
                *w2 = parameters + run.parameter[OUTPUT].offset;
    const float* inputs = arena + run.batch;
    float *units = arena + run.hidden, *error = arena + run.error, *delta = arena + run.hidden_delta;

    products.perform(task(0, Matrix(arena + run.points, l, 1, rows), Matrix(w1, 1, l), count, m, l,
                          [=](int i, int j, float v) { units[i * m + j] = positive(v + b1[j]); }));
    products.perform(task(0, Matrix(units, m, 1), Matrix(w2, 1, m), count, d, m,
                          [=](int i, int j, float v) { error[i * d + j] = v - inputs[static_cast<size_t>(rows[i]) * d + j]; }));
    products.perform(task(0, Matrix(error, d, 1), Matrix(w2, m, 1), count, m, d,
                          [=](int i, int j, float v) { delta[i * m + j] = units[i * m + j] > 0.0f ? v : 0.0f; }));
    float scale = static_cast<float>(2.0 / d);
    float* gradient = arena + run.correlation;
    products.perform(task(0, Matrix(delta, m, 1), Matrix(w1, l, 1), count, l, m,
                          [=](int i, int j, float v) { gradient[i * l + j] = v * scale; }));

    for (int quad = warp(); quad < own_quads(); quad += WARPS) {
      for (int c = lane(); c < l; c += 32) {
        float sums[QUAD];
#pragma unroll
        for (int s = 0; s < QUAD; s++) {
          bool moves = block.flags[quad * QUAD + s] & MOVES;
          sums[s] = moves ? gradient[block.position[sample(quad * QUAD + s)] * l + c] : 0.0f;
        }
        block.products[quad * run.padded + c] = make_float4(sums[0], sums[1], sums[2], sums[3]);
      }
    }
  }

  // Numbers the samples that move, in each block alike.
  DEVICE void list_moving() {
    const int* all = reinterpret_cast<const int*>(arena + run.moving);
    if (warp() == 0) {
      int count = 0;
      for (int from = 0; from < batch; from += 32) {
        int i = from + lane();
        bool moves = i < batch && all[i];
        unsigned mask = __ballot_sync(ALL_LANES, moves);
        int place = count + __popc(mask & ((1u << lane()) - 1u));
        if (moves) block.moving[place] = i, block.position[i] = place;
        count += __popc(mask);
      }
      if (lane() == 0) *block.moving_count = count;
    }
    __syncthreads();
  }

  // Gradient, hinge, shrinkage, stopping and momentum of this block's samples, in one pass.
  DEVICE void update(float momentum) {
    bool hinge = has_hinge();
    for (int quad = warp(); quad < own_quads(); quad += WARPS) {
      bool moves[QUAD];
#pragma unroll
      for (int s = 0; s < QUAD; s++) moves[s] = block.flags[quad * QUAD + s] & MOVES;
      // Of the change and of the code, for each sample.
      float sums[8] = {};
      for (int c = lane(); c < run.padded; c += 32) {
        int at = quad * run.padded + c;
        float4 points = block.points[at], codes = block.codes[at], constants = block.constants[at], product = block.products[at];
        float mean = hinge ? block.mean[c] : 0.0f, factor = hinge ? block.factor[c] : 0.0f;
        float next[QUAD], ahead[QUAD];
#pragma unroll
        for (int s = 0; s < QUAD; s++) {
          float x = component(points, s), z = component(codes, s);
          if (moves[s]) {
            float gradient = fmaf(run.pull, x, component(product, s) - component(constants, s));
            if (hinge) gradient -= factor * (x - mean);
            next[s] = positive(x - fmaf(run.step_size, gradient, run.threshold));
          } else {
            next[s] = run.freeze ? z : positive(x);
          }
          float change = next[s] - z;
          sums[s] = fmaf(change, change, sums[s]);
          sums[QUAD + s] = fmaf(next[s], next[s], sums[QUAD + s]);
          ahead[s] = fmaf(momentum, change, next[s]);
          int i = sample(quad * QUAD + s);
          if (!is_linear() && i < batch && c < run.code_dim)
            arena[run.points + static_cast<size_t>(i) * run.code_dim + c] = ahead[s];
        }
        block.codes[at] = make_float4(next[0], next[1], next[2], next[3]);
        block.points[at] = make_float4(ahead[0], ahead[1], ahead[2], ahead[3]);
      }
      float sum = warp_sums(sums);
      float change = __shfl_sync(ALL_LANES, sum, lane() % QUAD * 4);
      float norm = __shfl_sync(ALL_LANES, sum, 16 + lane() % QUAD * 4);
      if (lane() < QUAD && sample(quad * QUAD + lane()) < batch) {
        int s = quad * QUAD + lane();
        // A frozen sample does not change, and so stays.
        bool rests = static_cast<double>(change) < run.tolerance_squared * static_cast<double>(block.norms[s]);
        block.norms[s] = norm;
        block.steps[s] += rests ? 0 : 1;
        block.flags[s] = (rests ? 0 : MOVES) | (isfinite(change) ? 0 : OVERFLOWED);
        if (!is_linear()) reinterpret_cast<int*>(arena + run.moving)[sample(s)] = rests ? 0 : 1;
      }
    }
    __syncthreads();
  }

  // Puts into the mailbox what this block's samples do, and by tile the mean of each component of x
  // and its squared deviations. Sums are relative to the tile's first sample, so that a component
  // that is constant has a sum of exactly 0.
  DEVICE void publish(int k) {
    float* out = box(team.rank(), k);
    if (warp() == 0) {
      int flags = 0;
      for (int s = lane(); s < own * TILE_SAMPLES; s += 32) flags |= block.flags[s];
      for (int mask = 16; mask > 0; mask /= 2) flags |= __shfl_xor_sync(ALL_LANES, flags, mask);
      if (lane() == 0) *reinterpret_cast<int*>(out) = flags;
    }
    if (!has_hinge()) return;
    for (int e = thread(); e < own * run.padded; e += THREADS) {
      int tile = e / run.padded, c = e % run.padded, rows = rows_of(first + tile);
      const float4* points = block.points + tile * TILE_QUADS * run.padded + c;
      float base = points[0].x, sum = 0.0f, square = 0.0f;
#pragma unroll
      for (int quad = 0; quad < TILE_QUADS; quad++) {
        float4 x = points[quad * run.padded];
#pragma unroll
        for (int s = 0; s < QUAD; s++) {
          float difference = quad * QUAD + s < rows ? component(x, s) - base : 0.0f;
          sum += difference;
          square = fmaf(difference, difference, square);
        }
      }
      float offset = sum * (1.0f / static_cast<float>(rows));
      float spread = square - sum * offset;
      out[BOX_HEAD + (2 * tile) * run.padded + c] = base + offset;
      out[BOX_HEAD + (2 * tile + 1) * run.padded + c] = spread > 0.0f ? spread : 0.0f;
    }
  }

  // Reads all mailboxes: joins the tiles (Chan, Golub & LeVeque 1979) into the hinge, and returns
  // what the batch's samples do.
  DEVICE int join(int k) {
    int owners = (tiles + run.block_tiles - 1) / run.block_tiles;
    if (warp() == 0) {
      int flags = 0;
      for (int other = lane(); other < owners; other += 32) flags |= *reinterpret_cast<int*>(box(other, k));
      for (int mask = 16; mask > 0; mask /= 2) flags |= __shfl_xor_sync(ALL_LANES, flags, mask);
      if (lane() == 0) *block.all_flags = flags;
    }
    if (has_hinge()) {
      float count = static_cast<float>(batch);
      float scale = static_cast<float>(2.0 * run.hinge_weight / (batch - 1));
      for (int c = thread(); c < run.padded; c += THREADS) {
        float mean = 0.0f, sum = 0.0f;
        if (tiles <= TILES_AT_ONCE) {
          // All on their way at once: what another block has takes long to come.
          float means[TILES_AT_ONCE], squares[TILES_AT_ONCE];
          int other = 0, local = 0;
#pragma unroll
          for (int tile = 0; tile < TILES_AT_ONCE; tile++) {
            const float* from = moments(other, k, local);
            means[tile] = tile < tiles ? from[c] : 0.0f;
            squares[tile] = tile < tiles ? from[run.padded + c] : 0.0f;
            if (++local == run.block_tiles && tile + 1 < tiles) local = 0, other++;
          }
#pragma unroll
          for (int tile = 0; tile < TILES_AT_ONCE; tile++) {
            if (tile < tiles) mean += static_cast<float>(rows_of(tile)) * means[tile];
          }
          mean /= count;
#pragma unroll
          for (int tile = 0; tile < TILES_AT_ONCE; tile++) {
            if (tile >= tiles) continue;
            float offset = means[tile] - mean;
            sum += squares[tile] + static_cast<float>(rows_of(tile)) * offset * offset;
          }
        } else {
          for (int tile = 0; tile < tiles; tile++) {
            mean += static_cast<float>(rows_of(tile)) * moments(tile / run.block_tiles, k, tile % run.block_tiles)[c];
          }
          mean /= count;
          for (int tile = 0; tile < tiles; tile++) {
            const float* from = moments(tile / run.block_tiles, k, tile % run.block_tiles);
            float offset = from[c] - mean;
            sum += from[run.padded + c] + static_cast<float>(rows_of(tile)) * offset * offset;
          }
        }
        float deviation = sqrtf(sum / (count - 1.0f));
        float shortfall = run.variance_threshold - deviation;
        if (shortfall < 0.0f) shortfall = 0.0f;
        block.mean[c] = mean;
        // No more than what rounding makes of a constant: the gradient there is 0.
        block.factor[c] = deviation > 1.1920929e-7f * count * fabsf(mean) ? scale * shortfall / deviation : 0.0f;
      }
    }
    __syncthreads();
    return *block.all_flags;
  }

  // Runs the loop from `start` (n × l), and writes codes, steps and iterations. Ends without a
  // barrier.
  DEVICE void infer(const float* start) {
    begin(start);
    publish(0);
    team.arrive();
    int k = 0, done = 0;
    while (k < run.max_iterations) {
      // A linear decoder's product does not need what the others say: it hides the barrier.
      if (is_linear()) multiply_gram();
      team.wait();
      int flags = join(k);
      if (k > 0 && ((flags & OVERFLOWED) || !(flags & MOVES))) {
        done = 1;
        break;
      }
      if (!is_linear()) multiply_hidden();
      update(arena[run.momentum + k]);
      k++;
      publish(k);
      team.arrive();
    }
    if (!done) team.wait();

    float* codes = arena + run.codes;
    for (int quad = warp(); quad < own_quads(); quad += WARPS) {
      for (int c = lane(); c < run.code_dim; c += 32) {
        float4 z = block.codes[quad * run.padded + c];
#pragma unroll
        for (int s = 0; s < QUAD; s++) {
          int i = sample(quad * QUAD + s);
          if (i < batch) codes[static_cast<size_t>(i) * run.code_dim + c] = component(z, s);
        }
      }
    }
    int* steps = reinterpret_cast<int*>(arena + run.steps);
    for (int s = thread(); s < own * TILE_SAMPLES; s += THREADS) {
      if (sample(s) < batch) steps[sample(s)] = block.steps[s];
    }
    if (team.member() == 0) steps[run.batch_size] = k;
    team.sync();
  }
};
