//! Arbitrary bytes through the model file's reader: it must not panic, and what it accepts must be
//! usable.
//!
//! `cargo +nightly fuzz run read_model` from the repository's root; `corpus/read_model` holds small
//! good files.

#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use sparsecode_formats::quant::dequantize;
use sparsecode_formats::{
    AlignedBytes, Decoder, IntegerFile, MatrixRef, ModelFile, WeightType, write,
};

fuzz_target!(|bytes: &[u8]| {
    let bytes = AlignedBytes::from_slice(bytes);
    let _ = black_box(ModelFile::read_slot(&bytes));
    match IntegerFile::read(&bytes) {
        Ok(file) => {
            let _ = black_box((
                file.prove(),
                file.verify_checksum(),
                file.spec(),
                file.scales(),
            ));
            let blocks = file.decoder.dictionary;
            assert_eq!(
                (blocks.rows(), blocks.cols()),
                (file.spec.code_dim(), file.spec.input_dim())
            );
            assert!(blocks.get(blocks.rows() - 1, blocks.cols() - 1).is_some());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match ModelFile::read(&bytes) {
        Ok(model) => touch(&model),
        // The message is part of the interface.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn touch(model: &ModelFile<'_>) {
    let floats = |values: &[f32], len: usize| {
        assert_eq!(values.len(), len);
        assert!(values.iter().all(|value| value.is_finite()));
    };
    let matrix = |matrix: &MatrixRef<'_>, rows: usize, cols: usize, channels: usize| {
        assert_eq!((matrix.rows, matrix.cols), (rows, cols));
        assert_eq!(dequantize(matrix).len(), rows * cols);
        let quantized = model.spec.weights != WeightType::F32;
        floats(matrix.scale(), if quantized { channels } else { 0 });
    };
    let (d, l, m) = (
        model.spec.input_dim(),
        model.spec.code_dim(),
        model.spec.hidden_dim(),
    );
    if let Some(encoder) = model.encoder {
        matrix(&encoder.input, l, d, l);
        floats(encoder.bias, l);
        matrix(&encoder.recurrent, l, l, l);
    }
    match model.decoder {
        Decoder::Linear { dictionary } => matrix(&dictionary, l, d, d),
        Decoder::OneHidden {
            hidden,
            hidden_bias,
            output,
        } => {
            matrix(&hidden, l, m, m);
            floats(hidden_bias, m);
            matrix(&output, m, d, d);
        }
    }
    let _ = black_box(model.verify_checksum());
    // What was read can be written again, or the error says why not.
    if let Ok(again) = sparsecode_formats::OwnedModel::from_file(model) {
        let _ = black_box(write(&again, model.spec.weights));
    }
}
