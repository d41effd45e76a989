/*
 * A signal without end through a model that denoises, in integer arithmetic: a raw sample in, a
 * clean sample out. Drift is taken off and the noise is estimated on the way.
 *
 * `cargo xtask capi` writes data.h and data.c, builds this for the host and for Cortex-M, and
 * compares with what Rust computes.
 */
#include "sparsecode.h"

#include "crc32.h"
#include "data.h"
#include "port.h"

/* All memory that inference needs besides the stack. Words rather than bytes, for the alignment. */
static sparsecode_integer_model model;
static int16_t gram[SPARSECODE_INTEGER_GRAM_LENGTH(CODE_DIM)];
static uint32_t channel[SPARSECODE_INTEGER_STREAM_BYTES(INPUT_DIM, DRIFT) / 4];
static uint32_t workspace[(SPARSECODE_INTEGER_STREAM_WORKSPACE_BYTES(INPUT_DIM, CODE_DIM) + 3) / 4];
/* What is still in the channel at the end: its latency. */
static int16_t rest[INPUT_DIM + DRIFT];

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
    uint32_t crc = 0xffffffffu, count = 0;
    size_t i, given;
    int16_t sample;
    sparsecode_stream_info info;

    CHECK(sparsecode_integer_model_load_into(&model, model_file, MODEL_BYTES, gram, SPARSECODE_INTEGER_GRAM_LENGTH(CODE_DIM)));
    CHECK(sparsecode_integer_model_verify_checksum(&model));
    CHECK(sparsecode_integer_stream_get_info(&model, &info));
    if (info.window != INPUT_DIM || info.drift != DRIFT || info.channel_bytes != sizeof channel
        || info.workspace_bytes > sizeof workspace) {
        say("the model has other dimensions than this program");
        return 1;
    }

    CHECK(sparsecode_integer_stream_start(&model, channel, sizeof channel));
    for (i = 0; i < SAMPLES; i++) {
        sample = noisy[i];
        CHECK(sparsecode_integer_stream_push(&model, channel, sizeof channel, 0, &sample, 1, &given, workspace, sizeof workspace));
        if (given == 1) {
            crc32_add(&crc, (uint16_t)sample, 2);
            count++;
        }
    }
    CHECK(sparsecode_integer_stream_finish(&model, channel, sizeof channel, 0, rest, sizeof rest / sizeof rest[0], &given, workspace, sizeof workspace));
    for (i = 0; i < given; i++) {
        crc32_add(&crc, (uint16_t)rest[i], 2);
        count++;
    }

    report("model bytes", (uint32_t)sizeof model);
    report("samples", count);
    report("clean checksum", ~crc);
    return 0;
}
