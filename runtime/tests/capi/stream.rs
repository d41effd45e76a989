//! Streams through models that denoise.

use std::ffi::c_void;

use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, GramStorage, OwnedModel, WeightType,
    example_denoiser, write, write_integer_with,
};
use sparsecode_runtime::capi::{self, *};
use sparsecode_runtime::stream::{DenoiseScratch, DenoiseStream, Denoising};
use sparsecode_runtime::{
    IntegerCode, IntegerModel, IntegerWorkspace, Model, SparseCode, Workspace,
};

use crate::api::leaked;
use crate::float::{LINEAR, float_file};

use sparsecode_status as Status;

const WINDOW: usize = 15;
const CODES: usize = 7;
const HOP: usize = 4;
const DRIFT: usize = 25;

fn denoiser() -> OwnedModel {
    let mut model = example_denoiser(WINDOW as u16, CODES as u16, 2);
    let gram = model.gram.as_mut().unwrap();
    (gram.hop, gram.drift) = (HOP as u16, Some(DRIFT as u16));
    model
}

fn integers(storage: GramStorage) -> &'static [u8] {
    let ranges = ActivationRanges {
        input_scale: 0.001,
        input_min: -32_000,
        input_max: 32_000,
        code_max: 16.0,
    };
    let (weights, levels) = (WeightType::I8, Activations::I16);
    let written = write_integer_with(&denoiser(), &ranges, weights, levels, storage).unwrap();
    leaked(AlignedBytes::from_slice(&written.bytes))
}

fn floats() -> &'static [u8] {
    leaked(AlignedBytes::from_slice(
        &write(&denoiser(), WeightType::F32).unwrap(),
    ))
}

/// Long enough for an estimate of the noise.
fn signal() -> Vec<i16> {
    (0..1500_i32)
        .map(|time| (600 - (time * 7919 % 1200) + (time % 90) * 20) as i16)
        .collect()
}

/// Memory of a multiple of 4 bytes that starts on one, with a mark behind it.
struct Memory(Vec<u32>);

impl Memory {
    const MARK: u32 = 0xfeed_f00d;

    fn new(bytes: usize) -> Self {
        let mut words = vec![0x5555_5555; bytes.div_ceil(4)];
        words.push(Self::MARK);
        Self(words)
    }

    fn start(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }

    fn check(&self) {
        assert_eq!(self.0.last(), Some(&Self::MARK), "written beyond the end");
    }
}

/// Of a channel and of the workspace.
const INTEGER_BYTES: [usize; 2] = [
    (176 + 6 * (WINDOW + DRIFT)).next_multiple_of(4),
    4 * WINDOW + 22 * CODES,
];

/// The functions of one arithmetic on a whole signal, in blocks of these lengths, twice.
macro_rules! streamed {
    ($model:expr, $sigma:expr, $signal:expr, $bytes:expr, $info:ident, $start:ident, $push:ident, $finish:ident) => {{
        let mut info = sparsecode_stream_info::default();
        done!($info($model, &raw mut info));
        let latency = WINDOW + DRIFT - 1;
        let found = [info.window, info.hop, info.drift, info.latency];
        let expected = [WINDOW, HOP, DRIFT, latency].map(|x| x as u32);
        assert_eq!(found, expected);
        // The macros of the header.
        assert_eq!([info.channel_bytes, info.workspace_bytes], $bytes);
        let mut channel = Memory::new(info.channel_bytes);
        let mut workspace = Memory::new(info.workspace_bytes);
        let (bytes, work) = (info.channel_bytes, info.workspace_bytes);
        done!($start($model, channel.start(), bytes));
        [1, 64].map(|length| {
            let mut output = Vec::new();
            for block in $signal.chunks(length) {
                let (mut block, mut given) = (block.to_vec(), 0);
                done!($push(
                    $model,
                    channel.start(),
                    bytes,
                    $sigma,
                    block.as_mut_ptr(),
                    block.len(),
                    &raw mut given,
                    workspace.start(),
                    work
                ));
                output.extend_from_slice(&block[..given]);
            }
            assert_eq!(output.len(), $signal.len() - latency);
            let (mut rest, mut given) = (vec![Default::default(); latency], 0);
            done!($finish(
                $model,
                channel.start(),
                bytes,
                $sigma,
                rest.as_mut_ptr(),
                rest.len(),
                &raw mut given,
                workspace.start(),
                work
            ));
            assert_eq!(given, latency);
            output.extend_from_slice(&rest);
            channel.check();
            workspace.check();
            output
        })
    }};
}

#[test]
fn streams_in_integers_give_the_bits_of_rust() {
    let file = integers(GramStorage::Stored);
    let network = IntegerModel::<WINDOW, CODES>::load(file).unwrap();
    let mut model = sparsecode_integer_model::default();
    done!(sparsecode_integer_model_load(
        &raw mut model,
        file.as_ptr().cast(),
        file.len()
    ));
    for sigma in [0_u16, 900] {
        let mut totals = [0; HOP];
        let mut by = Denoising::<i16, WINDOW, DRIFT>::of(network.file(), &mut totals).unwrap();
        if sigma > 0 {
            by = by.with_noise(sigma);
        }
        let (mut code, mut workspace) = (IntegerCode::new(), IntegerWorkspace::new());
        let mut clean = |window: &mut [i16; WINDOW], sigma| {
            let network = network.at_noise_level(sigma);
            network.denoise(window, None, &mut code, &mut workspace, || false);
        };
        let mut stream = DenoiseStream::<i16, WINDOW, DRIFT>::new();
        let mut scratch = DenoiseScratch::new();
        let mut expected = Vec::new();
        for sample in signal() {
            expected.extend(stream.push(sample, &by, &mut scratch, &mut clean));
        }
        stream.finish(&by, &mut scratch, &mut clean, |sample| {
            expected.push(sample);
        });
        assert_ne!(expected, signal());
        let found = streamed!(
            &raw const model,
            sigma,
            signal(),
            INTEGER_BYTES,
            sparsecode_integer_stream_get_info,
            sparsecode_integer_stream_start,
            sparsecode_integer_stream_push,
            sparsecode_integer_stream_finish
        );
        assert_eq!(found, [expected.clone(), expected]);
    }
}

#[test]
fn streams_in_float_give_the_bits_of_rust() {
    let file = floats();
    let network = Model::<WINDOW, CODES>::load(file).unwrap();
    let mut model = sparsecode_model::default();
    done!(sparsecode_model_load(
        &raw mut model,
        file.as_ptr().cast(),
        file.len()
    ));
    let signal: Vec<f32> = signal().iter().map(|x| f32::from(*x) / 1000.0).collect();
    for sigma in [0.0_f32, 0.05] {
        let mut totals = [0.0; HOP];
        let mut by = Denoising::<f32, WINDOW, DRIFT>::of(network.file(), &mut totals).unwrap();
        if sigma > 0.0 {
            by = by.with_noise(sigma);
        }
        let (mut code, mut workspace) = (SparseCode::new(), Workspace::new());
        let mut clean = |window: &mut [f32; WINDOW], sigma| {
            let network = network.at_noise_level(sigma);
            network.denoise(window, None, &mut code, &mut workspace, || false);
        };
        let mut stream = DenoiseStream::<f32, WINDOW, DRIFT>::new();
        let mut scratch = DenoiseScratch::new();
        let mut expected = Vec::new();
        for sample in &signal {
            expected.extend(stream.push(*sample, &by, &mut scratch, &mut clean));
        }
        stream.finish(&by, &mut scratch, &mut clean, |sample| {
            expected.push(sample);
        });
        let found = streamed!(
            &raw const model,
            sigma,
            signal,
            [
                260 + 8 * (WINDOW + DRIFT),
                12 * WINDOW + 8 * CODES + (6 * CODES).next_multiple_of(4)
            ],
            sparsecode_stream_get_info,
            sparsecode_stream_start,
            sparsecode_stream_push,
            sparsecode_stream_finish
        );
        assert_eq!(found, [expected.clone(), expected]);
    }
}

#[test]
fn a_gram_matrix_is_built_in_memory_of_the_program() {
    let built = integers(GramStorage::Built);
    let (start, length) = (built.as_ptr().cast::<c_void>(), built.len());
    let mut model = sparsecode_integer_model::default();
    let status = call!(sparsecode_integer_model_load(&raw mut model, start, length));
    assert_eq!(status, Status::GramMemory);
    // `SPARSECODE_INTEGER_GRAM_LENGTH(7)`.
    let gram = Box::leak(vec![0_i16; 7 * 8].into_boxed_slice());
    let place = gram.as_mut_ptr();
    let status = call!(sparsecode_integer_model_load_into(
        &raw mut model,
        start,
        length,
        place,
        55
    ));
    assert_eq!(status, Status::GramMemory);
    let status = call!(sparsecode_integer_model_load_into(
        &raw mut model,
        start,
        length,
        (&raw mut model).cast(),
        56
    ));
    assert_eq!(status, Status::Overlap);
    done!(sparsecode_integer_model_load_into(
        &raw mut model,
        start,
        length,
        place,
        56
    ));
    let mut stored = sparsecode_integer_model::default();
    let file = integers(GramStorage::Stored);
    done!(sparsecode_integer_model_load(
        &raw mut stored,
        file.as_ptr().cast(),
        file.len()
    ));
    let [found, expected] = [&model, &stored].map(|model| {
        streamed!(
            std::ptr::from_ref(model),
            0,
            signal(),
            INTEGER_BYTES,
            sparsecode_integer_stream_get_info,
            sparsecode_integer_stream_start,
            sparsecode_integer_stream_push,
            sparsecode_integer_stream_finish
        )
    });
    assert_eq!(found, expected);
}

#[test]
fn channels_that_do_not_fit_are_answered() {
    let reconstructs = float_file(LINEAR);
    let mut other = sparsecode_model::default();
    done!(sparsecode_model_load(
        &raw mut other,
        reconstructs.as_ptr().cast(),
        reconstructs.len()
    ));
    let mut info = sparsecode_stream_info::default();
    let status = call!(sparsecode_stream_get_info(&raw const other, &raw mut info));
    assert_eq!(status, Status::NotADenoiser);

    let bytes = AlignedBytes::from_slice(floats());
    let mut model = sparsecode_model::default();
    done!(sparsecode_model_load(
        &raw mut model,
        bytes.as_ptr().cast(),
        bytes.len()
    ));
    let model = &raw const model;
    done!(sparsecode_stream_get_info(model, &raw mut info));
    let (size, work) = (info.channel_bytes, info.workspace_bytes);
    let (mut channel, mut workspace) = (Memory::new(size), Memory::new(work));
    let (mut block, mut given) = ([1.0_f32; 40], 99_usize);
    let mut push = |channel: *mut c_void, size, sigma, block: *mut f32, work| {
        call!(sparsecode_stream_push(
            model,
            channel,
            size,
            sigma,
            block,
            4,
            &raw mut given,
            workspace.start(),
            work
        ))
    };
    let (place, samples) = (channel.start(), block.as_mut_ptr());
    // Memory that nobody started.
    assert_eq!(push(place, size, 0.0, samples, work), Status::NotStarted);
    let short = call!(sparsecode_stream_start(model, place, size - 1));
    assert_eq!(short, Status::TooSmall);
    done!(sparsecode_stream_start(model, place, size));
    assert_eq!(push(place, size - 1, 0.0, samples, work), Status::TooSmall);
    assert_eq!(push(place, size, 0.0, samples, work - 1), Status::TooSmall);
    for sigma in [-1.0, f32::NAN, f32::INFINITY] {
        let status = push(place, size, sigma, samples, work);
        assert_eq!(status, Status::InvalidSetting);
    }
    let within = place.cast::<f32>();
    assert_eq!(push(place, size, 0.0, within, work), Status::Overlap);
    let odd = place.wrapping_byte_add(2);
    assert_eq!(push(odd, size, 0.0, samples, work), Status::Misaligned);
    let none = std::ptr::null_mut();
    assert_eq!(push(none, size, 0.0, samples, work), Status::NullPointer);
    assert_eq!(push(place, size, 0.0, samples, work), Status::Ok);
    assert_eq!(given, 0, "nothing comes out before the latency");

    let mut given = 99;
    let status = call!(sparsecode_stream_finish(
        model,
        place,
        size,
        0.0,
        samples,
        38,
        &raw mut given,
        workspace.start(),
        work
    ));
    assert_eq!((status, given), (Status::TooSmall, 99));
    let status = call!(sparsecode_stream_finish(
        model,
        place,
        size,
        0.0,
        samples,
        39,
        &raw mut given,
        workspace.start(),
        work
    ));
    assert_eq!((status, given), (Status::Ok, 4));
    channel.check();
    workspace.check();
}
