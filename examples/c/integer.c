/*
 * The same as denoise.c for a model in integer arithmetic: samples are levels of 16 bits, and
 * nothing is floating point.
 */
#include "sparsecode.h"

#include "crc32.h"
#include "data.h"
#include "port.h"

static sparsecode_integer_model model;
static int16_t patch[INPUT_DIM];
static uint32_t entries[CODE_DIM], received[CODE_DIM];
/* Words rather than bytes, for the alignment. */
static uint32_t workspace[(SPARSECODE_INTEGER_WORKSPACE_BYTES(CODE_DIM) + 3) / 4];

static sparsecode_integer_code code = {entries, CODE_DIM, 0};

static void add_patch(uint32_t *crc)
{
    size_t i;

    for (i = 0; i < INPUT_DIM; i++) {
        crc32_add(crc, (uint16_t)patch[i], 2);
    }
}

static void take_patch(size_t number)
{
    size_t i;

    for (i = 0; i < INPUT_DIM; i++) {
        patch[i] = noisy[number * INPUT_DIM + i];
    }
}

static int at_once(void *context)
{
    *(int *)context += 1;
    return 1;
}

#define CHECK(call)                                  \
    do {                                             \
        sparsecode_status status = (call);           \
        if (status != SPARSECODE_STATUS_OK) {        \
            say(sparsecode_status_message(status));  \
            return 1;                                \
        }                                            \
    } while (0)

/* Adds a code's components, and sends them to another code, as over a radio. */
static int add_code(uint32_t *crc, sparsecode_integer_code *other)
{
    uint16_t i, index;
    int16_t level;

    other->active = 0;
    for (i = 0; i < code.active; i++) {
        CHECK(sparsecode_integer_code_get(&code, i, &index, &level));
        CHECK(sparsecode_integer_code_push(other, index, level));
        crc32_add(crc, index, 2);
        crc32_add(crc, (uint16_t)level, 2);
    }
    return 0;
}

int main(void)
{
    uint32_t encoded = 0xffffffffu, refined = 0xffffffffu, decoded = 0xffffffffu, denoised = 0xffffffffu;
    uint32_t iterations = 0;
    size_t number;
    int questions = 0;
    sparsecode_integer_model_info info;
    sparsecode_integer_refine_settings settings, limited;
    sparsecode_integer_refinement refinement;
    sparsecode_integer_normalisation normalisation;
    sparsecode_integer_code sent = {received, CODE_DIM, 0};

    CHECK(sparsecode_integer_model_load(&model, model_file, MODEL_BYTES));
    CHECK(sparsecode_integer_model_verify_checksum(&model));
    CHECK(sparsecode_integer_model_get_info(&model, &info));
    if (info.input_dim != INPUT_DIM || info.code_dim != CODE_DIM || info.workspace_bytes > sizeof workspace) {
        say("the model has other dimensions than this program");
        return 1;
    }
    CHECK(sparsecode_integer_settings_for_model(&model, &settings));
    settings.max_iterations = BUDGET;
    settings.tolerance_bits = 31;

    for (number = 0; number < PATCHES; number++) {
        take_patch(number);
        CHECK(sparsecode_integer_preprocess(&model, patch, INPUT_DIM, &normalisation));
        CHECK(sparsecode_integer_encode(&model, patch, INPUT_DIM, &code, workspace, sizeof workspace));
        if (add_code(&encoded, &sent)) {
            return 1;
        }
        CHECK(sparsecode_integer_refine(&model, patch, INPUT_DIM, &code, &settings, workspace, sizeof workspace, &refinement));
        if (add_code(&refined, &sent)) {
            return 1;
        }
        iterations += refinement.iterations;
        CHECK(sparsecode_integer_decode(&model, &sent, patch, INPUT_DIM, workspace, sizeof workspace));
        CHECK(sparsecode_integer_restore(&model, patch, INPUT_DIM, &normalisation));
        add_patch(&decoded);

        take_patch(number);
        CHECK(sparsecode_integer_denoise(&model, patch, INPUT_DIM, NULL, &code, workspace, sizeof workspace, NULL));
        add_patch(&denoised);
        take_patch(number);
        CHECK(sparsecode_integer_denoise(&model, patch, INPUT_DIM, &settings, &code, workspace, sizeof workspace, &refinement));
        add_patch(&denoised);
    }

    limited = settings;
    limited.deadline = at_once;
    limited.context = &questions;
    CHECK(sparsecode_integer_refine(&model, patch, INPUT_DIM, &code, &limited, workspace, sizeof workspace, &refinement));
    if (refinement.stopped != SPARSECODE_STOP_DEADLINE || refinement.iterations != 0 || questions != 1) {
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
