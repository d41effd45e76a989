//! Random damage never panics; what is still read is in bounds and keeps the reader's promises.

use crate::common::{join, small, split};
use proptest::prelude::*;
use sparsecode_formats::{
    AlignedBytes, Decoder, Encoder, Layer, MatrixRef, ModelFile, Variant, VariationalBody,
    WeightType, Weights, example_variational, write,
};

fn files() -> impl Strategy<Value = Vec<u8>> {
    let kinds = (
        0..Variant::ALL.len() + 2,
        any::<bool>(),
        0..WeightType::FLOAT.len(),
    );
    kinds.prop_map(|(variant, flag, weights)| {
        let model = match variant.checked_sub(Variant::ALL.len()) {
            None => small(Variant::ALL[variant], flag),
            Some(0) => example_variational(12, 5, &[], flag),
            Some(_) => {
                let mut model = example_variational(12, 5, &[7, 6], flag);
                model.variational.as_mut().unwrap().input_mean = Some(vec![0.5; 12]);
                model
            }
        };
        write(&model, WeightType::FLOAT[weights]).unwrap()
    })
}

/// Touches everything that a model borrows. Returns whether the bytes were a model.
fn examine(bytes: &AlignedBytes) -> bool {
    let Ok(model) = ModelFile::read(bytes) else {
        return false;
    };
    let buffer = bytes.as_ptr_range();
    let inside = |start: *const u8, len: usize| {
        start >= buffer.start && start.wrapping_add(len) <= buffer.end
    };
    let floats = |values: &[f32], len: usize| {
        assert_eq!(values.len(), len);
        assert!(inside(values.as_ptr().cast(), size_of_val(values)));
        assert!(values.iter().all(|value| value.is_finite()));
    };
    let matrix = |matrix: &MatrixRef<'_>, rows: usize, cols: usize, channels: usize| {
        assert_eq!(
            (matrix.rows, matrix.cols, matrix.weight_type()),
            (rows, cols, model.spec.weights)
        );
        match matrix.weights {
            Weights::F32(values) => floats(values, rows * cols),
            Weights::I16 { values, scale } => {
                assert_eq!(values.len(), rows * cols);
                assert!(inside(values.as_ptr().cast(), size_of_val(values)));
                assert!(values.iter().all(|&level| level != i16::MIN));
                floats(scale, channels);
            }
            Weights::I8 { values, scale } => {
                assert_eq!(values.len(), rows * cols);
                assert!(inside(values.as_ptr().cast(), size_of_val(values)));
                assert!(values.iter().all(|&level| level != i8::MIN));
                floats(scale, channels);
            }
        }
        assert!(matrix.scale().iter().all(|&scale| scale > 0.0));
        assert!(matrix.weight(rows - 1, cols - 1).is_some() && matrix.weight(rows, 0).is_none());
    };
    let (d, l, m) = (
        model.spec.input_dim(),
        model.spec.code_dim(),
        model.spec.hidden_dim(),
    );
    model.spec.check().unwrap();
    let lista = |encoder: &Encoder<'_>| {
        matrix(&encoder.input, l, d, l);
        floats(encoder.bias, l);
        matrix(&encoder.recurrent, l, l, l);
    };
    if let Some(encoder) = model.encoder {
        lista(&encoder);
    }
    assert_eq!(
        model.variational.is_some(),
        model.spec.variant == Variant::Variational
    );
    if let Some(encoder) = model.variational {
        let layer = |layer: &Layer<'_>, outputs: usize, inputs: usize| {
            matrix(&layer.weights, outputs, inputs, outputs);
            floats(layer.bias, outputs);
        };
        let mut width = l;
        match encoder.body {
            VariationalBody::Lista { encoder, shrinkage } => {
                lista(&encoder);
                floats(shrinkage, l);
                assert!(shrinkage.iter().all(|threshold| *threshold >= 0.0));
            }
            VariationalBody::Dense { trunk, shift } => {
                width = d;
                let widths = model.spec.encoder_widths.unwrap();
                assert_eq!(trunk.iter().flatten().count(), widths.iter().count());
                for (part, outputs) in trunk.iter().flatten().zip(widths.iter()) {
                    layer(part, outputs, width);
                    width = outputs;
                }
                layer(&shift, l, width);
            }
        }
        if let Some(scale) = encoder.scale {
            layer(&scale, l, width);
        }
        floats(encoder.thresholds, l);
        assert!(encoder.gain.is_finite() && encoder.gain > 0.0);
        if let Some(mean) = encoder.input_mean {
            floats(mean, d);
        }
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
    let _ = model.verify_checksum();
    true
}

/// Swaps the `count`-th occurrence (from 0, cyclic) of one of `words` for another of them.
fn swap_word(text: &str, words: &[&str], count: usize, choice: usize) -> String {
    let mut places: Vec<(usize, &str)> = words
        .iter()
        .flat_map(|word| text.match_indices(word))
        .collect();
    places.sort_unstable();
    let Some(&(at, word)) = places.get(count % places.len().max(1)) else {
        return text.to_owned();
    };
    format!(
        "{}{}{}",
        &text[..at],
        words[choice % words.len()],
        &text[at + word.len()..]
    )
}

/// Replaces the `count`-th run of digits by `number`.
fn swap_number(text: &str, count: usize, number: &str) -> String {
    let starts: Vec<usize> = text
        .char_indices()
        .filter(|&(at, c)| {
            c.is_ascii_digit() && !text[..at].ends_with(|c: char| c.is_ascii_digit())
        })
        .map(|(at, _)| at)
        .collect();
    let at = starts[count % starts.len()];
    let length = text[at..].bytes().take_while(u8::is_ascii_digit).count();
    format!("{}{number}{}", &text[..at], &text[at + length..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn good_files_pass_the_examination(file in files()) {
        prop_assert!(examine(&AlignedBytes::from_slice(&file)));
    }

    #[test]
    fn bit_flips(mut file in files(), flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8), 1..8)) {
        for (index, bit) in flips {
            let at = index.index(file.len());
            file[at] ^= 1u8 << bit;
        }
        examine(&AlignedBytes::from_slice(&file));
    }

    #[test]
    fn truncations_are_refused(file in files(), length in any::<prop::sample::Index>()) {
        let length = length.index(file.len());
        prop_assert!(!examine(&AlignedBytes::from_slice(&file[..length])));
    }

    #[test]
    fn splices(a in files(), b in files(), at in any::<[prop::sample::Index; 4]>()) {
        let range = |x: &prop::sample::Index, y: &prop::sample::Index, len: usize| {
            let (x, y) = (x.index(len), y.index(len));
            x.min(y)..x.max(y)
        };
        let mut file = a.clone();
        file.splice(range(&at[0], &at[1], a.len()), b[range(&at[2], &at[3], b.len())].iter().copied());
        examine(&AlignedBytes::from_slice(&file));
    }

    #[test]
    fn headers_that_stay_json(
        file in files(),
        edits in prop::collection::vec((0..4, any::<u16>(), any::<u16>()), 1..4),
    ) {
        const NUMBERS: [&str; 16] = [
            "0", "1", "2", "4", "5", "7", "12", "60", "65535", "65536", "4294967295", "4294967296",
            "9223372036854775807", "18446744073709551615", "18446744073709551616", "340282356779733661637539395458142568448",
        ];
        const NAMES: [&str; 10] = [
            "\"encoder.input\"", "\"encoder.recurrent\"", "\"decoder.dictionary\"", "\"decoder.hidden\"",
            "\"decoder.output\"", "\"encoder.bias\"", "\"encoder.trunk.0\"", "\"encoder.trunk.1\"",
            "\"encoder.scale\"", "\"encoder.shrinkage\"",
        ];
        let (mut header, data) = split(&file);
        for (kind, place, choice) in edits {
            let (place, choice) = (usize::from(place), usize::from(choice));
            header = match kind {
                0 => swap_word(&header, &["\"F32\"", "\"I16\"", "\"I8\"", "\"BF16\"", "\"\""], place, choice),
                1 => swap_number(&header, place, NUMBERS[choice % NUMBERS.len()]),
                2 => swap_word(&header, &NAMES, place, choice),
                _ => swap_word(&header, &["\"vdl\"", "\"do\"", "\"variational\"", "\"shift\"", "\"scale\"", "\"none\"", "\"3\"", "\"0\"", "\"f32\"", "\"i8\""], place, choice),
            };
        }
        examine(&join(&header, &data));
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\{\\}\\[\\]:,\" a-z0-9_]{0,120}") {
        prop_assert!(!examine(&AlignedBytes::from_slice(&bytes)));
        prop_assert!(!examine(&join(&text, &bytes)));
        let metadata = format!("{{\"__metadata__\":{{{text}}}}}");
        prop_assert!(!examine(&join(&metadata, &bytes)));
    }
}
