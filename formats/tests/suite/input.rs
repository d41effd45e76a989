//! What files say of their raw samples: written, read back, and every way in which it can be wrong.

use crate::common::{Parts, small};
use sparsecode_formats::{
    ActivationRanges, AlignedBytes, InputFacts, IntegerFile, ModelFile, NumberType, OwnedModel,
    ReadError, SpecError, Variant, WeightType, WriteError, write, write_integer,
};

const RANGES: ActivationRanges = ActivationRanges {
    input_scale: 0.01,
    input_min: -300,
    input_max: 500,
    code_max: 9.0,
};

fn with(input: InputFacts) -> OwnedModel {
    let mut model = small(Variant::Vdl, false);
    model.spec.input = input;
    model
}

/// All that can be known.
fn full() -> InputFacts {
    InputFacts {
        range: Some([-0.25, 1e-7]),
        sample_rate: Some(44100.5),
        number_type: Some(NumberType::I24),
    }
}

#[test]
fn both_versions_give_back_what_was_written() {
    let none = InputFacts::default();
    let cases = [
        none,
        full(),
        InputFacts {
            range: Some([5.0, 5.0]),
            ..none
        },
        InputFacts {
            sample_rate: Some(f32::MAX),
            ..none
        },
    ];
    let types = NumberType::ALL.map(|number_type| InputFacts {
        number_type: Some(number_type),
        ..none
    });
    for facts in cases.into_iter().chain(types) {
        let model = with(facts);
        let float = write(&model, WeightType::I8).unwrap();
        let integer = write_integer(&model, &RANGES).unwrap().bytes;
        for file in [&float, &integer] {
            assert_eq!(InputFacts::read(file), Ok(facts));
        }
        let float = AlignedBytes::from_slice(&float);
        let file = ModelFile::read(&float).unwrap();
        assert_eq!(file.input(), Ok(facts));
        assert_eq!(OwnedModel::from_file(&file).unwrap().spec.input, facts);
        // The levels of an integer model are another range than the raw one.
        let integer = AlignedBytes::from_slice(&integer);
        let spec = IntegerFile::read(&integer).unwrap().spec;
        assert_eq!((spec.input_min, spec.input_max), (-300, 500));
    }
}

#[test]
fn a_file_without_facts_is_as_before() {
    let bytes = write(&with(InputFacts::default()), WeightType::F32).unwrap();
    let header = Parts::of(&bytes).header;
    for key in ["raw_min", "raw_max", "sample_rate", "number_type"] {
        assert!(!header.contains(key), "{key} in {header}");
    }
    let keys = |header: &str| -> Vec<String> {
        let metadata = header.split('}').next().unwrap();
        let fields = metadata.split("\",\"").skip(1);
        fields
            .map(|field| field.split('"').next().unwrap().to_owned())
            .collect()
    };
    let full = write(&with(full()), WeightType::F32).unwrap();
    let found = keys(&Parts::of(&full).header);
    assert!(
        found.is_sorted() && found.len() == keys(&header).len() + 4,
        "{found:?}"
    );
}

#[test]
fn malformed_facts_are_errors_that_name_the_key() {
    let file = || Parts::of(&write(&with(full()), WeightType::I8).unwrap());
    for (key, bad) in [
        ("raw_min", "nan"),
        ("raw_min", ""),
        ("raw_min", "1e39"),
        ("raw_min", "1"), // above raw_max
        ("raw_max", "inf"),
        ("raw_max", "-0.3"),
        ("raw_max", "x"),
        ("sample_rate", "0"),
        ("sample_rate", "-500"),
        ("sample_rate", "500 Hz"),
        ("number_type", "int16"),
        ("number_type", "I16"),
        ("number_type", ""),
        ("format", "other"),
        ("version", "1.0"),
    ] {
        let parts = file().metadata(key, bad);
        let bytes = parts.bytes();
        let error = InputFacts::read(&bytes).unwrap_err();
        let named = if (key, bad) == ("raw_min", "1") {
            "raw_max"
        } else {
            key
        };
        assert!(error.to_string().contains(named), "{key} = {bad}: {error}");
        // What runs the model passes over these keys.
        if !matches!(key, "format" | "version") {
            let file = ModelFile::read(&bytes).unwrap();
            assert_eq!(file.input(), Err(error));
            assert_eq!(OwnedModel::from_file(&file), Err(error));
        }
    }
    let missing = |key: &str| {
        let parts = file().replace(&format!("\"{key}\":"), "\"other\":");
        InputFacts::read(&parts.bytes())
    };
    for key in ["raw_min", "raw_max"] {
        assert_eq!(missing(key), Err(ReadError::MissingMetadata { key }));
    }
    let twice = file().replace("\"raw_min\":", "\"raw_max\":\"1\",\"raw_min\":");
    let key = "raw_max";
    let wanted = ReadError::DuplicateMetadata { key };
    assert_eq!(InputFacts::read(&twice.bytes()), Err(wanted));
    let other = file().metadata("version", "3");
    let wanted = ReadError::UnsupportedVersion { found: 3 };
    assert_eq!(InputFacts::read(&other.bytes()), Err(wanted));
}

#[test]
fn facts_that_are_none_are_not_written() {
    let none = InputFacts::default();
    let range = |range| InputFacts {
        range: Some(range),
        ..none
    };
    let rate = |rate| InputFacts {
        sample_rate: Some(rate),
        ..none
    };
    for (facts, key) in [
        (range([f32::NAN, 1.0]), "raw_min"),
        (range([0.0, f32::INFINITY]), "raw_max"),
        (range([1.0, 0.5]), "raw_max"),
        (rate(0.0), "sample_rate"),
        (rate(-1.0), "sample_rate"),
        (rate(f32::NAN), "sample_rate"),
    ] {
        let is_named =
            |error| matches!(error, WriteError::Spec(SpecError { field, .. }) if field == key);
        let model = with(facts);
        assert!(
            is_named(write(&model, WeightType::I8).unwrap_err()),
            "{key}"
        );
        let error = write_integer(&model, &RANGES).unwrap_err();
        assert!(is_named(error), "{key}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let bytes = write(&with(full()), WeightType::I8).unwrap();
    let header = Parts::of(&bytes).header.len() + 8;
    for length in 0..header {
        assert!(
            InputFacts::read(&bytes[..length]).is_err(),
            "{length} bytes"
        );
    }
    let mut refused = 0;
    for at in 0..header {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            refused += usize::from(InputFacts::read(&changed).is_err());
        }
    }
    assert!(refused > header, "{refused} of {}", 8 * header);
}
