//! Models that denoise: the encoder on the Gram matrix against its definition.
#![cfg(feature = "std")]

use proptest::prelude::*;
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, GramStorage, OwnedDecoder, OwnedModel, WeightType,
    example_denoiser, write, write_integer_with,
};
use sparsecode_runtime::{
    CodeBuffer as _, IntegerCodeBuf, IntegerCodeBuffer as _, IntegerModel, IntegerView,
    IntegerWorkspace, IntegerWorkspaceBuf, ModelView, SparseCodeBuf, WorkspaceBuf,
};

const WINDOW: usize = 24;
const ATOMS: usize = 20;

/// `z ← relu(z + g (Wᵀy − WᵀW z − σ θ))` from 0, as it is written, in `f64`.
fn code(model: &OwnedModel, input: &[f32], sigma: f64) -> Vec<f64> {
    let OwnedDecoder::Linear { dictionary } = &model.decoder else {
        panic!("linear")
    };
    let gram = model.gram.as_ref().unwrap();
    let atoms: Vec<&[f32]> = dictionary.chunks(WINDOW).collect();
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    let mut z = vec![0.0; ATOMS];
    for (step, thresholds) in gram.steps.iter().zip(gram.thresholds.chunks(ATOMS)) {
        let next = (0..ATOMS).map(|i| {
            let product: f64 = (0..ATOMS).map(|j| dot(atoms[i], atoms[j]) * z[j]).sum();
            let away = dot(atoms[i], input) - product - sigma * f64::from(thresholds[i]);
            (z[i] + f64::from(*step) * away).max(0.0)
        });
        z = next.collect();
    }
    z
}

/// `W (γ ∘ z)`.
fn answer(model: &OwnedModel, code: &[f64]) -> Vec<f64> {
    let OwnedDecoder::Linear { dictionary } = &model.decoder else {
        panic!("linear")
    };
    let gain = &model.gram.as_ref().unwrap().gain;
    let mut output = vec![0.0; WINDOW];
    for ((atom, z), gain) in dictionary.chunks(WINDOW).zip(code).zip(gain) {
        for (to, w) in output.iter_mut().zip(atom) {
            *to += f64::from(*w) * z * f64::from(*gain);
        }
    }
    output
}

fn integers(model: &OwnedModel, storage: GramStorage) -> AlignedBytes {
    let ranges = ActivationRanges {
        input_scale: 0.001,
        input_min: -8000,
        input_max: 8000,
        code_max: 20.0,
    };
    let (weights, activations) = (WeightType::I8, Activations::I16);
    let written = write_integer_with(model, &ranges, weights, activations, storage).unwrap();
    AlignedBytes::from_slice(&written.bytes)
}

/// What integers make of `levels`, dense and in 64 bits, as `IntegerGram` says it.
fn integer_code(view: &IntegerView<'_>, levels: &[i16], sigma: i64) -> Vec<i16> {
    let file = view.file();
    let (gram, refiner) = (file.gram.unwrap(), &file.refiner);
    let weight = |k, i| match file.decoder.dictionary {
        sparsecode_formats::WeightBlocks::I8(m) => i64::from(m.get(k, i).unwrap()),
        sparsecode_formats::WeightBlocks::I4(m) => i64::from(m.get(k, i).unwrap()),
    };
    let correlation: Vec<i64> = (0..ATOMS)
        .map(|k| {
            let sum: i64 = (0..WINDOW)
                .map(|i| weight(k, i) * i64::from(levels[i]))
                .sum();
            let by = refiner.correlation;
            let product = sum * i64::from(by.multipliers[k]);
            ((product + (1 << (by.shift - 1))) >> by.shift) + i64::from(refiner.bias[k])
        })
        .collect();
    let finer = refiner.gram_fraction - refiner.point_fraction;
    let mut z = vec![0_i64; ATOMS];
    for (step, thresholds) in gram.steps.iter().zip(gram.thresholds.chunks(24)) {
        let next = (0..ATOMS).map(|i| {
            let product: i64 = (0..ATOMS)
                .map(|j| i64::from(refiner.gram.get(j, i).unwrap()) * z[j])
                .sum();
            let threshold = (i64::from(thresholds[i]) * sigma) >> gram.threshold_shift;
            let points = correlation[i] - (product >> finer) - threshold;
            let halves = (points >> (refiner.point_fraction - 1)).clamp(-(1 << 17), 1 << 17);
            let change = (halves * i64::from(*step) + (1 << 9)) >> 10;
            (z[i] + change).clamp(0, 32_767)
        });
        z = next.collect();
    }
    z.into_iter().map(|level| level as i16).collect()
}

fn windows() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-3.0_f32..3.0, WINDOW)
}

proptest! {
    #[test]
    fn floats_follow_the_definition(
        input in windows(),
        sigma in 0.05_f32..2.0,
        iterations in 1..=4_u8,
    ) {
        let model = example_denoiser(WINDOW as u16, ATOMS as u16, iterations);
        let bytes = AlignedBytes::from_slice(&write(&model, WeightType::F32).unwrap());
        let view = ModelView::load(&bytes).unwrap().at_noise_level(sigma);
        let mut found = SparseCodeBuf::new(ATOMS as u16);
        let mut workspace = WorkspaceBuf::for_model(view.spec());
        view.encode(&input, &mut found, &mut workspace).unwrap();
        let mut dense = vec![0.0; ATOMS];
        found.to_dense(&mut dense);
        let expected = code(&model, &input, sigma.into());
        for (z, expected) in dense.iter().zip(&expected) {
            prop_assert!((f64::from(*z) - expected).abs() < 1e-4, "{z} {expected}");
        }
        let mut output = vec![0.0; WINDOW];
        view.decode(&found, &mut output, &mut workspace).unwrap();
        for (x, expected) in output.iter().zip(answer(&model, &expected)) {
            prop_assert!((f64::from(*x) - expected).abs() < 1e-3, "{x} {expected}");
        }
    }

    #[test]
    fn integers_follow_the_definition_bit_by_bit(
        input in windows(),
        sigma in 1..=u16::MAX,
        iterations in 1..=4_u8,
    ) {
        let model = example_denoiser(WINDOW as u16, ATOMS as u16, iterations);
        let bytes = integers(&model, GramStorage::Built);
        let view = IntegerView::from(bytes.integer_file().unwrap()).at_noise_level(sigma);
        let levels: Vec<i16> = input.iter().map(|x| (x * 1000.0) as i16).collect();
        let mut found = IntegerCodeBuf::new(ATOMS as u16);
        let mut workspace = IntegerWorkspaceBuf::for_model(view.spec());
        view.encode(&levels, &mut found, &mut workspace).unwrap();
        let mut dense = vec![0; ATOMS];
        found.to_dense(&mut dense);
        prop_assert_eq!(&dense, &integer_code(&view, &levels, sigma.into()));

        // The type with dimensions gives the same bits.
        let typed = IntegerModel::<WINDOW, ATOMS>::from_file(*view.file()).unwrap();
        let mut code = sparsecode_runtime::IntegerCode::<ATOMS>::new();
        let patch: [i16; WINDOW] = levels.try_into().unwrap();
        typed.encode(&patch, &mut code, &mut IntegerWorkspace::new());
        prop_assert!(code.iter().eq(found.iter()));
    }

    #[test]
    fn integers_are_close_to_floats(input in windows(), sigma in 0.1_f32..1.0) {
        let model = example_denoiser(WINDOW as u16, ATOMS as u16, 3);
        let bytes = integers(&model, GramStorage::Stored);
        let file = bytes.integer_file().unwrap();
        let (_, unit) = file.scales().unwrap();
        let view = IntegerView::from(file).at_noise_level((sigma * 16_000.0) as u16);
        let levels: Vec<i16> = input.iter().map(|x| (x * 1000.0) as i16).collect();
        let mut found = IntegerCodeBuf::new(ATOMS as u16);
        let mut workspace = IntegerWorkspaceBuf::for_model(view.spec());
        view.encode(&levels, &mut found, &mut workspace).unwrap();
        let mut dense = vec![0; ATOMS];
        found.to_dense(&mut dense);
        for (level, expected) in dense.iter().zip(code(&model, &input, sigma.into())) {
            let z = f64::from(*level) * f64::from(unit);
            prop_assert!((z - expected).abs() < 0.15, "{z} {expected}");
        }
    }
}

/// `σ f(y/σ)` is the same network at the level σ.
#[test]
fn thresholds_scale_with_the_noise() {
    let model = example_denoiser(WINDOW as u16, ATOMS as u16, 3);
    let bytes = AlignedBytes::from_slice(&write(&model, WeightType::F32).unwrap());
    let view = ModelView::load(&bytes).unwrap();
    let input: Vec<f32> = (0..WINDOW).map(|i| ((i * i) % 7) as f32 - 3.0).collect();
    let mut workspace = WorkspaceBuf::for_model(view.spec());
    let mut codes = [1.0_f32, 4.0].map(|sigma| {
        let mut code = SparseCodeBuf::new(ATOMS as u16);
        let scaled: Vec<f32> = input.iter().map(|x| x * sigma).collect();
        let view = view.at_noise_level(0.5 * sigma);
        view.encode(&scaled, &mut code, &mut workspace).unwrap();
        code
    });
    assert!(codes[0].active() > 3);
    let [one, four] = &mut codes;
    assert_eq!(one.indices(), four.indices());
    for (a, b) in one.values().iter().zip(four.values()) {
        assert!((4.0 * a - b).abs() < 1e-4 * b.abs(), "{a} {b}");
    }
}

/// More noise, fewer atoms; without a level the file's own is taken.
#[test]
fn the_file_states_a_level_to_begin_with() {
    let model = example_denoiser(WINDOW as u16, ATOMS as u16, 3);
    let bytes = integers(&model, GramStorage::Stored);
    let view = IntegerView::load(&bytes).unwrap();
    let levels: Vec<i16> = (0..WINDOW)
        .map(|i| 150 * ((i * i) % 7) as i16 - 450)
        .collect();
    let mut workspace = IntegerWorkspaceBuf::for_model(view.spec());
    let mut active = |view: IntegerView<'_>| {
        let mut code = IntegerCodeBuf::new(ATOMS as u16);
        view.encode(&levels, &mut code, &mut workspace).unwrap();
        code.iter().collect::<Vec<_>>()
    };
    let own = active(view);
    assert_eq!(own, active(view.at_noise_level(3200)));
    assert!(active(view.at_noise_level(16_000)).len() < own.len());
}
