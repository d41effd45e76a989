/*
 * Encodes, refines, decodes and denoises patches with a model in float arithmetic, and prints
 * checksums of the results.
 *
 * `cargo xtask capi` writes data.h and data.c, builds this for the host and for a Cortex-M4F, and
 * compares with what Rust computes.
 */
#include "sparsecode.h"

#include "crc32.h"
#include "data.h"
#include "port.h"

/* All memory that inference needs besides the stack, reserved when the program is compiled. */
static sparsecode_model model;
static float patch[INPUT_DIM];
static uint16_t indices[CODE_DIM];
static float values[CODE_DIM];
static float workspace[SPARSECODE_WORKSPACE_BYTES(INPUT_DIM, CODE_DIM, HIDDEN_DIM) / sizeof(float)];

static sparsecode_code code = {indices, values, CODE_DIM, 0};

static uint32_t float_bits(float value)
{
    union {
        float value;
        uint32_t bits;
    } both;

    both.value = value;
    return both.bits;
}

static void add_code(uint32_t *crc)
{
    uint16_t i;

    for (i = 0; i < code.active; i++) {
        crc32_add(crc, indices[i], 2);
        crc32_add(crc, float_bits(values[i]), 4);
    }
}

static void add_patch(uint32_t *crc)
{
    size_t i;

    for (i = 0; i < INPUT_DIM; i++) {
        crc32_add(crc, float_bits(patch[i]), 4);
    }
}

static void take_patch(size_t number)
{
    size_t i;

    for (i = 0; i < INPUT_DIM; i++) {
        patch[i] = noisy[number * INPUT_DIM + i];
    }
}

/*
 * Ends a refinement after as many questions as the context says. On a device this would read a
 * clock.
 */
static int after(void *context)
{
    int *questions = context;

    return (*questions)-- <= 0;
}

/* Stops at the first call that fails. */
#define CHECK(call)                                  \
    do {                                             \
        sparsecode_status status = (call);           \
        if (status != SPARSECODE_STATUS_OK) {        \
            say(sparsecode_status_message(status));  \
            return 1;                                \
        }                                            \
    } while (0)

int main(void)
{
    uint32_t encoded = 0xffffffffu, refined = 0xffffffffu, decoded = 0xffffffffu, denoised = 0xffffffffu;
    uint32_t iterations = 0;
    size_t number;
    int questions = 3;
    sparsecode_model_info info;
    sparsecode_refine_settings settings, limited;
    sparsecode_refinement refinement;
    sparsecode_normalisation normalisation;

    CHECK(sparsecode_model_load(&model, model_file, MODEL_BYTES));
    CHECK(sparsecode_model_verify_checksum(&model));
    CHECK(sparsecode_model_get_info(&model, &info));
    if (info.input_dim != INPUT_DIM || info.code_dim != CODE_DIM || info.workspace_bytes != sizeof workspace) {
        say("the model has other dimensions than this program");
        return 1;
    }
    /* Lambda follows the noise, in the unit of the preprocessed patch. */
    CHECK(sparsecode_settings_for_noise(&model, NOISE / info.deviation, &settings));
    settings.max_iterations = BUDGET;

    for (number = 0; number < PATCHES; number++) {
        /* Stage by stage, as a program does that sends codes instead of samples. */
        take_patch(number);
        CHECK(sparsecode_preprocess(&model, patch, INPUT_DIM, &normalisation));
        CHECK(sparsecode_encode(&model, patch, INPUT_DIM, &code, workspace, sizeof workspace));
        add_code(&encoded);
        CHECK(sparsecode_refine(&model, patch, INPUT_DIM, &code, &settings, workspace, sizeof workspace, &refinement));
        add_code(&refined);
        iterations += refinement.iterations;
        CHECK(sparsecode_decode(&model, &code, patch, INPUT_DIM, workspace, sizeof workspace));
        CHECK(sparsecode_restore(&model, patch, INPUT_DIM, &normalisation));
        add_patch(&decoded);

        /* The same in one call, in place: first with the encoder's code alone, then refined. */
        take_patch(number);
        CHECK(sparsecode_denoise(&model, patch, INPUT_DIM, NULL, &code, workspace, sizeof workspace, NULL));
        add_patch(&denoised);
        take_patch(number);
        CHECK(sparsecode_denoise(&model, patch, INPUT_DIM, &settings, &code, workspace, sizeof workspace, &refinement));
        add_patch(&denoised);
    }

    /* A deadline ends a refinement before its budget does. */
    limited = settings;
    limited.tolerance = 0;
    limited.deadline = after;
    limited.context = &questions;
    CHECK(sparsecode_refine(&model, patch, INPUT_DIM, &code, &limited, workspace, sizeof workspace, &refinement));
    if (refinement.stopped != SPARSECODE_STOP_DEADLINE || refinement.iterations != 3) {
        say("the deadline was not kept");
        return 1;
    }

    report("model bytes", (uint32_t)sizeof model);
    report("patches", (uint32_t)number);
    report("iterations", iterations);
    report("encode checksum", ~encoded);
    report("refine checksum", ~refined);
    report("decode checksum", ~decoded);
    report("denoise checksum", ~denoised);
    return 0;
}
