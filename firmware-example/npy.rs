// The patches' file: `.npy`, version 1 or 2, little-endian f32, C order, shape (2, n, d): n noisy patches, then the same n
// clean ones, in raw samples. In Python: `np.save(path, np.stack([noisy, clean]).astype("<f4"))`.
// Included by the build script and by `cargo xtask firmware`.

/// The threshold of refinement against noise of a deviation, in raw units; without noise, the file's own.
pub(crate) fn threshold(
    file: &sparsecode_runtime::formats::IntegerFile<'_>,
    noise: f32,
) -> Result<i32, sparsecode_runtime::ReadError> {
    if noise == 0.0 {
        return Ok(file.refiner.threshold);
    }
    let spec = file.spec()?;
    let sigma = noise / spec.preprocessing.deviation;
    file.threshold(sparsecode_runtime::Refine::for_noise(&spec, sigma).lambda)
}

/// The nearest level of an integer model's sensor.
pub(crate) fn level(sample: f32, scale: f32) -> i16 {
    // The conversion saturates.
    (sample / scale).round() as i16
}

/// Noisy and clean patches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Patches {
    pub(crate) count: usize,
    /// Samples of one patch.
    pub(crate) input_dim: usize,
    /// `count` patches one after the other, noisy and clean.
    pub(crate) noisy: Vec<f32>,
    pub(crate) clean: Vec<f32>,
}

impl Patches {
    /// Standard deviation of the noise, in raw samples. A sensor's is known from its data sheet, or from a still scene.
    pub(crate) fn noise(&self) -> f32 {
        let pairs = self.noisy.iter().zip(&self.clean);
        let sum: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
        (sum / self.noisy.len() as f64).sqrt() as f32
    }

    /// Reads a file's bytes; keeps the first `limit` patches.
    pub(crate) fn parse(bytes: &[u8], limit: Option<usize>) -> Result<Self, String> {
        let (header, data) = split(bytes).ok_or("not an .npy file of version 1 or 2")?;
        if !header.contains("'descr': '<f4'") || !header.contains("'fortran_order': False") {
            return Err(format!(
                "little-endian f32 in C order is wanted, not {}",
                header.trim()
            ));
        }
        let shape: Vec<usize> = header
            .split_once("'shape': (")
            .and_then(|(_, rest)| rest.split_once(')'))
            .map(|(inside, _)| inside.split(','))
            .into_iter()
            .flatten()
            .filter_map(|number| number.trim().parse().ok())
            .collect();
        let [2, count, input_dim] = shape[..] else {
            return Err(format!(
                "shape (2, patches, samples) is wanted, not {shape:?}"
            ));
        };
        let length = count
            .checked_mul(input_dim)
            .filter(|&length| length > 0)
            .ok_or_else(|| format!("shape {shape:?} has no patches"))?;
        if Some(data.len()) != length.checked_mul(8) {
            return Err(format!(
                "shape {shape:?} does not fit {} bytes of data",
                data.len()
            ));
        }
        let mut samples = data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let mut noisy: Vec<f32> = samples.by_ref().take(length).collect();
        let mut clean: Vec<f32> = samples.collect();
        let count = count.min(limit.unwrap_or(count)).max(1);
        noisy.truncate(count * input_dim);
        clean.truncate(count * input_dim);
        Ok(Self {
            count,
            input_dim,
            noisy,
            clean,
        })
    }
}

/// Header text and data.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (&[major, _minor], rest) = rest.split_first_chunk()?;
    let (length, rest) = match major {
        1 => {
            let (&length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_le_bytes(length)), rest)
        }
        2 => {
            let (&length, rest) = rest.split_first_chunk()?;
            (usize::try_from(u32::from_le_bytes(length)).ok()?, rest)
        }
        _ => return None,
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, data))
}
