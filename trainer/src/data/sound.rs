//! WAV files: integers of 8 to 32 bits and floats of 32 or 64 bits, read and written back in the
//! same format.
//!
//! The chunks are walked here, because real files break rules that readers insist on: lengths that
//! a program could not know while it wrote to a pipe, an odd chunk without its pad byte, 24 bits at
//! the upper end of 32.

use std::path::Path;

use sparsecode_formats::NumberType;

use super::error::DataError;

/// Lengths from here on are what programs write that do not know the length yet.
const UNKNOWN_LENGTH: usize = 0x7fff_0000;
const REMEDY: &str = "save it as a PCM or float .wav";

/// How samples are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Format {
    float: bool,
    /// Bytes of one sample of one channel.
    bytes: usize,
    /// Bits that count, at the upper end of the bytes.
    bits: u32,
    channels: usize,
    rate: u32,
}

/// A WAV file as it was read: its bytes, and where its samples lie.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sound {
    bytes: Vec<u8>,
    format: Format,
    /// Where samples begin.
    start: usize,
    /// Samples of each channel.
    frames: usize,
    /// The header says a length that is not the file's.
    streamed: bool,
}

impl Sound {
    /// Reads a file, and what is worth a remark.
    pub(super) fn read(path: &Path) -> Result<(Self, Vec<String>), DataError> {
        let bytes = std::fs::read(path).map_err(DataError::read(path))?;
        Self::parse(bytes).map_err(|(reason, remedy)| DataError::malformed(path, reason, remedy))
    }

    fn parse(bytes: Vec<u8>) -> Result<(Self, Vec<String>), (String, String)> {
        let wrong = |reason: &str| (reason.to_string(), REMEDY.to_string());
        match bytes.get(..4) {
            Some(b"RIFF") if bytes.get(8..12) == Some(b"WAVE") => {}
            Some(b"RIFX") => return Err(wrong("a big-endian .wav (RIFX)")),
            Some(b"RF64" | b"BW64") => {
                return Err(wrong("a .wav in the format for more than 4 GB (RF64)"));
            }
            _ => {
                return Err(wrong(
                    "not a .wav file (it does not begin with RIFF and WAVE)",
                ));
            }
        }
        let riff_length = word(&bytes, 4).unwrap_or(0);
        let mut format = None;
        let mut place = 12;
        loop {
            let (Some(id), Some(length)) = (bytes.get(place..place + 4), word(&bytes, place + 4))
            else {
                return Err(wrong(match format {
                    None => "it ends before its format (fmt) chunk",
                    Some(_) => "it ends before its samples (data chunk)",
                }));
            };
            let start = place + 8;
            let rest = bytes.len() - start;
            match id {
                b"fmt " => {
                    let chunk = bytes.get(start..start + length.min(rest)).unwrap_or(&[]);
                    format = Some(read_format(chunk)?);
                }
                b"data" => {
                    let format =
                        format.ok_or_else(|| wrong("its samples come before its format"))?;
                    return Self::of(bytes, format, start, length, riff_length);
                }
                _ => {}
            }
            if length > rest {
                let id = String::from_utf8_lossy(id).into_owned();
                return Err(wrong(&format!(
                    "truncated: chunk {id:?} has {rest} of its {length} bytes, and no samples follow"
                )));
            }
            place = next_chunk(&bytes, start, length);
        }
    }

    fn of(
        bytes: Vec<u8>,
        format: Format,
        start: usize,
        length: usize,
        riff_length: usize,
    ) -> Result<(Self, Vec<String>), (String, String)> {
        let rest = bytes.len() - start;
        let frame = format.bytes * format.channels;
        let streamed = (length > rest && length >= UNKNOWN_LENGTH)
            || (length == 0 && rest > 0 && riff_length + 8 != bytes.len());
        if length > rest && !streamed {
            let (there, said) = (rest / frame, length / frame);
            return Err((
                format!(
                    "truncated: its header says {said} samples, but only {there} are there: {} are missing",
                    said - there
                ),
                "copy or record it again".to_string(),
            ));
        }
        let length = if streamed { rest } else { length };
        let mut notes = Vec::new();
        let unnamed = rest_after(&bytes, start, length)?;
        if unnamed > 0 {
            notes.push(format!(
                "its header says {} samples, and {unnamed} bytes after them that are no chunk were left out",
                length / frame
            ));
        }
        if streamed {
            notes.push("its header does not say its length: read to the end of the file".into());
        }
        if length % frame != 0 {
            notes.push(format!(
                "its last {} bytes are no whole sample and were left out",
                length % frame
            ));
        }
        let sound = Self {
            bytes,
            format,
            start,
            frames: length / frame,
            streamed,
        };
        sound.check_alignment()?;
        Ok((sound, notes))
    }

    /// Refuses integers that lie at the lower end of their bytes, though the format puts them at
    /// the upper end.
    fn check_alignment(&self) -> Result<(), (String, String)> {
        let Format { bytes, bits, .. } = self.format;
        let spare = 8 * bytes as u32 - bits;
        if self.format.float || spare == 0 {
            return Ok(());
        }
        let all = || (0..self.frames * self.format.channels).map(|index| self.integer(index));
        let half = 1i64 << (bits - 1);
        let low = all().any(|value| value & ((1 << spare) - 1) != 0);
        if low && all().all(|value| (-half..half).contains(&value)) {
            return Err((
                format!(
                    "its {bits} bits lie at the lower end of {} bits, where the format has them at the upper end",
                    8 * bytes
                ),
                format!("save it as a plain .wav of {bits} bits"),
            ));
        }
        Ok(())
    }

    pub(super) fn channels(&self) -> usize {
        self.format.channels
    }

    /// Samples per second.
    pub(super) fn sample_rate(&self) -> f32 {
        self.format.rate as f32
    }

    pub(super) fn number_type(&self) -> NumberType {
        match (self.format.float, self.format.bits) {
            (true, 32) => NumberType::F32,
            (true, _) => NumberType::F64,
            (false, ..=8) => NumberType::U8,
            (false, ..=16) => NumberType::I16,
            (false, ..=24) => NumberType::I24,
            (false, _) => NumberType::I32,
        }
    }

    /// The samples of one channel; integers are scaled to ±1.
    pub(super) fn channel(&self, channel: usize) -> Vec<f32> {
        let Format {
            float,
            bytes,
            channels,
            ..
        } = self.format;
        let scale = 2f32.powi(1 - 8 * bytes as i32);
        (0..self.frames)
            .map(|frame| {
                let index = frame * channels + channel;
                match (float, bytes) {
                    (false, _) => self.integer(index) as f32 * scale,
                    (true, 4) => f32::from_le_bytes(self.sample(index)),
                    (true, _) => f64::from_le_bytes(self.sample(index)) as f32,
                }
            })
            .collect()
    }

    /// The bytes of the same file with other samples in some channels, and how many of them were
    /// cut to ±1.
    ///
    /// Integers are rounded to the bits that count.
    pub(super) fn with(&self, replaced: &[(usize, Vec<f32>)]) -> (Vec<u8>, usize) {
        let Format {
            float,
            bytes: size,
            bits,
            channels,
            ..
        } = self.format;
        let (mut bytes, mut clipped) = (self.bytes.clone(), 0);
        let full = 2f64.powi(bits as i32 - 1);
        for (channel, values) in replaced {
            for (frame, &value) in values.iter().enumerate() {
                let place = self.start + (frame * channels + channel) * size;
                let target = &mut bytes[place..place + size];
                match (float, size) {
                    (true, 4) => target.copy_from_slice(&value.to_le_bytes()),
                    (true, _) => target.copy_from_slice(&f64::from(value).to_le_bytes()),
                    (false, _) => {
                        let level = (f64::from(value) * full).round();
                        let kept = level.clamp(-full, full - 1.0);
                        clipped += usize::from(kept != level);
                        let level = (kept as i64) << (8 * size as u32 - bits);
                        // Bytes are unsigned, with 0 in the middle.
                        let level = if size == 1 { level + 128 } else { level };
                        target.copy_from_slice(&level.to_le_bytes()[..size]);
                    }
                }
            }
        }
        if self.streamed {
            let data = self.frames * channels * size;
            bytes.truncate(self.start + data);
            bytes.resize(bytes.len() + data % 2, 0);
            for (place, length) in [(self.start - 4, data), (4, bytes.len() - 8)] {
                // A length that does not fit stays unknown.
                let length = u32::try_from(length).unwrap_or(u32::MAX);
                bytes[place..place + 4].copy_from_slice(&length.to_le_bytes());
            }
        }
        (bytes, clipped)
    }

    fn sample<const N: usize>(&self, index: usize) -> [u8; N] {
        let place = self.start + index * self.format.bytes;
        std::array::from_fn(|byte| self.bytes[place + byte])
    }

    /// An integer sample as all its bytes have it, signed.
    fn integer(&self, index: usize) -> i64 {
        match self.format.bytes {
            1 => i64::from(self.sample::<1>(index)[0]) - 128,
            2 => i64::from(i16::from_le_bytes(self.sample(index))),
            3 => {
                let [low, middle, high] = self.sample(index);
                i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8)
            }
            _ => i64::from(i32::from_le_bytes(self.sample(index))),
        }
    }
}

/// A `.wav` of 32-bit floats.
pub(super) fn float_wav(channels: &[Vec<f32>], sample_rate: u32) -> Vec<u8> {
    let count = channels.len();
    let frames = channels.first().map_or(0, Vec::len);
    let data = 4 * count * frames;
    // Programs that look for more than 4 GB take these lengths as unknown.
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(44 + data);
    bytes.extend(b"RIFF");
    bytes.extend(length(36 + data));
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend(3u16.to_le_bytes());
    bytes.extend((count as u16).to_le_bytes());
    bytes.extend(sample_rate.to_le_bytes());
    bytes.extend(sample_rate.wrapping_mul(4 * count as u32).to_le_bytes());
    bytes.extend((4 * count as u16).to_le_bytes());
    bytes.extend(32u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(length(data));
    for frame in 0..frames {
        for channel in channels {
            bytes.extend(channel[frame].to_le_bytes());
        }
    }
    bytes
}

/// Whether a chunk's name may begin here.
fn is_named(bytes: &[u8], place: usize) -> bool {
    let name = bytes.get(place..place + 4);
    name.is_some_and(|name| name.iter().all(|byte| (0x20..0x7f).contains(byte)))
}

/// Where the chunk begins that follows on one whose content begins at `start`.
fn next_chunk(bytes: &[u8], start: usize, length: usize) -> usize {
    let place = start + length + length % 2;
    // Programs that forget the pad byte of an odd chunk: the next name begins one byte earlier.
    match length % 2 == 1 && !is_named(bytes, place) && is_named(bytes, place - 1) {
        true => place - 1,
        false => place,
    }
}

/// How many bytes after the samples are no chunk. Other samples in a second chunk are refused.
fn rest_after(bytes: &[u8], start: usize, length: usize) -> Result<usize, (String, String)> {
    let mut place = next_chunk(bytes, start, length);
    while is_named(bytes, place)
        && let Some(length) = word(bytes, place + 4)
    {
        if &bytes[place..place + 4] == b"data" {
            return Err((
                "its samples lie in two data chunks".to_string(),
                "save it as a plain .wav with one data chunk".to_string(),
            ));
        }
        if length > bytes.len() - place - 8 {
            break;
        }
        place = next_chunk(bytes, place + 8, length);
    }
    Ok(bytes.len().saturating_sub(place))
}

fn word(bytes: &[u8], place: usize) -> Option<usize> {
    let bytes = bytes.get(place..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes) as usize)
}

fn half_word(bytes: &[u8], place: usize) -> Option<u16> {
    let bytes = bytes.get(place..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*bytes))
}

/// Reads a `fmt ` chunk.
fn read_format(chunk: &[u8]) -> Result<Format, (String, String)> {
    let wrong = |reason: String| (reason, REMEDY.to_string());
    let field = |place: usize| {
        half_word(chunk, place).ok_or_else(|| wrong("its format (fmt) chunk is too short".into()))
    };
    let (tag, channels, align, bits) = (field(0)?, field(2)?, field(12)?, field(14)?);
    let rate = word(chunk, 4).unwrap_or(0) as u32;
    let (mut tag, mut valid) = (tag, bits);
    if tag == 0xfffe {
        // The extension: bits that count, mask of loudspeakers, and the tag as the beginning of a
        // GUID.
        tag = field(24)?;
        if field(18)? > 0 {
            valid = field(18)?;
        }
    }
    let name = match tag {
        1 | 3 => "",
        2 => "Microsoft ADPCM",
        6 => "A-law",
        7 => "µ-law",
        0x11 => "IMA ADPCM",
        0x31 => "GSM",
        0x50 | 0x55 => "MPEG (MP3)",
        _ => "a format that is not known here",
    };
    if !name.is_empty() {
        return Err(wrong(format!(
            "its samples are compressed: {name} (format {tag:#06x})"
        )));
    }
    if channels == 0 || rate == 0 {
        return Err(wrong(format!(
            "its header says {channels} channels and {rate} samples per second"
        )));
    }
    let bytes = match align % channels {
        0 if align > 0 => usize::from(align / channels),
        _ => usize::from(bits.div_ceil(8)),
    };
    let float = tag == 3;
    let fits = match float {
        true => matches!((bytes, bits), (4, 32) | (8, 64)),
        false => (1..=4).contains(&bytes) && usize::from(bits.div_ceil(8)) <= bytes && bits > 0,
    };
    if !fits || valid > 8 * bytes as u16 {
        return Err(wrong(format!(
            "its header says {valid} bits of {} in {bytes} bytes a sample",
            if float { "floats" } else { "integers" }
        )));
    }
    Ok(Format {
        float,
        bytes,
        bits: if float {
            8 * bytes as u32
        } else {
            valid.into()
        },
        channels: channels.into(),
        rate,
    })
}
