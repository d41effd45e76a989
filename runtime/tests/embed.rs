//! The build-script helper (feature `embed`).
#![cfg(feature = "embed")]

mod common;

use common::{Shape, file, random_model};
use sparsecode_formats::{
    ActivationRanges, Activations, GramStorage, InputShape, OwnedModel, WeightType,
    example_denoiser, write_integer, write_integer_with,
};
use sparsecode_runtime::embed::{Arithmetic, Embed, EmbedError};

const SHAPE: Shape = Shape {
    input: 10,
    code: 6,
    hidden: 4,
    lista: Some(2),
};

#[test]
fn the_source_states_the_dimensions() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("trained.safetensors");
    let bytes = file(&random_model(SHAPE, 1), WeightType::I8);
    std::fs::write(&source, &*bytes).unwrap();
    Embed::new(&source)
        .name("ecg")
        .directory(directory.path())
        .write()
        .unwrap();

    assert_eq!(
        std::fs::read(directory.path().join("ecg.safetensors")).unwrap(),
        *bytes
    );
    let text = std::fs::read_to_string(directory.path().join("ecg.rs")).unwrap();
    for line in [
        "pub const INPUT_DIM: usize = 10;",
        "pub const CODE_DIM: usize = 6;",
        "pub const HIDDEN_DIM: usize = 4;",
        &format!(
            "static FILE: ::sparsecode_runtime::Aligned<[u8; {}]> =",
            bytes.len()
        ),
        "pub type Model = ::sparsecode_runtime::Model<'static, INPUT_DIM, CODE_DIM, HIDDEN_DIM>;",
        "pub fn load() -> Result<Model, ::sparsecode_runtime::LoadError> {",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line:?} is not in\n{text}"
        );
    }
    assert!(text.contains(r#"concat!(env!("OUT_DIR"), "/ecg.safetensors")"#));
}

/// A model that denoises windows of 16 samples.
fn denoiser() -> OwnedModel {
    let mut model = example_denoiser(16, 10, 2);
    let gram = model.gram.as_mut().unwrap();
    (gram.hop, gram.drift) = (4, Some(25));
    model
}

/// The source for an integer model that denoises.
fn source_of_denoiser(model: &OwnedModel, storage: GramStorage) -> String {
    let directory = tempfile::tempdir().unwrap();
    let ranges = ActivationRanges {
        input_scale: 0.001,
        input_min: -32_000,
        input_max: 32_000,
        code_max: 16.0,
    };
    let weights = WeightType::I8;
    let written = write_integer_with(model, &ranges, weights, Activations::I16, storage).unwrap();
    let path = directory.path().join("denoiser.safetensors");
    std::fs::write(&path, written.bytes).unwrap();
    Embed::new(&path)
        .arithmetic(Arithmetic::Integers)
        .directory(directory.path())
        .write()
        .unwrap();
    std::fs::read_to_string(directory.path().join("model.rs")).unwrap()
}

#[test]
fn the_source_of_a_denoiser_states_its_stream() {
    for (storage, load) in [
        (GramStorage::Stored, "pub fn load() -> "),
        // Ten rows of sixteen.
        (GramStorage::Built, "pub const GRAM_LEN: usize = 160;"),
    ] {
        let text = source_of_denoiser(&denoiser(), storage);
        for line in [
            "pub const HOP: usize = 4;",
            "pub const DRIFT: usize = 25;",
            "pub type Stream = ::sparsecode_runtime::stream::DenoiseStream<i16, INPUT_DIM, DRIFT>;",
            load,
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        assert_eq!(text.contains("fn load()"), storage == GramStorage::Stored);
    }
}

/// Patches are no signal.
#[test]
fn the_source_of_a_denoiser_of_patches_states_no_stream() {
    let mut model = denoiser();
    model.spec.input_shape = InputShape {
        height: 4,
        width: 4,
    };
    let gram = model.gram.as_mut().unwrap();
    gram.drift = None;
    gram.window_weights.truncate(8);
    let text = source_of_denoiser(&model, GramStorage::Stored);
    assert!(
        text.contains("pub fn load()") && !text.contains("Stream"),
        "{text}"
    );
}

#[test]
fn a_bad_file_fails_with_its_name_and_field() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("broken.safetensors");
    let mut bytes = file(&random_model(SHAPE, 1), WeightType::F32).to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&source, &bytes).unwrap();
    let error = Embed::new(&source)
        .directory(directory.path())
        .write()
        .unwrap_err();
    let message = format!("{error:?}");
    assert!(
        message.contains("broken.safetensors") && message.contains("checksum"),
        "{message}"
    );

    bytes.truncate(100);
    std::fs::write(&source, &bytes).unwrap();
    let error = Embed::new(&source)
        .directory(directory.path())
        .write()
        .unwrap_err();
    assert!(matches!(error, EmbedError::Format { .. }), "{error}");
    assert!(!directory.path().join("model.rs").exists());

    let error = Embed::new("nowhere.safetensors")
        .directory(directory.path())
        .write()
        .unwrap_err();
    assert!(
        error.to_string().starts_with("nowhere.safetensors: "),
        "{error}"
    );
}

/// A program is written for one arithmetic: of a file of the other it is told which it is, and what
/// would do.
#[test]
fn a_file_of_the_other_arithmetic_is_named_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let linear = random_model(Shape { hidden: 0, ..SHAPE }, 1);
    let ranges = ActivationRanges {
        input_scale: 0.01,
        input_min: -500,
        input_max: 500,
        code_max: 8.0,
    };
    let integers = write_integer(&linear, &ranges).unwrap().bytes;
    for (name, bytes, arithmetic, words) in [
        (
            "float.safetensors",
            &*file(&linear, WeightType::I8),
            Arithmetic::F32,
            ["for arithmetic in f32", "embed::model", "f32"],
        ),
        (
            "integer.safetensors",
            &*integers,
            Arithmetic::Integers,
            ["for arithmetic in integers", "embed::integer_model", "i16"],
        ),
    ] {
        let source = directory.path().join(name);
        std::fs::write(&source, bytes).unwrap();
        let embed = |arithmetic| {
            let embed = Embed::new(&source).directory(directory.path());
            embed.arithmetic(arithmetic).write()
        };
        let other = match arithmetic {
            Arithmetic::F32 => Arithmetic::Integers,
            Arithmetic::Integers => Arithmetic::F32,
        };
        let message = format!("{:?}", embed(other).unwrap_err());
        assert!(message.contains(name), "{message}");
        for word in words {
            assert!(message.contains(word), "{word}: {message}");
        }
        assert!(!directory.path().join("model.rs").exists());
        embed(arithmetic).unwrap();
        std::fs::remove_file(directory.path().join("model.rs")).unwrap();
    }
}

#[test]
fn the_weights_of_a_run_are_named_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("best.safetensors");
    // As the trainer writes `best.safetensors`: one entry of metadata, a JSON document.
    let header = r#"{"__metadata__":{"sparsecode":"{\"version\":1}"},"decoder.dictionary":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(&source, [&length, header.as_bytes(), &[0; 4]].concat()).unwrap();
    let error = Embed::new(&source)
        .directory(directory.path())
        .write()
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("weights of a run") && message.contains("sparsecode export"),
        "{message}"
    );
}
