//! Small models, and files taken apart and put together again.

use sparsecode_formats::{
    AlignedBytes, CodeSign, Contrast, InputFacts, InputShape, OwnedDecoder, OwnedEncoder,
    OwnedModel, OwnedProvenance, OwnedSpec, Preprocessing, Variant,
};

/// Reproducible numbers in ±1 (Knuth's MMIX generator).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// d = 12, l = 5, m = 7.
pub(crate) fn small(variant: Variant, one_hidden: bool) -> OwnedModel {
    sized(
        variant,
        InputShape {
            height: 3,
            width: 4,
        },
        5,
        if one_hidden { 7 } else { 0 },
    )
}

pub(crate) fn sized(
    variant: Variant,
    input_shape: InputShape,
    code_dim: u16,
    hidden_dim: u16,
) -> OwnedModel {
    let mut numbers = Numbers(31);
    let (d, l, m) = (
        input_shape.input_dim(),
        usize::from(code_dim),
        usize::from(hidden_dim),
    );
    OwnedModel {
        spec: OwnedSpec {
            variant,
            input_shape,
            code_dim,
            hidden_dim,
            lista_iterations: variant.has_encoder().then_some(3),
            codes: CodeSign::NonNegative,
            lambda: 0.02,
            preprocessing: Preprocessing {
                mean: 0.1307,
                deviation: 0.3081,
                contrast: Contrast::Local {
                    window: 13,
                    sigma: 5.0,
                    floor: 1e-4,
                },
            },
            peak: 1.0,
            input: InputFacts::default(),
            provenance: OwnedProvenance {
                data: "patches/σ=5 (natural)".into(),
                seed: u64::MAX,
                epoch: 17,
                commit: "e76dac9".into(),
                config_hash: "0123456789abcdef".into(),
            },
        },
        encoder: variant.has_encoder().then(|| OwnedEncoder {
            input: numbers.take(l * d),
            bias: numbers.take(l),
            recurrent: numbers.take(l * l),
        }),
        gram: None,
        variational: None,
        decoder: if m == 0 {
            OwnedDecoder::Linear {
                dictionary: numbers.take(l * d),
            }
        } else {
            OwnedDecoder::OneHidden {
                hidden: numbers.take(l * m),
                hidden_bias: numbers.take(m),
                output: numbers.take(m * d),
            }
        },
    }
}

/// The header's text without padding, and the tensor data.
pub(crate) fn split(file: &[u8]) -> (String, Vec<u8>) {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&file[8..8 + length]).unwrap();
    (header.trim_end().to_owned(), file[8 + length..].to_vec())
}

/// A file with this header, padded with spaces to a multiple of 8.
pub(crate) fn join(header: &str, data: &[u8]) -> AlignedBytes {
    join_padded(header, data, header.len().next_multiple_of(8))
}

pub(crate) fn join_padded(header: &str, data: &[u8], length: usize) -> AlignedBytes {
    let mut file = (length as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(8 + length, b' ');
    file.extend_from_slice(data);
    AlignedBytes::from_slice(&file)
}

/// The header's entry of one tensor, `"name":{...}`, without a comma.
pub(crate) fn entry<'a>(header: &'a str, tensor: &str) -> &'a str {
    let begin = header
        .find(&format!("\"{tensor}\":{{"))
        .unwrap_or_else(|| panic!("no {tensor} in {header}"));
    let end = begin + header[begin..].find('}').unwrap() + 1;
    &header[begin..end]
}

/// Where a tensor's data is.
pub(crate) fn offsets(header: &str, tensor: &str) -> std::ops::Range<usize> {
    let entry = entry(header, tensor);
    let numbers = &entry[entry.rfind('[').unwrap() + 1..entry.rfind(']').unwrap()];
    let (begin, end) = numbers.split_once(',').unwrap();
    begin.parse().unwrap()..end.parse().unwrap()
}

/// A good file, to be damaged.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) header: String,
    pub(crate) data: Vec<u8>,
}

impl Parts {
    pub(crate) fn of(file: &[u8]) -> Self {
        let (header, data) = split(file);
        Self { header, data }
    }

    pub(crate) fn bytes(&self) -> AlignedBytes {
        join(&self.header, &self.data)
    }

    /// Replaces one occurrence, which must exist.
    pub(crate) fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(self.header.contains(from), "{from} in {}", self.header);
        self.header = self.header.replacen(from, to, 1);
        self
    }

    /// Replaces within the entry of one tensor.
    pub(crate) fn in_tensor(self, tensor: &str, from: &str, to: &str) -> Self {
        let old = entry(&self.header, tensor).to_owned();
        assert!(old.contains(from), "{from} in {old}");
        let new = old.replacen(from, to, 1);
        self.replace(&old, &new)
    }

    pub(crate) fn metadata(self, key: &str, value: &str) -> Self {
        let begin = self.header.find(&format!("\"{key}\":\"")).unwrap() + key.len() + 4;
        let end = begin + self.header[begin..].find('"').unwrap();
        let header = format!("{}{value}{}", &self.header[..begin], &self.header[end..]);
        Self { header, ..self }
    }

    /// Overwrites one element.
    pub(crate) fn poke(mut self, tensor: &str, element: usize, bytes: &[u8]) -> Self {
        let begin = offsets(&self.header, tensor).start + element * bytes.len();
        self.data[begin..begin + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn move_to(self, tensor: &str, begin: u64, end: u64) -> Self {
        let range = offsets(&self.header, tensor);
        self.in_tensor(
            tensor,
            &format!("[{},{}]", range.start, range.end),
            &format!("[{begin},{end}]"),
        )
    }
}
