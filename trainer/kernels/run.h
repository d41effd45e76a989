// What the host tells a kernel of a run. `trainer/src/lista/cuda/run.rs` has the same structure,
// field by field.
#pragma once

// A place in the arena, the run's one piece of device memory, in floats from its start; a multiple
// of 32.
typedef unsigned long long Place;

enum Mode { TRAIN = 0, EVALUATE = 1, INFER = 2 };

// Where the loop's state (codes, points, constants, products) and the Gram matrix are.
enum Storage { BOTH_SHARED = 0, STATE_SHARED = 1, BOTH_GLOBAL = 2 };

// Parameters in the order of the model: U, b, S, then W, or W1, b1, W2. Absent ones have a count of
// 0.
enum ParameterIndex {
  INPUT = 0,
  BIAS = 1,
  RECURRENT = 2,
  DICTIONARY = 3,
  HIDDEN = 3,
  HIDDEN_BIAS = 4,
  OUTPUT = 5,
  PARAMETERS = 6
};

struct Parameter {
  // From the start of the parameters, and of each moment and of the gradient, which have the same
  // layout.
  Place offset;
  unsigned long long count;
  // Weight decay, in its L2 form.
  float decay;
  // Whether it is the encoder's, whose learning rate is its own.
  int encoder;
};

// What is known of a batch when it is done, in doubles.
enum Record {
  PSNR = 0,            // sum over samples, dB
  ZEROS = 1,           // components that are 0
  L1 = 2,              // sum of ‖z‖₁
  RECONSTRUCTION = 3,  // terms of the energy, summed over the batch
  VARIANCE = 4,
  ENCODER = 5,
  ENCODER_LOSS = 6,  // sum of (E(y) − z)²
  STEPS = 7,         // sum over samples; of an evaluation by the encoder alone, nothing
  ITERATIONS = 8,
  FAILURE = 9,  // 0, or what is not finite: see Failure
  RECORD = 10
};

enum Failure {
  FINE = 0,
  BAD_INPUTS = 1,
  BAD_RECONSTRUCTION = 2,
  BAD_VARIANCE = 3,
  BAD_ENCODER = 4,
  BAD_L1 = 5,
  TOO_LARGE = 6,
  BAD_GRADIENT = 8,  // + index of the parameter
};

struct Run {
  // The set: samples × d, their order (32-bit indices), and raw units in a preprocessed one.
  Place inputs, order, scales;
  // (t_k − 1)/t_{k+1}, K numbers.
  Place momentum;
  // For each batch of an epoch: the decoder's 1/√(1 − β₂ᵗ) and rate/(1 − β₁ᵗ), then the encoder's.
  Place updates;
  // RECORD doubles for each batch; for each component whether some sample uses it (32 bits); what
  // failed (PARAMETERS + 1 times 32 bits).
  Place records, used, status;
  Place parameters, first_moment, second_moment, gradient;
  // Of a batch: inputs (n × d), drive and its gradient, start, encoder's codes, codes, correlation
  // (n × l each).
  Place batch, drive, drive_gradient, start, encoder_codes, codes, correlation;
  // Codes of the encoder's iterations and the loss's gradients for them, L + 1 times n × l.
  Place trace, deltas;
  // G, l rows of `padded`, columns in the order of `gram_column`.
  Place gram;
  // D(z) − y (n × d), h and its gradient (n × m).
  Place error, hidden, hidden_delta;
  // Doubles: figures of each sample (SAMPLE_FIGURES × n) and of each component (l).
  Place rows, columns;
  // Sums of parts of products: REGIONS times `part_floats`.
  Place parts;
  // One-hidden loop: points (n × l), whether samples move (32 bits).
  Place points, moving;
  // For each sample, its steps, and then the batch's iterations (32 bits).
  Place steps;
  // Where they are not in shared memory: state of each block, mailboxes of each block.
  Place state, boxes;
  // Counts arrivals at the barrier where there is no cluster (32 bits).
  Place barrier;
  unsigned long long part_floats;
  Parameter parameter[PARAMETERS];

  double tolerance_squared;
  // λ, β, γ/l of the energy that is reported.
  double lambda, variance_weight, encoder_weight;
  // β of inference.
  double hinge_weight;
  // Peak of the data in raw units, squared.
  double peak_squared;

  // η, λη, 2γ/l of inference, T, start without an encoder.
  float step_size, threshold, pull, variance_threshold, initial_code;

  int mode, storage;
  // d, l, m, n, L, K.
  int input_dim, code_dim, hidden_dim, batch_size, lista_iterations, max_iterations;
  // l, rounded up to CHUNK.
  int padded;
  // Samples of the set.
  int samples;
  // How many scales there are: 1, one a sample, or one a value.
  int scale_kind;
  int has_encoder, normalizes_columns, freeze;
  // Jobs that a product is divided into, if it is deep enough: of the decoder's kind, not of the
  // team, so that bits do not depend on it.
  int wanted_jobs;
  // Tiles of samples that a block owns.
  int block_tiles;
};

static_assert(sizeof(Run) == 560, "trainer/src/lista/cuda/run.rs says so too");
