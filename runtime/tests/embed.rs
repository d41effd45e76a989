//! The build-script helper (feature `embed`).
#![cfg(feature = "embed")]

mod common;

use common::{Shape, file, random_model};
use sparsecode_formats::WeightType;
use sparsecode_runtime::embed::{Embed, EmbedError};

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
