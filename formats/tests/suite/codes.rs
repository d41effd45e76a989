//! Which signs codes have: what is written is what is read, in both versions of the format, and
//! what cannot be is refused.

use crate::common::{Parts, small};
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, CODE_LIMIT, CodeSign, InputShape, IntegerFile,
    ModelFile, OwnedDecoder, OwnedModel, Preprocessing, ReadError, SpecError, Variant, WeightType,
    WriteError, example_decoder, write, write_integer, write_integer_as,
};

const RANGES: ActivationRanges = ActivationRanges {
    input_scale: 1.0 / 255.0,
    input_min: -100,
    input_max: 355,
    code_max: 8.0,
};

fn signed(one_hidden: bool) -> OwnedModel {
    let mut model = small(Variant::Do, one_hidden);
    model.spec.codes = CodeSign::Signed;
    model
}

fn float_parts(model: &OwnedModel) -> Parts {
    Parts::of(&write(model, WeightType::I8).unwrap())
}

fn integer_parts(model: &OwnedModel) -> Parts {
    Parts::of(&write_integer(model, &RANGES).unwrap().bytes)
}

#[test]
fn both_versions_give_back_what_was_written() {
    for codes in CodeSign::ALL {
        for one_hidden in [false, true] {
            let mut model = signed(one_hidden);
            model.spec.codes = codes;
            let parts = float_parts(&model);
            assert!(parts.header.contains(&format!("\"codes\":\"{codes}\"")));
            let bytes = parts.bytes();
            let file = ModelFile::read(&bytes).unwrap();
            assert_eq!(file.spec.codes, codes);
            assert_eq!(OwnedModel::from_file(&file).unwrap().spec.codes, codes);
            if !one_hidden {
                let bytes = integer_parts(&model).bytes();
                let file = IntegerFile::read(&bytes).unwrap();
                assert_eq!(file.refiner.codes, codes);
                assert_eq!(file.spec().unwrap().codes, codes);
            }
        }
    }
}

#[test]
fn without_the_key_codes_are_non_negative() {
    let mut model = signed(false);
    model.spec.codes = CodeSign::NonNegative;
    let key = "\"codes\":\"non-negative\",";
    let bytes = float_parts(&model).replace(key, "").bytes();
    let file = ModelFile::read(&bytes).unwrap();
    assert_eq!(file.spec.codes, CodeSign::NonNegative);
    let bytes = integer_parts(&model).replace(key, "").bytes();
    let file = IntegerFile::read(&bytes).unwrap();
    assert_eq!(file.refiner.codes, CodeSign::NonNegative);
    // Nothing else of the file depends on it.
    let model = OwnedModel::from_file(&ModelFile::read(&float_parts(&model).bytes()).unwrap());
    assert_eq!(model.unwrap().spec.codes, CodeSign::NonNegative);
}

#[test]
fn malformed_values_are_errors_that_name_the_key() {
    let read_float = |parts: Parts| ModelFile::read(&parts.bytes()).map(|_| ()).unwrap_err();
    let read_integer = |parts: Parts| IntegerFile::read(&parts.bytes()).map(|_| ()).unwrap_err();
    let model = signed(false);
    for value in ["", "Signed", "positive", "unsigned", " signed"] {
        for error in [
            read_float(float_parts(&model).metadata("codes", value)),
            read_integer(integer_parts(&model).metadata("codes", value)),
        ] {
            let named = matches!(error, ReadError::InvalidMetadata { key: "codes", .. });
            assert!(named, "{value}: {error:?}");
            assert!(
                error.to_string().contains("expected non-negative or"),
                "{error}"
            );
        }
    }
    let twice = |parts: Parts| parts.replace("\"codes\":", "\"codes\":\"signed\",\"codes\":");
    let duplicate = ReadError::DuplicateMetadata { key: "codes" };
    assert_eq!(read_float(twice(float_parts(&model))), duplicate);
    assert_eq!(read_integer(twice(integer_parts(&model))), duplicate);
}

#[test]
fn an_encoder_has_no_signed_codes() {
    let mut model = small(Variant::Vdl, false);
    let says_so = |error: String| assert!(error.contains("without an encoder, signed"), "{error}");
    let parts = float_parts(&model).metadata("codes", "signed");
    says_so(ModelFile::read(&parts.bytes()).unwrap_err().to_string());
    let parts = integer_parts(&model).metadata("codes", "signed");
    says_so(IntegerFile::read(&parts.bytes()).unwrap_err().to_string());

    model.spec.codes = CodeSign::Signed;
    let refused = |error| matches!(error, WriteError::Spec(SpecError { field: "codes", .. }));
    assert!(refused(write(&model, WeightType::F32).unwrap_err()));
    assert!(refused(write_integer(&model, &RANGES).unwrap_err()));
}

/// Atoms one half of which has the opposite sign of the other in every sample: of a code that is
/// not negative they cancel, of a signed one they add up.
fn opposite_atoms(codes: CodeSign) -> OwnedModel {
    let (inputs, atoms) = (16, 64);
    let weight = |i: usize| if i / inputs < atoms / 2 { 0.25 } else { -0.25 };
    let mut model = example_decoder(
        InputShape::window(inputs as u16),
        Preprocessing::IDENTITY,
        (0..inputs * atoms).map(weight).collect(),
    );
    model.spec.codes = codes;
    model
}

#[test]
fn the_proof_counts_both_signs() {
    let write = |codes| {
        let written = write_integer_as(
            &opposite_atoms(codes),
            &RANGES,
            WeightType::I8,
            Activations::I16,
        );
        AlignedBytes::from_slice(&written.unwrap().bytes)
    };
    let bounds = |bytes: &AlignedBytes| {
        let file = IntegerFile::read(bytes).unwrap();
        let sum = |positive: bool| -> i64 {
            let entries = (0..64).map(|j| i64::from(file.refiner.gram.get(0, j).unwrap()));
            entries.filter(|g| (*g > 0) == positive).sum()
        };
        (sum(true), -sum(false))
    };
    for codes in CodeSign::ALL {
        let bytes = write(codes);
        IntegerFile::read(&bytes).unwrap().prove().unwrap();
    }
    // A Gram matrix with as many fractional bits as non-negative codes allow.
    let bytes = write(CodeSign::NonNegative);
    let (up, down) = bounds(&bytes);
    assert_eq!(up, down, "atoms of one length");
    let file = Parts::of(&bytes);
    let limit = i64::from(i32::MAX);
    let scale = limit / (up * i64::from(CODE_LIMIT));
    let poked = |codes: &str| {
        let gram = IntegerFile::read(&bytes).unwrap().refiner.gram;
        let parts = (0..64 * 64).fold(file.clone().metadata("codes", codes), |parts, i| {
            let (row, col) = (i / 64, i % 64);
            let level = i64::from(gram.get(row, col).unwrap()) * scale;
            let place = (col / 8 * 64 + row) * 8 + col % 8;
            parts.poke("refiner.gram", place, &(level as i16).to_le_bytes())
        });
        parts.bytes()
    };
    IntegerFile::read(&poked("non-negative"))
        .unwrap()
        .prove()
        .unwrap();
    let overflow = IntegerFile::read(&poked("signed"))
        .unwrap()
        .prove()
        .unwrap_err();
    assert_eq!(overflow.tensor, "refiner.gram");
    assert_eq!(overflow.bound, 2 * up * scale * i64::from(CODE_LIMIT));
}

/// Of the dictionary, whose sums the decoder makes.
#[test]
fn the_proof_finds_sums_of_signed_codes() {
    let mut model = opposite_atoms(CodeSign::NonNegative);
    let atoms = 1040;
    let OwnedDecoder::Linear { dictionary } = &mut model.decoder else {
        unreachable!()
    };
    // 520 levels of ±127 a sample, of which 516 are what 32 bits hold.
    *dictionary = (0..16 * atoms)
        .map(|i| match (i / 16) % 2 {
            0 => 1e-3,
            _ => -1e-3,
        })
        .collect();
    model.spec.code_dim = atoms as u16;
    let error = |codes| {
        model.spec.codes = codes;
        write_integer(&model, &RANGES).map(|_| ()).unwrap_err()
    };
    let mut error = error;
    for codes in CodeSign::ALL {
        let WriteError::Overflow(overflow) = error(codes) else {
            panic!("{codes}")
        };
        let both = if codes == CodeSign::Signed { 2 } else { 1 };
        assert_eq!(overflow.tensor, "decoder.dictionary");
        // (32767 · 32767 + 2¹⁴) >> 15
        assert_eq!(overflow.bound, both * 520 * 127 * 32766);
    }
}
