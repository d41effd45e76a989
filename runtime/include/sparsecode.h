/*
 * sparsecode: sparse codes on microcontrollers, for programs in C99 or C++11 and later.
 *
 * Written by `cargo xtask header` from runtime/src/capi: change it there.
 *
 * A program loads a model file in place, owns all memory, and calls
 *
 *     sparsecode_model_load        once
 *     sparsecode_denoise           for each patch, or
 *     sparsecode_preprocess, _encode, _refine, _decode, _restore, one by one
 *
 * and the functions named sparsecode_integer_... for models in integer arithmetic (`sparsecode
 * export --activations i16`). A signal without end goes through a model that denoises by
 *
 *     sparsecode_stream_start      once for each channel
 *     sparsecode_stream_push       for each sample, or block of samples
 *
 * Nothing allocates, locks, or keeps anything between calls: any number
 * of models, codes and workspaces may be in use at once, each call with memory of its own. A
 * workspace may serve one call after another, with whatever is in it.
 *
 * Every function answers a sparsecode_status, which is 0 if it did what it says. Checked at every
 * call are null pointers, alignment, lengths, overlapping memory, handles without a model, codes,
 * and settings. What cannot be checked is the caller's part:
 *
 * - a pointer that is not null points to as much memory as its type, or the length beside it, says,
 *   which may be read, and written if it is not const, and which nothing else writes until the call
 *   returns;
 * - a model handle is zero, or was written by the function that loads it and not changed since (a
 *   copy of it is as good);
 * - a model file stays where it is, unchanged, as long as its handle is in use;
 * - a deadline function can be called with its context at any time during the call, returns, and
 *   leaves the memory that the call was given alone.
 *
 * Header and library belong together: replace both or none.
 */


#ifndef SPARSECODE_H
#define SPARSECODE_H

#include <stddef.h>
#include <stdint.h>

/**
 * Bytes of workspace for a model in float arithmetic; its start is a multiple of 4. With these, and
 * arrays for a code, memory can be reserved when the program is compiled: static float
 * workspace[SPARSECODE_WORKSPACE_BYTES(64, 128, 0) / sizeof(float)];
 */
#define SPARSECODE_WORKSPACE_BYTES(input_dim, code_dim, hidden_dim) (4u * ((input_dim) + 2u * (code_dim) + (hidden_dim)))

/**
 * Bytes of workspace for a model in integer arithmetic; its start is a multiple of 4.
 */
#define SPARSECODE_INTEGER_WORKSPACE_BYTES(code_dim) (18u * (code_dim))

/**
 * The same for a model with a dense encoder.
 */
#define SPARSECODE_DENSE_WORKSPACE_BYTES(code_dim, hidden_units) (18u * (code_dim) + 6u * (hidden_units))

/**
 * Numbers of memory for the Gram matrix of a model in integer arithmetic that leaves it to be built.
 */
#define SPARSECODE_INTEGER_GRAM_LENGTH(code_dim) ((code_dim) * (((code_dim) + 7u) / 8u * 8u))

/**
 * Bytes of a channel of a signal, for a model in float or in integer arithmetic with this window and
 * drift filter (0: none); its start is a multiple of 4.
 */
#define SPARSECODE_STREAM_BYTES(window, drift) (260u + 8u * ((window) + (drift)))
#define SPARSECODE_INTEGER_STREAM_BYTES(window, drift) ((176u + 6u * ((window) + (drift)) + 3u) / 4u * 4u)

/**
 * Bytes of workspace for the channels of a model in float or in integer arithmetic; its start is a
 * multiple of 4.
 */
#define SPARSECODE_STREAM_WORKSPACE_BYTES(window, code_dim) (12u * (window) + 8u * (code_dim) + (6u * (code_dim) + 3u) / 4u * 4u)
#define SPARSECODE_INTEGER_STREAM_WORKSPACE_BYTES(window, code_dim) (4u * (window) + 22u * (code_dim))


/**
 * What a call answers: 0, or why it did nothing. A call that fails leaves its arguments as they
 * are.
 */
enum sparsecode_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Done.
   */
  SPARSECODE_STATUS_OK = 0,
  /**
   * A pointer is null that must not be.
   */
  SPARSECODE_STATUS_NULL_POINTER = 1,
  /**
   * A pointer is not aligned for its type. Model files and workspaces start on a multiple of 4,
   * handles on one of 8.
   */
  SPARSECODE_STATUS_MISALIGNED = 2,
  /**
   * Memory that the call writes overlaps other memory that it was given.
   */
  SPARSECODE_STATUS_OVERLAP = 3,
  /**
   * The patch is not as long as the model's, or a length does not fit the address space.
   */
  SPARSECODE_STATUS_LENGTH = 4,
  /**
   * The workspace or the code's capacity is smaller than the model needs.
   */
  SPARSECODE_STATUS_TOO_SMALL = 5,
  /**
   * The handle holds no model.
   */
  SPARSECODE_STATUS_NOT_LOADED = 6,
  /**
   * The code is none of this model: indices are not ascending or not below `code_dim`, or a
   * value is 0, not finite, or negative although the model's codes are not signed.
   */
  SPARSECODE_STATUS_INVALID_CODE = 7,
  /**
   * A setting is none of its values, or outside its range.
   */
  SPARSECODE_STATUS_INVALID_SETTING = 8,
  /**
   * The bytes are no model file, or it was cut short.
   */
  SPARSECODE_STATUS_NOT_A_MODEL = 9,
  /**
   * The model file is for the other arithmetic: integers instead of float, or the reverse.
   */
  SPARSECODE_STATUS_OTHER_ARITHMETIC = 10,
  /**
   * The model file is of a version that this library does not know.
   */
  SPARSECODE_STATUS_VERSION = 11,
  /**
   * The model file is damaged or inconsistent; `sparsecode inspect` on a host says where.
   */
  SPARSECODE_STATUS_INVALID_MODEL = 12,
  /**
   * More bytes were given than the model file has.
   */
  SPARSECODE_STATUS_TRAILING_DATA = 13,
  /**
   * The model's weights are not those that were written.
   */
  SPARSECODE_STATUS_CHECKSUM = 14,
  /**
   * The model was not trained to denoise signals: `sparsecode train --task denoise`.
   */
  SPARSECODE_STATUS_NOT_A_DENOISER = 15,
  /**
   * The memory holds no channel that was started with this model.
   */
  SPARSECODE_STATUS_NOT_STARTED = 16,
  /**
   * The file leaves its Gram matrix to be built, and there is no memory for it, or too little:
   * `sparsecode_integer_model_load_into`.
   */
  SPARSECODE_STATUS_GRAM_MEMORY = 17,
  /**
   * The model's file holds no posterior to draw samples from: export the run of a variational
   * model with `sparsecode export --posterior`.
   */
  SPARSECODE_STATUS_NO_POSTERIOR = 18,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sparsecode_status sparsecode_status;
#else
typedef int32_t sparsecode_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a refinement ended.
 */
enum sparsecode_stop
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * The code changed by less than the tolerance, or is zero for good.
   */
  SPARSECODE_STOP_CONVERGED = 0,
  /**
   * `max_iterations` were made.
   */
  SPARSECODE_STOP_BUDGET = 1,
  /**
   * The deadline function said so.
   */
  SPARSECODE_STOP_DEADLINE = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sparsecode_stop sparsecode_stop;
#else
typedef int32_t sparsecode_stop;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where a refinement starts.
 */
enum sparsecode_start
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * At the code handed in, as the encoder left it.
   */
  SPARSECODE_START_CODE = 0,
  /**
   * At zero.
   */
  SPARSECODE_START_ZERO = 1,
  /**
   * With every component at `start_value`, which should be small and positive: for decoders with
   * a hidden layer and no encoder.
   */
  SPARSECODE_START_CONSTANT = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum sparsecode_start sparsecode_start;
#else
typedef int32_t sparsecode_start;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A model in float arithmetic: where its parts lie in its file. Make it zero or load it before
 * anything else is done with it; nothing has to be released. It may be copied.
 */
typedef struct sparsecode_model {
  size_t opaque[224];
  uint64_t aligned;
} sparsecode_model;

/**
 * What a model file says about itself.
 */
typedef struct sparsecode_model_info {
  /**
   * d: samples of a patch.
   */
  uint32_t input_dim;
  /**
   * Rows of a patch; 1 for windows of a signal.
   */
  uint32_t height;
  /**
   * Samples of a row.
   */
  uint32_t width;
  /**
   * l: components of a code, and what the capacity of a code has to be.
   */
  uint32_t code_dim;
  /**
   * m: hidden units of the decoder, or, of a dense encoder, those that the workspace has room
   * for; 0 without either.
   */
  uint32_t hidden_dim;
  /**
   * Whether there is an encoder. Without one, codes are inferred by refinement alone.
   */
  uint32_t has_encoder;
  /**
   * Whether codes are signed. Otherwise no component of a code is negative.
   */
  uint32_t has_signed_codes;
  /**
   * CRC-32 of the weights, as the file states it: a short identity of the model.
   */
  uint32_t checksum;
  /**
   * Raw samples are normalised to `(x - mean) / deviation`.
   */
  float mean;
  /**
   * See `mean`.
   */
  float deviation;
  /**
   * The range of raw samples, for PSNR.
   */
  float peak;
  /**
   * Bytes of the file.
   */
  size_t file_bytes;
  /**
   * Bytes of workspace that the calls need: `SPARSECODE_WORKSPACE_BYTES`.
   */
  size_t workspace_bytes;
} sparsecode_model_info;

/**
 * What `sparsecode_preprocess` did to one patch, for `sparsecode_restore`.
 */
typedef struct sparsecode_normalisation {
  /**
   * Mean of the patch after the model's normalisation; 0 where the model leaves it in.
   */
  float mean;
  /**
   * What the patch was divided by; 1 where the model does not divide. 0 if nothing was done,
   * because the model wants local contrast normalisation, which needs the surroundings of a
   * patch and is the caller's.
   */
  float deviation;
} sparsecode_normalisation;

/**
 * A sparse code: the active components only, in arrays of the caller. Set the pointers and the
 * capacity; calls that make a code set `active`. To decode a code from elsewhere, fill in
 * `indices`, `values` and `active`.
 */
typedef struct sparsecode_code {
  /**
   * Indices of the active components, ascending. Room for `capacity`.
   */
  uint16_t *indices;
  /**
   * Their values, finite and not 0; not negative unless the model's codes are signed. Room for
   * `capacity`.
   */
  float *values;
  /**
   * Elements of both arrays; at least the model's `code_dim`.
   */
  uint16_t capacity;
  /**
   * Active components.
   */
  uint16_t active;
} sparsecode_code;

/**
 * Which samples `sparsecode_encode_best_of` draws. The same numbers give the same samples on every
 * core, in C and in Rust.
 */
typedef struct sparsecode_samples {
  /**
   * The key of all random numbers.
   */
  uint64_t seed;
  /**
   * The number of the input: of a window in a stream, of a patch in a picture. Inputs with the
   * same number have the same noise.
   */
  uint64_t input;
  /**
   * The first sample's number; 0 usually.
   */
  uint32_t first;
  /**
   * How many samples are drawn: at least 1.
   */
  uint32_t count;
} sparsecode_samples;

/**
 * The best of some samples.
 */
typedef struct sparsecode_best {
  /**
   * Its number.
   */
  uint32_t sample;
  /**
   * Its mean square error, in the unit of the preprocessed patch.
   */
  float error;
} sparsecode_best;

/**
 * How a code is refined. `sparsecode_settings_for_model` and `sparsecode_settings_for_noise` fill
 * it in.
 */
typedef struct sparsecode_refine_settings {
  /**
   * The weight of sparsity in the energy, finite, 0 or more. More makes the code sparser.
   */
  float lambda;
  /**
   * Step of the gradient, finite, above 0. Above the model's own the iteration may diverge.
   */
  float step_size;
  /**
   * Largest number of iterations.
   */
  uint32_t max_iterations;
  /**
   * Converged when the code changes by less, relative to itself; finite, 0 or more. 0 runs to
   * the last iteration.
   */
  float tolerance;
  /**
   * A `sparsecode_start`.
   */
  int32_t start;
  /**
   * The start's value, finite, 0 or more; for `SPARSECODE_START_CONSTANT`, else it may be
   * anything.
   */
  float start_value;
  /**
   * Asked before each iteration; anything but 0 ends the refinement. May be null.
   */
  int (*deadline)(void *context);
  /**
   * What `deadline` is called with.
   */
  void *context;
} sparsecode_refine_settings;

/**
 * What a refinement did.
 */
typedef struct sparsecode_refinement {
  /**
   * Iterations made.
   */
  uint32_t iterations;
  /**
   * Why it ended.
   */
  sparsecode_stop stopped;
  /**
   * Mean squared residual of the code, in the unit of the preprocessed patch.
   */
  float residual;
  /**
   * The residual and lambda times the sum of the code's magnitudes.
   */
  float energy;
} sparsecode_refinement;

/**
 * A sparse code in levels of 16 bits: the active components only, packed in an array of the
 * caller. Set the pointer and the capacity; calls that make a code set `active`.
 * `sparsecode_integer_code_get` reads a component; to decode a code from elsewhere, set `active`
 * to 0 and append its components with `sparsecode_integer_code_push`.
 */
typedef struct sparsecode_integer_code {
  /**
   * The active components, in a form that is the library's. Room for `capacity`.
   */
  uint32_t *entries;
  /**
   * Elements of the array; at least the model's `code_dim`, at most 4095.
   */
  uint16_t capacity;
  /**
   * Active components.
   */
  uint16_t active;
} sparsecode_integer_code;

/**
 * A model in integer arithmetic: where its parts lie in its file. Make it zero or load it before
 * anything else is done with it; nothing has to be released. It may be copied.
 */
typedef struct sparsecode_integer_model {
  size_t opaque[136];
} sparsecode_integer_model;

/**
 * What a model file says about itself, in integers.
 */
typedef struct sparsecode_integer_model_info {
  /**
   * d: samples of a patch.
   */
  uint32_t input_dim;
  /**
   * Rows of a patch; 1 for windows of a signal.
   */
  uint32_t height;
  /**
   * Samples of a row.
   */
  uint32_t width;
  /**
   * l: components of a code, and what the capacity of a code has to be.
   */
  uint32_t code_dim;
  /**
   * Hidden units of a dense encoder that the workspace has room for; 0 without one.
   */
  uint32_t hidden_units;
  /**
   * Whether there is an encoder. Without one, codes are inferred by refinement alone.
   */
  uint32_t has_encoder;
  /**
   * Whether codes are signed. Otherwise no component of a code is negative.
   */
  uint32_t has_signed_codes;
  /**
   * CRC-32 of the weights, as the file states it: a short identity of the model.
   */
  uint32_t checksum;
  /**
   * The smallest raw level; smaller ones are raised to it.
   */
  int16_t input_min;
  /**
   * The largest raw level; larger ones are cut to it.
   */
  int16_t input_max;
  /**
   * Bytes of the file.
   */
  size_t file_bytes;
  /**
   * Bytes of workspace that the calls need: `SPARSECODE_INTEGER_WORKSPACE_BYTES`, or
   * `SPARSECODE_DENSE_WORKSPACE_BYTES` with hidden units.
   */
  size_t workspace_bytes;
} sparsecode_integer_model_info;

/**
 * What `sparsecode_integer_preprocess` did to one patch, for `sparsecode_integer_restore`.
 */
typedef struct sparsecode_integer_normalisation {
  /**
   * What was subtracted, in raw levels.
   */
  int16_t mean;
  /**
   * What the patch was divided by, in sixteenths of a raw level; 0 where the model does not
   * divide.
   */
  uint32_t deviation;
} sparsecode_integer_normalisation;

/**
 * How a code is refined. `sparsecode_integer_settings_for_model` fills it in.
 */
typedef struct sparsecode_integer_refine_settings {
  /**
   * A `sparsecode_method`.
   */
  int32_t method;
  /**
   * What sparsity weighs, 0 or more: the file's for the lambda of training, in proportion for
   * any other.
   */
  int32_t threshold;
  /**
   * Largest number of iterations.
   */
  uint32_t max_iterations;
  /**
   * Converged when the code changes by less than 2 to the power of minus this, relative to
   * itself. 31 and more run until nothing changes.
   */
  uint8_t tolerance_bits;
  /**
   * Whether to start at zero instead of at the code: 0 or anything else.
   */
  uint8_t from_zero;
  /**
   * Asked before each iteration; anything but 0 ends the refinement. May be null.
   */
  int (*deadline)(void *context);
  /**
   * What `deadline` is called with.
   */
  void *context;
} sparsecode_integer_refine_settings;

/**
 * What a refinement did.
 */
typedef struct sparsecode_integer_refinement {
  /**
   * Iterations made.
   */
  uint32_t iterations;
  /**
   * Why it ended.
   */
  sparsecode_stop stopped;
} sparsecode_integer_refinement;

/**
 * How a model that denoises takes a signal, and what memory that needs.
 */
typedef struct sparsecode_stream_info {
  /**
   * Samples of a window.
   */
  uint32_t window;
  /**
   * Samples from the start of one window to the start of the next.
   */
  uint32_t hop;
  /**
   * Samples of the moving means that are taken off first; 0 for none.
   */
  uint32_t drift;
  /**
   * Samples that go in before the first one comes out.
   */
  uint32_t latency;
  /**
   * Bytes of a channel, whose start is a multiple of 4: `SPARSECODE_STREAM_BYTES` or
   * `SPARSECODE_INTEGER_STREAM_BYTES`.
   */
  size_t channel_bytes;
  /**
   * Bytes of workspace that the calls need, whose start is a multiple of 4:
   * `SPARSECODE_STREAM_WORKSPACE_BYTES` or `SPARSECODE_INTEGER_STREAM_WORKSPACE_BYTES`. One
   * workspace serves all channels.
   */
  size_t workspace_bytes;
} sparsecode_stream_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * A short English text for a status, for logs. Any number will do; the text is never null and
 * lives for ever.
 */
const char *sparsecode_status_message(int32_t status);

/**
 * Loads a model file in place: `length` bytes that start on a multiple of 4 and stay where they
 * are, in flash usually. Everything in the file is checked before it is used, except for the
 * checksum. Takes about 4 kB of stack, or 7 kB in a library with variational models, and one pass
 * over the file.
  */
sparsecode_status sparsecode_model_load(struct sparsecode_model *model, const void *file, size_t length);

/**
 * The same for a file at the start of more memory, such as a flash partition; what follows the
 * file is passed over.
  */
sparsecode_status sparsecode_model_load_slot(struct sparsecode_model *model, const void *slot, size_t length);

/**
 * Compares the model's weights with the checksum in its file: for files that travelled.
  */
sparsecode_status sparsecode_model_verify_checksum(const struct sparsecode_model *model);

/**
 * Writes what the model's file says about itself.
  */
sparsecode_status sparsecode_model_get_info(const struct sparsecode_model *model, struct sparsecode_model_info *info);

/**
 * Brings raw samples to the unit in which the model was trained, in place. `length` is the model's
 * `input_dim`.
  */
sparsecode_status sparsecode_preprocess(const struct sparsecode_model *model,
                                        float *patch,
                                        size_t length,
                                        struct sparsecode_normalisation *normalisation);

/**
 * Brings a patch back to raw samples, in place: undoes `sparsecode_preprocess`.
  */
sparsecode_status sparsecode_restore(const struct sparsecode_model *model,
                                     float *patch,
                                     size_t length,
                                     const struct sparsecode_normalisation *normalisation);

/**
 * Makes the sparse code of a preprocessed patch, by the model's encoder; without one, by 200
 * iterations of refinement at most.
  */
sparsecode_status sparsecode_encode(const struct sparsecode_model *model,
                                    const float *patch,
                                    size_t length,
                                    struct sparsecode_code *code,
                                    void *workspace,
                                    size_t workspace_bytes);

/**
 * Draws codes of a preprocessed patch from the posterior of a variational model, and keeps the one
 * with the smallest square error; of equal ones the first. `best` receives its number and its
 * error; it may be null. Needs no more workspace than `sparsecode_encode`. The model's file has to
 * be exported with `--posterior`, and the library made with the feature `variational`; otherwise
 * the answer is `SPARSECODE_NO_POSTERIOR`.
  */
sparsecode_status sparsecode_encode_best_of(const struct sparsecode_model *model,
                                            const float *patch,
                                            size_t length,
                                            const struct sparsecode_samples *samples,
                                            struct sparsecode_code *code,
                                            void *workspace,
                                            size_t workspace_bytes,
                                            struct sparsecode_best *best);

/**
 * Improves a code for a preprocessed patch by FISTA until it converged, the budget is used, or the
 * deadline function says so. Whatever ended it, the code is whole, and its energy is not above
 * that of the start. `refinement` receives what was done; it may be null.
  */
sparsecode_status sparsecode_refine(const struct sparsecode_model *model,
                                    const float *patch,
                                    size_t length,
                                    struct sparsecode_code *code,
                                    const struct sparsecode_refine_settings *settings,
                                    void *workspace,
                                    size_t workspace_bytes,
                                    struct sparsecode_refinement *refinement);

/**
 * Writes the reconstruction of a code to `patch`, in the unit of the preprocessed patch. The code
 * is checked first: it may come from elsewhere.
  */
sparsecode_status sparsecode_decode(const struct sparsecode_model *model,
                                    const struct sparsecode_code *code,
                                    float *patch,
                                    size_t length,
                                    void *workspace,
                                    size_t workspace_bytes);

/**
 * Replaces a raw patch by its reconstruction from a sparse code: preprocess, encode, refine if
 * `settings` is not null, decode, restore. Nothing is encoded if the settings start elsewhere than
 * at the code. `code` receives the code, and `refinement`, unless it is null, what the refinement
 * did, if there was one.
  */
sparsecode_status sparsecode_denoise(const struct sparsecode_model *model,
                                     float *patch,
                                     size_t length,
                                     const struct sparsecode_refine_settings *settings,
                                     struct sparsecode_code *code,
                                     void *workspace,
                                     size_t workspace_bytes,
                                     struct sparsecode_refinement *refinement);

/**
 * Fills in the settings that the model was trained with: its lambda and step size, 200 iterations
 * at most, a tolerance of 1e-3, from the code, no deadline.
  */
sparsecode_status sparsecode_settings_for_model(const struct sparsecode_model *model, struct sparsecode_refine_settings *settings);

/**
 * The same with the lambda that removes white noise of standard deviation `sigma`, given in the
 * unit of the *preprocessed* patch: that of the sensor divided by the model's `deviation`, and by
 * the patch's own if the model standardises patches. Finite, 0 or more.
  */
sparsecode_status sparsecode_settings_for_noise(const struct sparsecode_model *model,
                                                float sigma,
                                                struct sparsecode_refine_settings *settings);

/**
 * Writes the component of a code at `position`, below `active`: its index, and its level, which is
 * not 0.
  */
sparsecode_status sparsecode_integer_code_get(const struct sparsecode_integer_code *code,
                                              uint16_t position,
                                              uint16_t *index,
                                              int16_t *level);

/**
 * Appends a component to a code: its index, greater than those before it and below the capacity,
 * and its level, -32767 to 32767 and not 0. Calls with a model refuse a code with negative levels
 * unless the model's codes are signed.
  */
sparsecode_status sparsecode_integer_code_push(struct sparsecode_integer_code *code, uint16_t index, int16_t level);

/**
 * Loads a model file in place: `length` bytes that start on a multiple of 4 and stay where they
 * are, in flash usually. Everything in the file is checked before it is used, except for the
 * checksum. Takes about 3 kB of stack, or 6 kB in a library with variational models, and one pass
 * over the file.
  */
sparsecode_status sparsecode_integer_model_load(struct sparsecode_integer_model *model, const void *file, size_t length);

/**
 * The same for a file that leaves its Gram matrix to be built (`sparsecode export --gram built`),
 * in `SPARSECODE_INTEGER_GRAM_LENGTH` numbers of memory that nothing writes as long as the handle
 * is in use. A file that stores its Gram matrix, or has none, leaves that memory alone.
  */
sparsecode_status sparsecode_integer_model_load_into(struct sparsecode_integer_model *model,
                                                     const void *file,
                                                     size_t length,
                                                     int16_t *gram,
                                                     size_t gram_length);

/**
 * Compares the model's weights with the checksum in its file: for files that travelled.
  */
sparsecode_status sparsecode_integer_model_verify_checksum(const struct sparsecode_integer_model *model);

/**
 * Writes what the model's file says about itself.
  */
sparsecode_status sparsecode_integer_model_get_info(const struct sparsecode_integer_model *model,
                                                    struct sparsecode_integer_model_info *info);

/**
 * Writes what one level is in real units: of a raw sample, and of a component of a code. Floating
 * point, unlike every other function for integer models.
  */
sparsecode_status sparsecode_integer_model_get_scales(const struct sparsecode_integer_model *model, float *input_scale, float *code_scale);

/**
 * Brings raw levels to those that the weights take, in place. `length` is the model's `input_dim`.
  */
sparsecode_status sparsecode_integer_preprocess(const struct sparsecode_integer_model *model,
                                                int16_t *patch,
                                                size_t length,
                                                struct sparsecode_integer_normalisation *normalisation);

/**
 * Brings a decoded patch back to raw levels, in place: undoes `sparsecode_integer_preprocess`.
  */
sparsecode_status sparsecode_integer_restore(const struct sparsecode_integer_model *model,
                                             int16_t *patch,
                                             size_t length,
                                             const struct sparsecode_integer_normalisation *normalisation);

/**
 * Makes the sparse code of a preprocessed patch, by the model's encoder; without one, by 200
 * iterations of refinement at most.
  */
sparsecode_status sparsecode_integer_encode(const struct sparsecode_integer_model *model,
                                            const int16_t *patch,
                                            size_t length,
                                            struct sparsecode_integer_code *code,
                                            void *workspace,
                                            size_t workspace_bytes);

/**
 * Improves a code for a preprocessed patch by coordinate descent or FISTA until it converged, the
 * budget is used, or the deadline function says so. Whatever ended it, the code is whole, and its
 * energy is not above that of the start. `refinement` receives what was done; it may be null.
  */
sparsecode_status sparsecode_integer_refine(const struct sparsecode_integer_model *model,
                                            const int16_t *patch,
                                            size_t length,
                                            struct sparsecode_integer_code *code,
                                            const struct sparsecode_integer_refine_settings *settings,
                                            void *workspace,
                                            size_t workspace_bytes,
                                            struct sparsecode_integer_refinement *refinement);

/**
 * Writes the reconstruction of a code to `patch`, in raw levels up to the patch's own contrast.
 * The code is checked first: it may come from elsewhere.
  */
sparsecode_status sparsecode_integer_decode(const struct sparsecode_integer_model *model,
                                            const struct sparsecode_integer_code *code,
                                            int16_t *patch,
                                            size_t length,
                                            void *workspace,
                                            size_t workspace_bytes);

/**
 * Replaces a raw patch by its reconstruction from a sparse code: preprocess, encode, refine if
 * `settings` is not null, decode, restore. Nothing is encoded if the settings start at zero.
 * `code` receives the code, and `refinement`, unless it is null, what the refinement did, if there
 * was one.
  */
sparsecode_status sparsecode_integer_denoise(const struct sparsecode_integer_model *model,
                                             int16_t *patch,
                                             size_t length,
                                             const struct sparsecode_integer_refine_settings *settings,
                                             struct sparsecode_integer_code *code,
                                             void *workspace,
                                             size_t workspace_bytes,
                                             struct sparsecode_integer_refinement *refinement);

/**
 * Fills in the settings that the model was trained with: coordinate descent, its threshold, 200
 * iterations at most, a tolerance of 10 bits, from the code, no deadline.
  */
sparsecode_status sparsecode_integer_settings_for_model(const struct sparsecode_integer_model *model,
                                                        struct sparsecode_integer_refine_settings *settings);

/**
 * Writes how a model of `sparsecode train --task denoise` takes a signal.
  */
sparsecode_status sparsecode_stream_get_info(const struct sparsecode_model *model, struct sparsecode_stream_info *info);

/**
 * Makes a channel of memory: the next sample is the first. Needed once for each channel, and again
 * to forget all samples and the noise. A channel belongs to this model.
  */
sparsecode_status sparsecode_stream_start(const struct sparsecode_model *model, void *channel, size_t channel_bytes);

/**
 * Takes raw samples and gives clean ones without drift, in place: the first `given` of `block`,
 * which is all of it once as many samples as the latency went in. What lies behind them is
 * unspecified. `sigma` is the deviation of the noise in raw units; 0: it is estimated.
  */
sparsecode_status sparsecode_stream_push(const struct sparsecode_model *model,
                                         void *channel,
                                         size_t channel_bytes,
                                         float sigma,
                                         float *block,
                                         size_t length,
                                         size_t *given,
                                         void *workspace,
                                         size_t workspace_bytes);

/**
 * Ends the signal: writes the samples that are still in the channel to `output`, so that as many
 * have come out as went in. `capacity` is at least the latency. The channel is then as started.
  */
sparsecode_status sparsecode_stream_finish(const struct sparsecode_model *model,
                                           void *channel,
                                           size_t channel_bytes,
                                           float sigma,
                                           float *output,
                                           size_t capacity,
                                           size_t *given,
                                           void *workspace,
                                           size_t workspace_bytes);

/**
 * `sparsecode_stream_get_info` for models in integer arithmetic.
  */
sparsecode_status sparsecode_integer_stream_get_info(const struct sparsecode_integer_model *model, struct sparsecode_stream_info *info);

/**
 * `sparsecode_stream_start` for models in integer arithmetic.
  */
sparsecode_status sparsecode_integer_stream_start(const struct sparsecode_integer_model *model, void *channel, size_t channel_bytes);

/**
 * `sparsecode_stream_push` for models in integer arithmetic. `sigma` is in sixteenths of a level.
  */
sparsecode_status sparsecode_integer_stream_push(const struct sparsecode_integer_model *model,
                                                 void *channel,
                                                 size_t channel_bytes,
                                                 uint16_t sigma,
                                                 int16_t *block,
                                                 size_t length,
                                                 size_t *given,
                                                 void *workspace,
                                                 size_t workspace_bytes);

/**
 * `sparsecode_stream_finish` for models in integer arithmetic. `sigma` is in sixteenths of a
 * level.
  */
sparsecode_status sparsecode_integer_stream_finish(const struct sparsecode_integer_model *model,
                                                   void *channel,
                                                   size_t channel_bytes,
                                                   uint16_t sigma,
                                                   int16_t *output,
                                                   size_t capacity,
                                                   size_t *given,
                                                   void *workspace,
                                                   size_t workspace_bytes);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SPARSECODE_H */
