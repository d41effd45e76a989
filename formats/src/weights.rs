/// Whether `bytes` are the weights that a training run keeps (`best.safetensors`,
/// `checkpoint.safetensors`): safetensors files, too, but not model files, which `sparsecode
/// export` makes of them.
///
/// ```
/// let header = br#"{"__metadata__":{"sparsecode":"{\"version\":1}"}}"#;
/// let file = [&(header.len() as u64).to_le_bytes()[..], header].concat();
/// assert!(sparsecode_formats::is_run_weights(&file));
/// assert!(!sparsecode_formats::is_run_weights(b"GIF89a"));
/// ```
pub fn is_run_weights(bytes: &[u8]) -> bool {
    // The one entry of a run's metadata holds a JSON document; the entries of a model file have
    // other names.
    let entry = br#"{"__metadata__":{"sparsecode":"{"#;
    bytes
        .get(8..)
        .is_some_and(|header| header.starts_with(entry))
}
