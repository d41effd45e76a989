use sparsecode_formats::NumberType;
use sparsecode_trainer::data::{Hints, Recording};

use super::{File, column, read, refused};

/// A WAV file of two channels made by hound: 0, 0.5, 0.25, -0.5.
fn stereo(bits: u16, format: hound::SampleFormat) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 12_000,
        bits_per_sample: bits,
        sample_format: format,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for value in [0.0f32, 0.5, 0.25, -0.5] {
        match format {
            hound::SampleFormat::Float => writer.write_sample(value).unwrap(),
            hound::SampleFormat::Int => {
                let scale = (1i64 << (bits - 1)) as f32;
                writer.write_sample((value * scale) as i32).unwrap();
            }
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

/// A WAV file by its parts: tag, channels, bytes of a sample, bits, an extension, chunks before the
/// samples, and the samples.
struct Wav<'a> {
    tag: u16,
    channels: u16,
    bytes: u16,
    bits: u16,
    extension: &'a [u8],
    before: &'a [u8],
    data: &'a [u8],
}

impl Wav<'_> {
    fn mono16() -> Self {
        Self {
            tag: 1,
            channels: 1,
            bytes: 2,
            bits: 16,
            extension: &[],
            before: &[],
            data: &[0, 0, 0, 64, 0, 32, 0, 192],
        }
    }

    /// With this length of the samples, or the true one.
    fn write(&self, length: Option<u32>) -> Vec<u8> {
        let mut body = b"WAVEfmt ".to_vec();
        body.extend((16 + self.extension.len() as u32).to_le_bytes());
        let align = self.channels * self.bytes;
        body.extend(self.tag.to_le_bytes());
        body.extend(self.channels.to_le_bytes());
        body.extend(500u32.to_le_bytes());
        body.extend((500 * u32::from(align)).to_le_bytes());
        body.extend(align.to_le_bytes());
        body.extend(self.bits.to_le_bytes());
        body.extend(self.extension);
        body.extend(self.before);
        body.extend(b"data");
        body.extend(length.unwrap_or(self.data.len() as u32).to_le_bytes());
        body.extend(self.data);
        let riff = length.unwrap_or(body.len() as u32);
        [b"RIFF".as_slice(), &riff.to_le_bytes(), &body].concat()
    }
}

const PLAIN: [f32; 4] = [0.0, 0.5, 0.25, -0.5];

#[test]
fn integers_and_floats_by_channel() {
    for (bits, format, number_type) in [
        (8, hound::SampleFormat::Int, NumberType::U8),
        (16, hound::SampleFormat::Int, NumberType::I16),
        (24, hound::SampleFormat::Int, NumberType::I24),
        (32, hound::SampleFormat::Int, NumberType::I32),
        (32, hound::SampleFormat::Float, NumberType::F32),
    ] {
        let file = File::new("sound.WAV", stereo(bits, format));
        for (channel, expected) in [("0", [0.0, 0.25]), ("1", [0.5, -0.5])] {
            assert_eq!(read(&file.path, &column(channel)), expected, "{bits} bits");
        }
        let recording = Recording::read(&file.path, &Hints::default()).unwrap();
        assert_eq!(recording.sample_rate, Some(12_000.0));
        assert_eq!(recording.number_type, number_type);
        let (error, usage) = refused(&file.path, &Hints::default());
        assert!(usage && error.contains("has 2 channels"), "{error}");
        assert!(error.contains("0 (0 to 0.25), 1 (-0.5 to 0.5)"), "{error}");
        assert!(refused(&file.path, &column("2")).0.contains("no channel 2"));
        // The other channel and the type are kept.
        let clean = file.beside("clean.wav");
        let written = recording.write(&clean, &[(1, vec![0.125, 2.0])]).unwrap();
        let clips = format == hound::SampleFormat::Int;
        assert_eq!(
            (written.number_type, written.clipped),
            (number_type, usize::from(clips))
        );
        let mut hound = hound::WavReader::open(&clean).unwrap();
        let spec = hound.spec();
        assert_eq!((spec.bits_per_sample, spec.channels), (bits, 2));
        if clips {
            let all: Vec<i32> = hound.samples().map(Result::unwrap).collect();
            let full = 1i64 << (bits - 1);
            let expected = [0, full / 8, full / 4, full - 1].map(|level| level as i32);
            assert_eq!(all, expected, "{bits} bits");
        } else {
            let all: Vec<f32> = hound.samples().map(Result::unwrap).collect();
            assert_eq!(all, [0.0, 0.125, 0.25, 2.0]);
        }
    }
}

#[test]
fn chunks_and_lengths_as_programs_write_them() {
    let list = b"LIST\x05\0\0\0INFOx\0";
    let unpadded = b"LIST\x05\0\0\0INFOx";
    for before in [
        list.as_slice(),
        unpadded,
        b"JUNK\x02\0\0\0ab",
        &[list.as_slice(), list].concat(),
    ] {
        let wav = Wav {
            before,
            ..Wav::mono16()
        };
        assert_eq!(
            read(&File::new("x.wav", wav.write(None)).path, &Hints::default()),
            PLAIN
        );
    }
    // Written to a pipe: the length is not known.
    for length in [u32::MAX, 0, 0x7fff_ffff, u32::MAX - 36] {
        let wav = Wav {
            before: list,
            ..Wav::mono16()
        };
        let file = File::new("x.wav", wav.write(Some(length)));
        assert_eq!(read(&file.path, &Hints::default()), PLAIN, "{length}");
        let recording = Recording::read(&file.path, &Hints::default()).unwrap();
        assert!(
            recording.notes[0].contains("to the end of the file"),
            "{:?}",
            recording.notes
        );
        // Written back with the length that is known now.
        let clean = file.beside("clean.wav");
        recording.write(&clean, &[]).unwrap();
        assert_eq!(std::fs::read(&clean).unwrap(), wav.write(None));
    }
    // Chunks after the samples are neither read nor lost.
    let mut bytes = Wav::mono16().write(None);
    bytes.extend(list);
    let file = File::new("x.wav", &bytes);
    assert_eq!(read(&file.path, &Hints::default()), PLAIN);
    let recording = Recording::read(&file.path, &Hints::default()).unwrap();
    recording.write(&file.beside("y.wav"), &[]).unwrap();
    assert_eq!(std::fs::read(file.beside("y.wav")).unwrap(), bytes);
}

#[test]
fn truncated_files_say_what_is_missing() {
    let whole = Wav::mono16().write(None);
    for length in 0..whole.len() {
        let file = File::new("x.wav", &whole[..length]);
        let (error, usage) = refused(&file.path, &Hints::default());
        assert!(error.contains("x.wav") && !usage, "{length}: {error}");
        if length >= 44 {
            let there = (length - 44) / 2;
            let needle = format!(
                "says 4 samples, but only {there} are there: {} are missing",
                4 - there
            );
            assert!(error.contains(&needle), "{length}: {error}");
        }
    }
}

#[test]
fn floats_of_64_bits_and_valid_bits_of_wider_ones() {
    let doubles: Vec<u8> = PLAIN
        .iter()
        .flat_map(|&v| f64::from(v).to_le_bytes())
        .collect();
    let wav = Wav {
        tag: 3,
        bytes: 8,
        bits: 64,
        data: &doubles,
        ..Wav::mono16()
    };
    let file = File::new("x.wav", wav.write(None));
    assert_eq!(read(&file.path, &Hints::default()), PLAIN);
    let recording = Recording::read(&file.path, &Hints::default()).unwrap();
    assert_eq!(recording.number_type, NumberType::F64);
    recording
        .write(&file.beside("y.wav"), &[(0, vec![0.1, 0.2, 0.3, 1.5])])
        .unwrap();
    assert_eq!(
        read(&file.beside("y.wav"), &Hints::default()),
        [0.1, 0.2, 0.3, 1.5]
    );

    // valid bits, container: 24 in 32, 20 in 24, 12 in 16; at the upper end.
    for (valid, bytes) in [(24u16, 4u16), (20, 3), (12, 2), (16, 2), (0, 2)] {
        let bits = 8 * bytes;
        let kept = if valid == 0 { bits } else { valid };
        let level = |value: f32| {
            ((f64::from(value) * 2f64.powi(i32::from(kept) - 1)) as i64) << (bits - kept)
        };
        let data: Vec<u8> = PLAIN
            .iter()
            .flat_map(|&value| level(value).to_le_bytes()[..usize::from(bytes)].to_vec())
            .collect();
        let mut extension = vec![22, 0];
        extension.extend(valid.to_le_bytes());
        extension.extend([
            4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113,
        ]);
        let wav = Wav {
            tag: 0xfffe,
            bytes,
            bits,
            extension: &extension,
            data: &data,
            ..Wav::mono16()
        };
        let file = File::new("x.wav", wav.write(None));
        assert_eq!(
            read(&file.path, &Hints::default()),
            PLAIN,
            "{valid} in {bits}"
        );
        // Rounded to the bits that count.
        let recording = Recording::read(&file.path, &Hints::default()).unwrap();
        recording
            .write(&file.beside("y.wav"), &[(0, vec![0.3; 4])])
            .unwrap();
        let back = read(&file.beside("y.wav"), &Hints::default())[0];
        assert!((back - 0.3).abs() <= 0.5f32.powi(i32::from(kept)), "{back}");
        let low = std::fs::read(file.beside("y.wav")).unwrap()[wav.write(None).len() - data.len()];
        assert_eq!(u16::from(low) & ((1 << (bits - kept).min(8)) - 1), 0);
        // At the lower end they would be read as silence.
        if valid == 24 {
            let data: Vec<u8> = PLAIN
                .iter()
                .flat_map(|&v| ((v * 8_388_607.0) as i32).to_le_bytes())
                .collect();
            let wrong = Wav { data: &data, ..wav };
            let file = File::new("x.wav", wrong.write(None));
            let (error, _) = refused(&file.path, &Hints::default());
            assert!(error.contains("lower end"), "{error}");
        }
    }
}

#[test]
fn other_sound_is_refused_by_name() {
    for (tag, bits, needle) in [
        (7, 8, "µ-law"),
        (6, 8, "A-law"),
        (2, 4, "ADPCM"),
        (0x55, 0, "MP3"),
        (1, 0, "0 bits"),
        (3, 16, "floats"),
    ] {
        let wav = Wav {
            tag,
            bits,
            ..Wav::mono16()
        };
        let file = File::new("x.wav", wav.write(None));
        let (error, _) = refused(&file.path, &Hints::default());
        assert!(
            error.contains(needle) && error.contains("PCM or float"),
            "{error}"
        );
    }
    for (bytes, needle) in [
        (b"ID3\x03 an mp3 by its name only".as_slice(), "RIFF"),
        (b"RF64\0\0\0\0WAVE", "RF64"),
        (b"RIFX\0\0\0\0WAVE", "big-endian"),
        (b"", "RIFF"),
    ] {
        let file = File::new("x.wav", bytes);
        let (error, _) = refused(&file.path, &Hints::default());
        assert!(error.contains(needle), "{error}");
    }
    let none = Wav {
        channels: 0,
        ..Wav::mono16()
    };
    let file = File::new("x.wav", none.write(None));
    assert!(
        refused(&file.path, &Hints::default())
            .0
            .contains("0 channels")
    );
    let file = File::new("x.flac", "fLaC");
    assert!(
        refused(&file.path, &Hints::default())
            .0
            .contains("or .wav file")
    );
}

#[test]
fn samples_beyond_the_data_chunk_are_told() {
    let plain = Wav::mono16().write(None);
    let with = |rest: &[u8]| File::new("x.wav", [plain.as_slice(), rest].concat());
    // A length that was written too early.
    let file = with(&[0xff, 0x7f, 0, 1, 0, 2]);
    let recording = Recording::read(&file.path, &Hints::default()).unwrap();
    assert_eq!(recording.len(), 4);
    let note = "its header says 4 samples, and 6 bytes after them that are no chunk were left out";
    assert_eq!(recording.notes, [note]);
    let file = with(b"data\x04\0\0\0\x01\0\x02\0");
    let (error, _) = refused(&file.path, &Hints::default());
    assert!(
        error.contains("x.wav") && error.contains("two data chunks") && error.contains("save it"),
        "{error}"
    );
    // Also after another chunk, which is no reason by itself.
    let list = b"LIST\x04\0\0\0INFO";
    let recording = Recording::read(&with(list).path, &Hints::default()).unwrap();
    assert!(recording.notes.is_empty(), "{:?}", recording.notes);
    let file = with(&[list.as_slice(), b"data\0\0\0\0"].concat());
    assert!(
        refused(&file.path, &Hints::default())
            .0
            .contains("two data chunks")
    );
}
