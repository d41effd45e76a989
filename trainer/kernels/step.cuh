// A whole training step, and the same without the learning: encode, infer, measure, gradients,
// Adam, columns rescaled.
#pragma once

#include "fista.cuh"

// Figures of a sample, in doubles.
enum SampleFigure { ROW_ERROR = 0, ROW_PSNR = 1, ROW_ZEROS = 2, ROW_L1 = 3, ROW_ENCODER = 4, ROW_POWER = 5, SAMPLE_FIGURES = 6 };

// How the scales that turn an error into raw units are given.
enum ScaleKind { ONE_SCALE = 0, SCALE_PER_SAMPLE = 1, SCALE_PER_VALUE = 2 };

// The numbers of `lista/evaluate.rs`, `lista/guard.rs` and `optim/mod.rs` in `trainer/src`.
// PSNR counted for an exact reconstruction, where the formula has no value.
constexpr double EXACT_PSNR = 40.0;
// An error this many times the input's own power is taken for divergence.
constexpr double LIMIT = 1e3;

constexpr float BETA_1 = 0.9f, REST_1 = static_cast<float>(1.0 - 0.9);
constexpr float BETA_2 = 0.999f, REST_2 = static_cast<float>(1.0 - 0.999);
constexpr float EPSILON = 1e-8f;

template <bool CLUSTER>
struct Step {
  Products<Team<CLUSTER>> products;
  const Run& run;
  float* arena;
  // Which batch, and its samples.
  int number, batch;

  DEVICE Step(const Run& run, float* arena)
      : products{Team<CLUSTER>(reinterpret_cast<unsigned*>(arena + run.barrier)), shared_memory(), arena + run.parts,
                 static_cast<size_t>(run.part_floats), run.wanted_jobs},
        run(run),
        arena(arena),
        number(0),
        batch(0) {}

  // Of the products: a reference beside them would keep the compiler from holding any of it in
  // registers.
  DEVICE Team<CLUSTER>& team() { return products.team; }
  // Teams of one-hidden decoders are no clusters.
  DEVICE bool is_linear() const { return CLUSTER || run.hidden_dim == 0; }
  DEVICE float* at(Place place) const { return arena + place; }
  DEVICE int* ints(Place place) const { return reinterpret_cast<int*>(arena + place); }
  DEVICE double* doubles(Place place) const { return reinterpret_cast<double*>(arena + place); }
  DEVICE float* parameter(int index) const { return arena + run.parameters + run.parameter[index].offset; }
  DEVICE float* gradient(int index) const { return arena + run.gradient + run.parameter[index].offset; }
  // Codes after iteration i of the encoder, and the loss's gradient for them.
  DEVICE float* trace(int i) const { return arena + run.trace + static_cast<size_t>(i) * run.batch_size * run.code_dim; }
  DEVICE float* delta(int i) const { return arena + run.deltas + static_cast<size_t>(i) * run.batch_size * run.code_dim; }
  // The sample of the set that is sample i of the batch.
  DEVICE size_t sample(int i) const {
    size_t place = static_cast<size_t>(number) * run.batch_size + i;
    return run.mode == TRAIN ? reinterpret_cast<unsigned*>(arena + run.order)[place] : place;
  }

  DEVICE void gather() {
    int d = run.input_dim;
    float* to = at(run.batch);
    const float* from = at(run.inputs);
    for (int i = team().rank() * WARPS + warp(); i < batch; i += team().size() * WARPS) {
      const float* row = from + sample(i) * d;
      for (int j = lane(); j < d; j += 32) to[static_cast<size_t>(i) * d + j] = row[j];
    }
    if (!run.has_encoder && run.mode != INFER) {
      float* start = at(run.start);
      for (int e = team().member(); e < batch * run.code_dim; e += team().members()) start[e] = run.initial_code;
    }
    team().sync();
  }

  // The encoder's codes, and what is constant while a linear decoder's codes are inferred: G and c.
  DEVICE void encode(bool infers) {
    int d = run.input_dim, l = run.code_dim, padded = run.padded;
    const float *y = at(run.batch), *u = parameter(INPUT), *b = parameter(BIAS), *w = parameter(DICTIONARY),
                *s = parameter(RECURRENT);
    float *drive = at(run.drive), *first = trace(0), *gram = at(run.gram), *correlation = at(run.correlation);
    float scale = static_cast<float>(2.0 / d);
    // Absent ones have no rows.
    bool encodes = run.has_encoder && run.mode != INFER, quadratic = infers && is_linear();
    products.perform(task(0, Matrix(y, d, 1), Matrix(u, 1, d), encodes ? batch : 0, l, d,
                          [=](int i, int j, float v) {
                            drive[i * l + j] = v + b[j];
                            first[i * l + j] = positive(v + b[j]);
                          }),
                     task(1, Matrix(y, d, 1), Matrix(w, l, 1), quadratic ? batch : 0, l, d,
                          [=](int i, int j, float v) { correlation[i * l + j] = v * scale; }),
                     task(2, Matrix(w, 1, l), Matrix(w, l, 1), quadratic ? l : 0, l, d,
                          [=](int i, int j, float v) { gram[i * padded + gram_column(j)] = v * scale; }));
    if (!encodes) return;
    for (int i = 0; i < run.lista_iterations; i++) {
      float* next = trace(i + 1);
      products.perform(task(0, Matrix(trace(i), l, 1), Matrix(s, 1, l), batch, l, l,
                            [=](int i, int j, float v) { next[i * l + j] = positive(v + drive[i * l + j]); }));
    }
  }

  DEVICE void infer(const float* start) {
    if (run.storage == BOTH_SHARED) {
      Fista<CLUSTER, BOTH_SHARED>(products, run, arena, batch).infer(start);
    } else if (run.storage == STATE_SHARED) {
      Fista<CLUSTER, STATE_SHARED>(products, run, arena, batch).infer(start);
    } else {
      Fista<CLUSTER, BOTH_GLOBAL>(products, run, arena, batch).infer(start);
    }
  }

  // `e = D(z) − y`, and h of a one-hidden decoder.
  DEVICE void reconstruct() {
    int d = run.input_dim, l = run.code_dim, m = run.hidden_dim;
    const float *y = at(run.batch), *z = at(run.codes), *w = parameter(DICTIONARY);
    float* error = at(run.error);
    auto subtract = [=](int i, int j, float v) { error[i * d + j] = v - y[i * d + j]; };
    if (is_linear()) {
      products.perform(task(0, Matrix(z, l, 1), Matrix(w, 1, l), batch, d, l, subtract));
    } else {
      const float *bias = parameter(HIDDEN_BIAS), *output = parameter(OUTPUT);
      float* units = at(run.hidden);
      products.perform(task(0, Matrix(z, l, 1), Matrix(w, 1, l), batch, m, l,
                            [=](int i, int j, float v) { units[i * m + j] = positive(v + bias[j]); }));
      products.perform(task(0, Matrix(units, m, 1), Matrix(output, 1, m), batch, d, m, subtract));
    }
  }

  // Figures of each sample by a warp, of each component by a lane.
  DEVICE void measure() {
    int d = run.input_dim, l = run.code_dim;
    double* rows = doubles(run.rows);
    const float *scales = at(run.scales), *encoded = trace(run.lista_iterations), *codes = at(run.codes);
    for (int i = team().rank() * WARPS + warp(); i < batch; i += team().size() * WARPS) {
      double error = 0.0, raw = 0.0, power = 0.0, zeros = 0.0, l1 = 0.0, difference = 0.0;
      size_t from = sample(i);
      for (int j = lane(); j < d; j += 32) {
        double e = at(run.error)[static_cast<size_t>(i) * d + j], y = at(run.batch)[static_cast<size_t>(i) * d + j];
        size_t place = run.scale_kind == SCALE_PER_VALUE ? from * d + j : run.scale_kind == SCALE_PER_SAMPLE ? from : 0;
        double r = e * static_cast<double>(scales[place]);
        error += e * e, raw += r * r, power += y * y;
      }
      for (int j = lane(); j < l; j += 32) {
        double z = codes[static_cast<size_t>(i) * l + j];
        zeros += z == 0.0 ? 1.0 : 0.0, l1 += fabs(z);
        if (run.has_encoder) {
          double apart = static_cast<double>(encoded[static_cast<size_t>(i) * l + j]) - z;
          difference += apart * apart;
        }
      }
      error = warp_sum(error), raw = warp_sum(raw), power = warp_sum(power);
      zeros = warp_sum(zeros), l1 = warp_sum(l1), difference = warp_sum(difference);
      if (lane() == 0) {
        double mse = raw / d;
        rows[ROW_ERROR * run.batch_size + i] = error / d;
        rows[ROW_PSNR * run.batch_size + i] = mse == 0.0 ? EXACT_PSNR : 10.0 * log10(run.peak_squared / mse);
        rows[ROW_ZEROS * run.batch_size + i] = zeros;
        rows[ROW_L1 * run.batch_size + i] = l1;
        rows[ROW_ENCODER * run.batch_size + i] = difference;
        rows[ROW_POWER * run.batch_size + i] = power / d;
      }
    }
    // [(T − sd)_+]² of the components, and which are in use.
    double* columns = doubles(run.columns);
    for (int c = team().member(); c < l; c += team().members()) {
      double base = batch > 0 ? codes[c] : 0.0, sum = 0.0, square = 0.0;
      bool used = false;
      for (int i = 0; i < batch; i++) {
        float z = codes[static_cast<size_t>(i) * l + c];
        double difference = static_cast<double>(z) - base;
        sum += difference, square += difference * difference;
        used = used || z != 0.0f;
      }
      double spread = square - sum * sum / batch;
      double deviation = batch > 1 && spread > 0.0 ? sqrt(spread / (batch - 1)) : 0.0;
      double shortfall = fmax(run.variance_threshold - deviation, 0.0);
      columns[c] = batch < 2 ? 0.0 : shortfall * shortfall;
      if (used) ints(run.used)[c] = 1;
    }
  }

  DEVICE double sum_of(const double* values, int count) const {
    double sum = 0.0;
    for (int i = lane(); i < count; i += 32) sum += values[i];
    return warp_sum(sum);
  }

  // Sums up what `measure` found, by one warp of the team, a barrier after it. What it finds
  // unusable is a failure.
  DEVICE void record() {
    if (team().rank() != 0 || warp() != 0) return;
    const double* rows = doubles(run.rows);
    double sums[SAMPLE_FIGURES];
#pragma unroll
    for (int figure = 0; figure < SAMPLE_FIGURES; figure++) sums[figure] = sum_of(rows + figure * run.batch_size, batch);
    double variance = run.variance_weight != 0.0 ? run.variance_weight * sum_of(doubles(run.columns), run.code_dim) : 0.0;
    const int* steps = ints(run.steps);
    double moved = 0.0;
    for (int i = lane(); i < batch; i += 32) moved += steps[i];
    moved = warp_sum(moved);
    if (lane() != 0) return;
    double* out = doubles(run.records) + static_cast<size_t>(number) * RECORD;
    double encoder = run.mode == TRAIN && run.has_encoder ? run.encoder_weight * sums[ROW_ENCODER] : 0.0;
    double l1 = run.lambda * sums[ROW_L1];
    out[PSNR] = sums[ROW_PSNR];
    out[ZEROS] = sums[ROW_ZEROS];
    out[L1] = sums[ROW_L1];
    out[RECONSTRUCTION] = sums[ROW_ERROR];
    out[VARIANCE] = variance;
    out[ENCODER] = encoder;
    out[ENCODER_LOSS] = sums[ROW_ENCODER];
    out[STEPS] = moved;
    out[ITERATIONS] = steps[run.batch_size];
    int failure = FINE;
    if (!isfinite(sums[ROW_POWER])) {
      failure = BAD_INPUTS;
    } else if (!isfinite(sums[ROW_ERROR])) {
      failure = BAD_RECONSTRUCTION;
    } else if (!isfinite(variance)) {
      failure = BAD_VARIANCE;
    } else if (!isfinite(encoder)) {
      failure = BAD_ENCODER;
    } else if (!isfinite(l1)) {
      failure = BAD_L1;
    } else if (sums[ROW_ERROR] > LIMIT * fmax(sums[ROW_POWER], 2.2250738585072014e-308)) {
      failure = TOO_LARGE;
    }
    out[FAILURE] = failure;
    if (run.mode == TRAIN) ints(run.status)[0] = failure;
  }

  // Sums of the columns of a matrix `count × columns`, each by the lanes of one block's warps;
  // `write(column, sum)`. A block has 32 columns at a time.
  template <class Value, class Write>
  DEVICE void column_sums(int count, int columns, Value value, Write write) {
    float* partial = products.pool;
    for (int from = team().rank() * 32; from < columns; from += team().size() * 32) {
      int c = from + lane();
      float sum = 0.0f;
      if (c < columns) {
        for (int i = warp(); i < count; i += WARPS) sum += value(i, c);
      }
      __syncthreads();
      partial[warp() * 32 + lane()] = sum;
      __syncthreads();
      float all = partial[lane()];
      for (int w = 1; w < WARPS; w++) all += partial[w * 32 + lane()];
      write(c, all, c < columns);
    }
    __syncthreads();
  }

  // The gradient of the decoder's loss, mean (1/d)‖y − D(z)‖², and of the encoder's, mean
  // (1/l)‖E(y) − z‖². The figures are taken on the way.
  DEVICE void gradients() {
    int d = run.input_dim, l = run.code_dim, m = run.hidden_dim, last = run.lista_iterations, n = batch;
    const float *y = at(run.batch), *z = at(run.codes), *error = at(run.error);
    float scale = static_cast<float>(2.0 / (static_cast<double>(n) * d));

    float* drive = at(run.drive_gradient);
    if (run.has_encoder) {
      float of_code = static_cast<float>(2.0 / (static_cast<double>(n) * l));
      const float* encoded = trace(last);
      float* out = delta(last);
      for (int e = team().member(); e < n * l; e += team().members()) {
        float value = encoded[e] > 0.0f ? (encoded[e] - z[e]) * of_code : 0.0f;
        out[e] = value, drive[e] = value;
      }
    }
    measure();
    if (is_linear()) {
      float* to = gradient(DICTIONARY);
      products.perform(
          task(0, Matrix(error, 1, d), Matrix(z, l, 1), d, l, n, [=](int i, int j, float v) { to[i * l + j] = v * scale; }));
    } else {
      const float* output = parameter(OUTPUT);
      float *units = at(run.hidden), *delta = at(run.hidden_delta), *to = gradient(OUTPUT), *to_hidden = gradient(HIDDEN),
            *to_bias = gradient(HIDDEN_BIAS);
      products.perform(
          task(0, Matrix(error, 1, d), Matrix(units, m, 1), d, m, n, [=](int i, int j, float v) { to[i * m + j] = v * scale; }),
          task(1, Matrix(error, d, 1), Matrix(output, m, 1), n, m, d,
               [=](int i, int j, float v) { delta[i * m + j] = units[i * m + j] > 0.0f ? v * scale : 0.0f; }));
      products.perform(
          task(0, Matrix(delta, 1, m), Matrix(z, l, 1), m, l, n, [=](int i, int j, float v) { to_hidden[i * l + j] = v; }));
      column_sums(
          n, m, [=](int i, int c) { return delta[i * m + c]; },
          [=](int c, float sum, bool there) {
            if (there && warp() == 0) to_bias[c] = sum;
          });
    }
    record();
    if (!run.has_encoder) {
      // The hidden bias's gradient was written last.
      team().sync();
      return;
    }
    // Back through the encoder's iterations.
    const float* s = parameter(RECURRENT);
    for (int i = last; i > 0; i--) {
      const float* before = trace(i - 1);
      float* out = delta(i - 1);
      products.perform(task(0, Matrix(delta(i), l, 1), Matrix(s, l, 1), n, l, l, [=](int i, int j, float v) {
        float value = before[i * l + j] > 0.0f ? v : 0.0f;
        out[i * l + j] = value;
        drive[i * l + j] += value;
      }));
    }
    float *to_input = gradient(INPUT), *to_bias = gradient(BIAS), *to_recurrent = gradient(RECURRENT);
    column_sums(
        n, l, [=](int i, int c) { return drive[i * l + c]; },
        [=](int c, float sum, bool there) {
          if (there && warp() == 0) to_bias[c] = sum;
        });
    // All iterations' δᵀ z at once, one under the other.
    products.perform(
        task(0, Matrix(drive, 1, l), Matrix(y, d, 1), l, d, n, [=](int i, int j, float v) { to_input[i * d + j] = v; }),
        task(1, Matrix(delta(last > 0 ? 1 : 0), 1, l), Matrix(trace(0), l, 1), l, l, last * n,
             [=](int i, int j, float v) { to_recurrent[i * l + j] = v; }));
  }

  // Whether figures and gradients are all finite, the same for all threads.
  DEVICE bool usable() {
    int* status = ints(run.status);
    for (int p = 0; p < PARAMETERS; p++) {
      const float* from = gradient(p);
      bool bad = false;
      for (size_t e = team().member(); e < run.parameter[p].count; e += team().members()) bad = bad || !isfinite(from[e]);
      if (bad) status[1 + p] = 1;
    }
    team().sync();
    int failure = status[0];
    for (int p = PARAMETERS - 1; p >= 0 && status[0] == FINE; p--) {
      if (status[1 + p]) failure = BAD_GRADIENT + p;
    }
    if (failure != FINE && team().member() == 0) doubles(run.records)[static_cast<size_t>(number) * RECORD + FAILURE] = failure;
    return failure == FINE;
  }

  // One update by Adam as torch orders its operations, weight decay in its L2 form. Ends without a
  // barrier: the next batch begins with one before it reads a parameter.
  DEVICE void learn() {
    const float* updates = at(run.updates) + static_cast<size_t>(number) * 4;
    for (int p = 0; p < PARAMETERS; p++) {
      const Parameter& about = run.parameter[p];
      float correction = updates[about.encoder ? 2 : 0], step = updates[about.encoder ? 3 : 1];
      float *values = parameter(p), *first = at(run.first_moment) + about.offset, *second = at(run.second_moment) + about.offset;
      const float* from = gradient(p);
      for (size_t e = team().member(); e < about.count; e += team().members()) {
        float g = from[e] + values[e] * about.decay;
        float m = first[e] * BETA_1 + g * REST_1;
        float v = second[e] * BETA_2 + g * g * REST_2;
        first[e] = m, second[e] = v;
        values[e] -= m / (sqrtf(v) * correction + EPSILON) * step;
      }
    }
    if (!run.normalizes_columns) return;
    team().sync();
    rescale(parameter(DICTIONARY), is_linear() ? run.input_dim : run.hidden_dim, run.code_dim);
    if (!is_linear()) rescale(parameter(OUTPUT), run.input_dim, run.hidden_dim);
  }

  // Columns to norm 1; those that are 0 stay.
  DEVICE void rescale(float* matrix, int count, int columns) {
    column_sums(
        count, columns,
        [=](int i, int c) {
          float value = matrix[static_cast<size_t>(i) * columns + c];
          return value * value;
        },
        [=](int c, float sum, bool there) {
          float norm = sum == 0.0f ? 1.0f : sqrtf(sum);
          if (!there) return;
          for (int i = warp(); i < count; i += WARPS) matrix[static_cast<size_t>(i) * columns + c] /= norm;
        });
  }

  // Does batches `first..first + count`. A failure ends it, with the parameters as they were before
  // that batch.
  DEVICE void go(int first, int count) {
    for (number = first; number < first + count; number++) {
      int left = run.samples - number * run.batch_size;
      batch = left < run.batch_size ? left : run.batch_size;
      bool infers = run.mode != EVALUATE || !run.has_encoder;
      gather();
      encode(infers);
      const float* encoded = trace(run.lista_iterations);
      bool starts_encoded = run.has_encoder && run.mode != INFER;
      if (starts_encoded) {
        // Where the loop looks for E(y), and an evaluation for codes.
        float* to = at(infers ? run.encoder_codes : run.codes);
        for (int e = team().member(); e < batch * run.code_dim; e += team().members()) to[e] = encoded[e];
        team().sync();
      }
      if (infers) {
        infer(starts_encoded ? encoded : at(run.start));
      }
      if (run.mode == INFER) continue;
      reconstruct();
      if (run.mode == EVALUATE) {
        measure();
        team().sync();
        record();
        continue;
      }
      gradients();
      if (!usable()) return;
      learn();
    }
  }
};
